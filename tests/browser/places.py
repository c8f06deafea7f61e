"""Every page there is, of somebody to whom everything has happened that pages tell of."""

from datetime import timedelta

import sqlalchemy as sa

from chalicelib.accounts import link_keys
from chalicelib.db.models import User
from chalicelib.wiring import Wiring
from tests.browser.people import Visitor
from tests.harness import ledgers, uploads
from tests.harness.stacks import Stack

POSTS = (
    "Hello. This is an ordinary post of a few words.",
    "A post\nof several lines\n\nwith a gap, and a long address: https://example.com/" + "x" * 90,
    "نشرة مكتوبة من اليمين إلى اليسار، وفيها كلمة Carryout بالإنجليزية.",
    "한국어로 쓴 게시물입니다.",
)

IMPORTED = (
    b'{"body": "Brought along.", "timestamp": "2026-01-02T03:04:05Z"}\n'
    b'{"body": "Of no time.", "timestamp": 1}\n'
)

OF_NOBODY = {
    "welcome": "/",
    "sign-in": "/sign-in",
    "sign-up": "/sign-up",
    "forgot": "/forgot",
    "link-over": "/new-password?key=nothing",
    "refused": "/admin",
}
"""The pages of somebody who has not signed in."""


def fill(person: Visitor, stack: Stack, wiring: Wiring) -> dict[str, str]:
    """Make somebody an administrator to whom everything has happened.

    Returns:
        The path of each page, by a short name.
    """
    database = wiring.database
    stack.command("set-admin", person.username, "on")
    imported, importing = uploads.start(person, IMPORTED, filename="posts.jsonl")
    person.write(*POSTS)
    person.wait_for(importing, "succeeded")
    done = person.request("export_archive", datasets=["posts"])
    refused, refusing = uploads.start(person, b"nothing of ours", filename="x" * 120 + ".zip")
    person.wait_for(refusing, "failed")
    person.wait_for(done, "succeeded")
    _plan(person)
    webhook = _webhook(person)
    key = link_keys.make_key(
        database, person.user_id, "reset", address=person.address, now=ledgers.now()
    )
    failed = later(person, "export_posts")
    broken = {"error_code": "broken", "error_detail": "It broke."}
    ledgers.put(database, failed, status="failed", finished_at=ledgers.now(), **broken)
    cancelled = later(person, "export_posts")
    person.cancel(cancelled)
    _go_on(person, wiring)
    return {
        "home": "/",
        "imports": "/imports",
        "import-done": f"/imports/{imported}",
        "import-failed": f"/imports/{refused}",
        "import-waiting": f"/imports/{person.call('POST', '/v1/imports', {}, 201)['id']}",
        "import-uploaded": f"/imports/{uploads.upload(person, b'{}')}",
        "schedules": "/schedules",
        "account": "/account",
        "webhooks": "/webhooks",
        "webhook": f"/webhooks/{webhook}",
        "profile": f"/users/{person.username}",
        "export-done": f"/exports/{done}",
        "export-failed": f"/exports/{failed}",
        "export-cancelled": f"/exports/{cancelled}",
        "admin": "/admin",
        "admin-period": "/admin/period?span=86400",
        "admin-outbox": "/admin/outbox",
        "admin-schedules": "/admin/schedules",
        "admin-webhooks": "/admin/webhooks",
        "admin-imports": "/admin/imports",
        "admin-limits": "/admin/limits",
        "admin-task": f"/admin/tasks/{failed}",
        "docs": "/docs",
        "new-password": f"/new-password?key={key}",
        "confirm": "/confirm?key=some",
        "restore": "/restore-address?key=some",
        "missing": "/exports/nothing",
    }


def _plan(person: Visitor) -> None:
    """Two schedules, one of them by a rule that the page has words for."""
    for rule in ("FREQ=HOURLY", "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3"):
        wanted = {"task": {"name": "export_posts"}, "rrule": rule, "timezone": "Europe/Madrid"}
        person.call("POST", "/v1/schedules", wanted, 201)


def _webhook(person: Visitor) -> str:
    """A webhook with a long address that never answers."""
    url = "http://127.0.0.1:9/" + "x" * 200
    webhook: str = person.call("POST", "/v1/webhooks", {"url": url}, 201)["id"]
    person.call("POST", f"/v1/webhooks/{webhook}/test", {}, 202)
    return webhook


def later(person: Visitor, name: str, **params: object) -> str:
    """A task that no worker claims before its time, which is tomorrow."""
    tomorrow = f"{ledgers.now() + timedelta(days=1):%Y-%m-%dT%H:%M:%SZ}"
    wanted = {"name": name, "params": params, "not_before": tomorrow}
    return str(person.call("POST", "/v1/tasks", wanted, 202)["id"])


def _go_on(person: Visitor, wiring: Wiring) -> None:
    """Two tasks in progress: one that runs, as the ledger has it, and one that waits."""
    running = later(person, "example", seconds=60)
    now = ledgers.now()
    lease = {"claim": 1, "worker": "worker", "lease_until": now + timedelta(hours=1)}
    progress = {"total": 60, "done": 20, "percent": 33}
    moments = {"started_at": now - timedelta(seconds=20), "last_seen_at": now}
    ledgers.put(wiring.database, running, status="running", **lease, **progress, **moments)
    later(person, "count_words")


def speak(wiring: Wiring, person: Visitor, code: str) -> None:
    """Change the language that somebody reads."""
    with wiring.database.write() as session:
        session.execute(sa.update(User).where(User.id == person.user_id).values(language=code))

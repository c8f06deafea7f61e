"""Imports over HTTP: real uploads, real databases, the attempt in this process."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import boto3
import pytest
import requests
import sqlalchemy as sa
from sqlalchemy.orm import Session

from chalicelib.accounts.accounts import erase
from chalicelib.db.engine import Database
from chalicelib.db.models import AuditEntry, ImportRejection, ImportRow, ImportUpload
from chalicelib.imports import publication, staging
from chalicelib.imports.reasons import Reason
from chalicelib.microblog.models import Post
from chalicelib.microblog.tasks import IMPORT_POSTS
from chalicelib.tasks import leases
from chalicelib.tasks.leases import Lease
from chalicelib.wiring import Wiring
from tests.conftest import Join, Rewire, both_databases
from tests.harness.ledgers import LEASE_S, START, lapse, the_task, write_posts
from tests.harness.pages import Browser, Elements
from tests.harness.people import Person, refused
from tests.harness.small_parts import Killed
from tests.harness.uploads import (
    TIME,
    json_lines,
    posts_of,
    put,
    report_of,
    start,
    upload,
)
from tests.harness.waiting import wait_until
from worker.attempts import perform
from worker.importing import stager

pytestmark = both_databases

LATER = "2026-01-02T03:04:06.000001Z"
POSTS = [("b", TIME), ("a", TIME), ("b", TIME), ("ü \U0001f600\\\t", LATER)]


def keys(wiring: Wiring) -> list[str]:
    """Everything in the bucket."""
    s3 = boto3.client("s3", endpoint_url=wiring.settings.aws_endpoint_url)
    found = s3.list_objects_v2(Bucket=wiring.settings.export_bucket).get("Contents", [])
    return [one["Key"] for one in found]


def staged(database: Database) -> int:
    """How many rows are staged, and rejections."""
    with database.read() as session:
        return sum(
            session.scalar(sa.select(sa.func.count()).select_from(table)) or 0
            for table in (ImportRow, ImportRejection)
        )


def run(person: Person, wiring: Wiring, content: bytes) -> Any:
    """Import a file; return the task as it ends."""
    _, task_id = start(person, content)
    perform_quietly(task_id, wiring)
    return person.task(task_id)


def perform_quietly(task_id: str, wiring: Wiring) -> None:
    """Make an attempt, whatever becomes of it."""
    try:
        perform(task_id, wiring)
    except Exception as error:  # noqa: BLE001 - the ledger says more
        assert type(error).__name__ == "FailedAttemptError"  # noqa: PT017 - likewise


def test_posts_come_in(susan: Person, wiring: Wiring) -> None:
    """All of a file's posts are the user's, in the file's order; the upload is gone."""
    import_id, task_id = start(susan, json_lines(POSTS), filename="posts.jsonl")
    assert posts_of(susan) == []
    perform(task_id, wiring)
    task = susan.task(task_id)
    assert (task["status"], task["progress"]["percent"]) == ("succeeded", 100)
    result = task["result"]
    counts = {name: result[name] for name in ("read", "imported", "skipped", "rejected")}
    assert counts == {"read": 4, "imported": 4, "skipped": 0, "rejected": 0}
    assert result["format"] == "json_lines"
    assert result["report"] == f"/v1/imports/{import_id}/report"
    assert posts_of(susan) == POSTS
    assert report_of(susan, import_id) == []
    assert [key for key in keys(wiring) if key.startswith("imports/")] == []
    shown = susan.call("GET", f"/v1/imports/{import_id}")
    assert (shown["status"], shown["filename"], shown["upload"]) == (
        "succeeded",
        "posts.jsonl",
        None,
    )
    assert shown["links"]["task"] == f"/v1/tasks/{task_id}"
    assert shown["links"]["report"] == result["report"]
    assert staged(wiring.database) == 0


def test_again_adds_nothing(susan: Person, wiring: Wiring) -> None:
    """Of equal posts the account holds as many as the file, or as it had; never more."""
    write_posts(wiring.database, susan.user_id, ["b", "c"])
    first = run(susan, wiring, json_lines(POSTS))
    assert first["result"]["imported"] == 3
    expected = Counter([*POSTS, ("c", TIME)])
    assert Counter(posts_of(susan)) == expected
    again = run(susan, wiring, json_lines(POSTS))
    assert (again["result"]["imported"], again["result"]["skipped"]) == (0, 4)
    assert Counter(posts_of(susan)) == expected
    more = run(susan, wiring, json_lines([("c", TIME)] * 3))
    assert more["result"]["imported"] == 2
    fewer = run(susan, wiring, json_lines([("c", TIME)]))
    assert fewer["result"]["imported"] == 0
    assert Counter(posts_of(susan))["c", TIME] == 3


def test_many_at_one_moment(susan: Person, wiring: Wiring) -> None:
    """Files whose rows share a moment by the hundred are compared in another way, alike."""
    bodies = [f"{number % 30}" for number in range(90)]
    write_posts(wiring.database, susan.user_id, [*bodies[:45], "mine"])
    first = run(susan, wiring, json_lines((body, TIME) for body in bodies))
    assert (first["result"]["imported"], first["result"]["skipped"]) == (45, 45)
    assert Counter(body for body, _ in posts_of(susan)) == Counter([*bodies, "mine"])
    again = run(susan, wiring, json_lines((body, TIME) for body in bodies))
    assert again["result"]["imported"] == 0


def test_others_posts_do_not_count(join: Join, wiring: Wiring) -> None:
    """What another user has already is not in one's own account."""
    susan, david = join("susan"), join("david")
    for person in (susan, david):
        assert run(person, wiring, json_lines(POSTS))["result"]["imported"] == 4
        assert posts_of(person) == POSTS


def test_bad_posts_are_reported(susan: Person, wiring: Wiring) -> None:
    """What `POST /v1/posts` would refuse is left out and named; the rest comes in."""
    bad = [("", TIME), ("x" * 10_001, TIME), ("ok", "yesterday")]
    import_id, task_id = start(susan, json_lines([*bad, ("good", TIME)]))
    perform(task_id, wiring)
    result = susan.task(task_id)["result"]
    assert (result["read"], result["imported"], result["rejected"]) == (4, 1, 3)
    assert posts_of(susan) == [("good", TIME)]
    report = report_of(susan, import_id)
    assert [one["position"] for one in report] == [1, 2, 3]
    assert all(set(one) == {"position", "reason"} for one in report)
    page = Browser(susan.client, susan.token).get(f"/imports/{import_id}").body.decode()
    for one in report:
        sentence = Reason(one["reason"]).sentence
        assert f"<code>{one['reason']}</code>: {sentence}</li>" in page


@pytest.mark.parametrize("content", [b"hello", b"\x89PNG\r\n\x1a\n" + bytes(1000), b"{}"])
def test_unknown_formats_fail(susan: Person, wiring: Wiring, content: bytes) -> None:
    """A format nobody knows fails with a code and a sentence, and nothing is kept."""
    import_id, task_id = start(susan, content)
    perform_quietly(task_id, wiring)
    task = susan.task(task_id)
    assert (task["status"], task["result"]) == ("failed", None)
    assert task["error"]["code"]
    assert task["error"]["detail"].endswith(".")
    assert posts_of(susan) == []
    assert keys(wiring) == []
    refused(susan.get(f"/v1/imports/{import_id}/report"), 409, "report_not_ready")


def test_an_import_is_not_tried_again(susan: Person, wiring: Wiring) -> None:
    """The file of one that failed is gone, so it cannot be retried; nothing suggests it."""
    _, task_id = start(susan, b"hello")
    perform_quietly(task_id, wiring)
    assert susan.task(task_id)["links"]["retry"] is None
    refused(susan.post(f"/v1/tasks/{task_id}/retry"), 410, "import_gone")


def test_nothing_uploaded(susan: Person) -> None:
    """An import without a file cannot be started, one way or another."""
    created = susan.call("POST", "/v1/imports", {}, 201)
    refused(susan.post(f"/v1/imports/{created['id']}/start", {}), 409, "nothing_uploaded")
    params = {"import_id": created["id"]}
    other_way = susan.post("/v1/tasks", {"name": "import_posts", "params": params})
    refused(other_way, 409, "nothing_uploaded")


def test_a_file_is_started_once(susan: Person, wiring: Wiring) -> None:
    """A second start finds the first: in progress with 409, over with 410; its key names it."""
    import_id = upload(susan, json_lines(POSTS))
    key = {"Idempotency-Key": "x"}
    path = f"/v1/imports/{import_id}/start"
    first = susan.post(path, {}, headers=key)
    assert first.status_code == 202
    assert first.headers["Location"] == f"/v1/tasks/{first.json_body['id']}"
    answer = susan.post(path, {})
    refused(answer, 409, "task_in_progress")
    assert answer.headers["Location"] == first.headers["Location"]
    perform(first.json_body["id"], wiring)
    assert susan.post(path, {}, headers=key).json_body["id"] == first.json_body["id"]
    refused(susan.post(path, {}), 410, "import_gone")


def test_sizes(susan: Person, rewire: Rewire) -> None:
    """A size that is too large is refused at once; without one the task finds out."""
    wiring = rewire(IMPORT_MAX_BYTES="100")
    refused(susan.post("/v1/imports", {"size": 101}), 413, "upload_too_large")
    refused(susan.post("/v1/imports", {"size": 0}), 422, "invalid")
    created = susan.call("POST", "/v1/imports", {"size": 100}, 201)
    assert created["upload"]["max_bytes"] == 100
    assert "content-length" in created["upload"]["url"]
    assert created["upload"]["headers"]["Content-Length"] == "100"
    task = run(susan, wiring, json_lines([("x" * 200, TIME)]))
    assert (task["status"], task["error"]["code"]) == ("failed", "too_large")


def test_quota(susan: Person, rewire: Rewire) -> None:
    """An import beyond the quota fails as a whole; what is there already counts, too."""
    wiring = rewire(POST_QUOTA_BYTES="10")
    write_posts(wiring.database, susan.user_id, ["ü" * 2])
    fits = run(susan, wiring, json_lines([("x" * 6, TIME)]))
    assert fits["status"] == "succeeded"
    beyond = run(susan, wiring, json_lines([("y", TIME)]))
    assert (beyond["status"], beyond["error"]["code"]) == ("failed", "quota_exceeded")
    assert len(posts_of(susan)) == 2


def test_expiry(susan: Person, rewire: Rewire) -> None:
    """An upload that is never started goes after a day, and its report as an export does."""
    import_id, waiting = upload(susan, json_lines(POSTS)), upload(susan, b"x")
    task = susan.call("POST", f"/v1/imports/{import_id}/start", {}, 202)
    wiring = rewire(EXPORT_TTL_S="200000")
    perform(task["id"], wiring)
    wiring = rewire(later=timedelta(days=1, seconds=1))
    refused(susan.post(f"/v1/imports/{waiting}/start", {}), 410, "import_gone")
    assert susan.call("GET", f"/v1/imports/{waiting}")["status"] == "expired"
    assert wiring.reconciler.sweep(now=wiring.now())["expired"] == 1
    assert [key for key in keys(wiring) if key.startswith("imports/")] == []
    assert report_of(susan, import_id) == []
    wiring = rewire(later=timedelta(seconds=200_001))
    refused(susan.get(f"/v1/imports/{import_id}/report"), 410, "report_gone")
    assert wiring.reconciler.sweep(now=wiring.now())["expired"] == 1
    assert keys(wiring) == []
    assert posts_of(susan) == POSTS


def test_lists(susan: Person, david: Person) -> None:
    """One's own imports, the newest first, page by page."""
    ids = [upload(susan, b"x", filename=f"{number}.zip") for number in range(3)]
    first = susan.get("/v1/imports?limit=2")
    assert [one["id"] for one in first.json_body["items"]] == ids[:0:-1]
    rest = susan.call("GET", f"/v1/imports?limit=2&cursor={first.json_body['next']}")
    assert ([one["id"] for one in rest["items"]], rest["next"]) == (ids[:1], None)
    assert david.call("GET", "/v1/imports")["items"] == []
    refused(david.get(f"/v1/imports/{ids[0]}"), 404, "not_found")
    refused(david.post(f"/v1/imports/{ids[0]}/start", {}), 404, "not_found")
    taken = david.post("/v1/tasks", {"name": "import_posts", "params": {"import_id": ids[0]}})
    refused(taken, 404, "not_found")


def many(count: int) -> bytes:
    """A file of so many posts, of which some are bad."""
    posts = [(f"{number} " + "x" * 200 * (number % 7 > 0), TIME) for number in range(count)]
    return json_lines(posts) + json_lines([("", TIME)])


def test_it_goes_on_where_it_was_killed(
    susan: Person, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A killed attempt's rows are kept, the next one reads on; the outcome is the same."""
    content = many(20_000)
    import_id, task_id = start(susan, content)
    report = Lease.report

    def dying(self: Lease, done: int, total: int, **notes: Any) -> int:
        if done > 0.9 * total:
            raise Killed
        return report(self, done, total, **notes)

    monkeypatch.setattr(Lease, "report", dying)
    with pytest.raises(Killed):
        perform(task_id, wiring)
    assert posts_of(susan) == []
    monkeypatch.setattr(Lease, "report", report)
    lapse(wiring.database, task_id)
    wiring.reconciler.sweep(now=wiring.now())
    lapse(wiring.database, task_id)
    noted = the_task(wiring.database, task_id)
    assert noted.checkpoint is not None
    assert 0.8 * len(content) < noted.done <= 0.9 * len(content)
    assert staged(wiring.database) == noted.checkpoint["read"]
    read: list[int] = []
    stage = staging.stage

    def counting(session: Session, number: int, rows: list[Any], bad: list[Any]) -> None:
        read.append(len(rows))
        stage(session, number, rows, bad)

    monkeypatch.setattr(staging, "stage", counting)
    perform(task_id, wiring)
    assert 0 < sum(read) <= 0.2 * 20_000  # the last tenth, and one commit before it
    result = susan.task(task_id)["result"]
    assert (result["read"], result["imported"], result["rejected"]) == (20_001, 20_000, 1)
    assert len(report_of(susan, import_id)) == 1
    with wiring.database.read() as session:
        bodies = session.scalars(sa.select(Post.body).order_by(Post.id)).all()
    assert bodies == [json.loads(line)["body"] for line in content.splitlines()[:-1]]


def test_a_cancelled_import_leaves_nothing(
    susan: Person, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whenever it is cancelled, the account is as it was, and so is the bucket."""
    write_posts(wiring.database, susan.user_id, ["before"])
    monkeypatch.setattr(stager, "ROWS_AT_ONCE", 100)
    _, task_id = start(susan, many(2000))
    report = Lease.report
    asked: list[int] = []

    def cancelling(self: Lease, done: int, total: int, **notes: Any) -> int:
        percent = report(self, done, total, **notes)
        if not asked:
            asked.append(susan.cancel(task_id).status_code)
        return percent

    monkeypatch.setattr(Lease, "report", cancelling)
    perform(task_id, wiring)
    assert asked == [202]
    assert susan.task(task_id)["status"] == "cancelled"
    assert posts_of(susan) == [("before", TIME)]
    assert keys(wiring) == []
    assert staged(wiring.database) == 0


def test_a_claimed_import_is_cancelled(susan: Person, wiring: Wiring) -> None:
    """One whose worker dies while it is cancelled leaves nothing either."""
    _, task_id = start(susan, json_lines(POSTS))
    claimed = leases.claim(wiring.database, task_id, worker="w", lease_s=LEASE_S, now=wiring.now())
    assert claimed is not None
    susan.cancel(task_id)
    lapse(wiring.database, task_id)
    wiring.reconciler.sweep(now=wiring.now())
    assert susan.task(task_id)["status"] == "cancelled"
    assert keys(wiring) == []


def test_it_goes_with_the_account(susan: Person, wiring: Wiring) -> None:
    """Staged rows, the import and the upload are erased with the account."""
    _, task_id = start(susan, json_lines(POSTS))
    with wiring.database.write() as session:
        number = session.scalar(
            sa.select(ImportUpload.number).where(ImportUpload.task_id == task_id)
        )
        session.add(ImportRejection(number=number, position=1, reason="x"))
    assert staged(wiring.database) == 1
    with wiring.database.write() as session:
        erase(session, susan.user_id, lease_s=LEASE_S, now=wiring.now())
    wiring.reconciler.sweep(now=wiring.now())
    assert staged(wiring.database) == 0
    assert keys(wiring) == []


def test_another_file_in_its_place(susan: Person, wiring: Wiring) -> None:
    """What is uploaded after the start is not what was started, so nothing is imported."""
    created = susan.call("POST", "/v1/imports", {}, 201)
    assert put(created["upload"], json_lines(POSTS)).ok
    task = susan.call("POST", f"/v1/imports/{created['id']}/start", {}, 202)
    assert put(created["upload"], json_lines([("other", TIME)])).ok
    perform_quietly(task["id"], wiring)
    assert susan.task(task["id"])["error"]["code"] == "upload_gone"
    assert posts_of(susan) == []


def test_plain_forms(susan: Person, wiring: Wiring) -> None:
    """Without a script a form sends the file to the bucket, which sends the browser back."""
    browser = Browser(susan.client, susan.token)
    path = browser.send("/imports").headers["Location"]
    elements = Elements(browser.get(path).body.decode()).found
    forms = [found for tag, found in elements if tag == "form"]
    form = next(found for found in forms if found.get("enctype") == "multipart/form-data")
    fields = {
        str(found["name"]): found["value"]
        for tag, found in elements
        if tag == "input" and found.get("type") == "hidden" and found["name"] != "csrf"
    }
    answer = requests.post(
        str(form["action"]),
        data=fields,
        files={"file": ("posts.jsonl", json_lines(POSTS))},
        timeout=60,
        allow_redirects=False,
    )
    assert answer.status_code == 303, answer.text
    back = urlsplit(answer.headers["Location"])
    assert back.path == f"{path}/uploaded"
    assert f"url={path}" in browser.get(back.path).body.decode()
    assert "Start import" in browser.get(path).body.decode()
    assert browser.send(f"{path}/start").headers["Location"] == path
    (task,) = susan.call("GET", "/v1/tasks")["items"]
    perform(task["id"], wiring)
    assert posts_of(susan) == POSTS
    assert "Posts added" in browser.get(path).body.decode()


def test_audit(susan: Person, wiring: Wiring) -> None:
    """The audit knows of each import that succeeded."""
    _, task_id = start(susan, json_lines(POSTS))
    perform(task_id, wiring)
    with wiring.database.read() as session:
        events = session.scalars(
            sa.select(AuditEntry.event).where(AuditEntry.task_id == task_id).order_by(AuditEntry.id)
        ).all()
    assert events == ["requested", "started", "imported", "succeeded"]


def test_two_imports_and_an_export_at_once(
    join: Join, wiring: Wiring, environment: dict[str, str]
) -> None:
    """By one user and by two: nothing is lost, and nothing is there twice."""
    susan, david = join("susan"), join("david")
    mine = [(f"{number}", TIME) for number in range(400)]
    content = json_lines(mine)
    write_posts(wiring.database, susan.user_id, ["before"])
    tasks = [start(susan, content)[1], start(susan, content)[1], start(david, content)[1]]
    export = susan.request()

    def work(task_id: str) -> None:
        own = Wiring.from_environment(environment)
        perform(task_id, own)
        own.database.close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, [*tasks, export]))
    results = [susan.task(task_id)["result"] for task_id in tasks[:2]]
    assert sum(result["imported"] for result in results) == 400
    assert Counter(posts_of(susan)) == Counter([*mine, ("before", TIME)])
    assert posts_of(david) == mine
    exported = json.loads(susan.download(export))
    assert exported["count"] in {1, 401}  # before the import or after it, never in between


def test_two_publications(susan: Person, wiring: Wiring, environment: dict[str, str]) -> None:
    """The second waits for the commit of the first, and adds nothing that it has added."""
    rows = [(position, "again", START) for position in range(1, 5)]
    with wiring.database.write() as session:
        staging.stage(session, 1, rows, [])
        staging.stage(session, 2, rows, [])

    def publish(session: Session, number: int) -> int:
        return publication.publish(
            session, IMPORT_POSTS.target, user_id=susan.user_id, number=number
        )

    def second() -> int:
        own = Wiring.from_environment(environment)
        try:
            with own.database.write() as session:
                return publish(session, 2)
        finally:
            own.database.close()

    def waits() -> bool:
        locked = "SELECT wait_event_type FROM pg_stat_activity WHERE datname = current_database()"
        with wiring.database.read() as session:
            return "Lock" in session.scalars(sa.text(locked)).all()

    with ThreadPoolExecutor(1) as pool:
        with wiring.database.write() as session:
            assert publish(session, 1) == 4
            other = pool.submit(second)
            if wiring.database.is_postgresql:  # on SQLite nobody else even begins
                wait_until(lambda: other.done() or waits(), "the second is there")
        assert other.result(timeout=60) == 0


def test_export_import_export(join: Join, wiring: Wiring) -> None:
    """What an export holds comes back in, and is exported again as the same bytes."""
    susan, david = join("susan"), join("david")
    at = START
    for number in range(7):
        bodies = [f"{number} \\ \u2028 \U0001f600 \x07", "twice", "twice", "ü" * number or "-"]
        write_posts(wiring.database, susan.user_id, bodies[:: 1 if number % 2 else -1], at=at)
        at -= timedelta(microseconds=333_333) * number

    def export(person: Person) -> tuple[bytes, bytes]:
        task_id = person.request()
        perform(task_id, wiring)
        content = person.download(task_id)
        return content, content[content.index(b'"posts":') : content.rindex(b'"count"')]

    content, posts = export(susan)
    assert run(david, wiring, content)["result"]["imported"] == 28
    assert export(david)[1] == posts
    archive = susan.request("export_archive")
    perform(archive, wiring)
    again = run(david, wiring, susan.download(archive))["result"]
    assert (again["format"], again["imported"]) == ("carryout_archive", 0)
    maria = join("maria")
    assert run(maria, wiring, susan.download(archive))["result"]["imported"] == 28
    assert export(maria)[1] == posts

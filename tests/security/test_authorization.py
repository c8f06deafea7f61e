"""Who may call what: every route for everybody, and a route without a row is a failure."""

from datetime import timedelta
from typing import Any

import pytest
from chalice.test import Client, HTTPResponse

from app import app
from chalicelib.accounts import accounts
from chalicelib.db.engine import Database
from chalicelib.outbox import webhooks
from chalicelib.wiring import Wiring
from tests.harness.ledgers import fail, launch, make_user, now, publish, put_email
from tests.harness.people import JSON, Person
from tests.harness.uploads import upload

ROLES = ("nobody", "revoked", "expired", "other", "administrator", "owner")
"""In the order in which they call: the owner last, whose call may change something."""

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def anybody(status: int) -> tuple[int, ...]:
    """The same for everybody, with and without a good token."""
    return (status,) * 6


def own(status: int) -> tuple[int, ...]:
    """For the owner; for others, administrators too, it does not exist."""
    return (401, 401, 401, 404, 404, status)


def each(status: int) -> tuple[int, ...]:
    """For everybody who is signed in, about themselves."""
    return (401, 401, 401, status, status, status)


def administrators(status: int) -> tuple[int, ...]:
    """For administrators."""
    return (401, 401, 401, 403, status, 403)


NEW = {"username": "maria", "email": "maria@example.com", "password": "correct horse"}
KNOWN = {"username": "susan", "password": "wrong"}
SCHEDULE = {"task": {"name": "export_posts"}, "rrule": "FREQ=DAILY", "timezone": "UTC"}

# What each answers to nobody, revoked, expired, other, administrator, owner; and what is sent.
TABLE: dict[str, tuple[tuple[int, ...], Any]] = {
    "POST /v1/users": ((201, 409, 409, 409, 409, 409), NEW),
    "POST /v1/tokens": (anybody(401), KNOWN),
    "DELETE /v1/tokens/current": (each(204), None),
    "GET /v1/me": (each(200), None),
    "PATCH /v1/me": (each(200), {"language": "es"}),
    "DELETE /v1/me": (each(204), None),
    "POST /v1/me/erasure": (each(403), {"current_password": "wrong"}),
    "PUT /v1/me/password": (each(403), {"current_password": "wrong", "password": "12345678"}),
    "POST /v1/me/confirmation": (each(409), None),
    "POST /v1/confirmations": (anybody(403), {"key": "x"}),
    "POST /v1/address-restorations": (anybody(403), {"key": "x"}),
    "POST /v1/password-resets": (anybody(202), {"email": "susan@example.com"}),
    "POST /v1/passwords": (anybody(403), {"key": "x", "password": "12345678"}),
    "POST /v1/posts": (each(201), {"body": "x"}),
    "GET /v1/users/{username}/posts": (each(200), None),
    "DELETE /v1/posts/{post_id}": (own(204), None),
    "POST /v1/exports": (each(202), None),
    "POST /v1/tasks": (each(202), {"name": "export_posts"}),
    "GET /v1/tasks": (each(200), None),
    "GET /v1/tasks/{task_id}": (own(200), None),
    "POST /v1/tasks/{task_id}/cancel": (own(200), None),
    "POST /v1/tasks/{task_id}/retry": (own(202), None),
    "GET /v1/exports/{task_id}/download": (own(303), None),
    "DELETE /v1/exports/{task_id}": (own(204), None),
    "POST /v1/exports/{task_id}/mail": (own(202), None),
    "GET /v1/datasets": (each(200), None),
    "POST /v1/imports": (each(201), {"filename": "posts.json"}),
    "GET /v1/imports": (each(200), None),
    "GET /v1/imports/{import_id}": (own(200), None),
    "POST /v1/imports/{import_id}/start": (own(202), None),
    "GET /v1/imports/{import_id}/report": (own(409), None),
    "GET /v1/notifications": (each(200), None),
    "POST /v1/webhooks": (each(201), {"url": "https://example.com/hook"}),
    "GET /v1/webhooks": (each(200), None),
    "GET /v1/webhooks/{webhook_id}": (own(200), None),
    "PATCH /v1/webhooks/{webhook_id}": (own(200), {"events": ["task.failed"]}),
    "DELETE /v1/webhooks/{webhook_id}": (own(204), None),
    "POST /v1/webhooks/{webhook_id}/test": (own(202), None),
    "GET /v1/webhooks/{webhook_id}/deliveries": (own(200), None),
    "POST /v1/webhooks/{webhook_id}/deliveries/{number}/redeliver": (own(202), None),
    "GET /v1/admin/tasks": (administrators(200), None),
    "GET /v1/admin/queue": (administrators(200), None),
    "GET /v1/admin/workers": (administrators(200), None),
    "GET /v1/admin/tasks/{task_id}": (administrators(200), None),
    "GET /v1/admin/outbox": (administrators(200), None),
    "GET /v1/admin/schedules": (administrators(200), None),
    "PATCH /v1/admin/schedules/{schedule_id}": (administrators(200), {"enabled": False}),
    "GET /v1/admin/webhooks": (administrators(200), None),
    "PATCH /v1/admin/webhooks/{webhook_id}": (administrators(200), {"enabled": False}),
    "POST /v1/admin/webhooks/{webhook_id}/deliveries/{number}/redeliver": (
        administrators(202),
        None,
    ),
    "GET /v1/admin/imports": (administrators(200), None),
    "GET /v1/admin/limits": (administrators(200), None),
    "POST /v1/schedules": (each(201), SCHEDULE),
    "GET /v1/schedules": (each(200), None),
    "GET /v1/schedules/{schedule_id}": (own(200), None),
    "PATCH /v1/schedules/{schedule_id}": (own(200), {"enabled": False}),
    "DELETE /v1/schedules/{schedule_id}": (own(204), None),
    "POST /v1/admin/queue/pause": (administrators(200), None),
    "POST /v1/admin/queue/resume": (administrators(200), None),
    "GET /healthz": (anybody(200), None),
    "GET /readyz": (anybody(503), None),  # no worker is alive here
    "GET /metrics": (administrators(200), None),
    "GET /openapi.json": (anybody(200), None),
    "GET /static/{name}": (anybody(404), None),
    "GET /.well-known/security.txt": (anybody(200), None),
    "GET /docs": (anybody(200), None),
    "GET /": (anybody(200), None),
    "GET /sign-up": ((200, 200, 200, 303, 303, 303), None),
    "POST /sign-up": (anybody(422), ""),
    "POST /try": (anybody(303), ""),
    "GET /sign-in": ((200, 200, 200, 303, 303, 303), None),
    "POST /sign-in": (anybody(401), "username=susan&password=wrong"),
    "POST /sign-out": (anybody(303), ""),
    "GET /account": (each(200), None),
    "POST /account": (each(303), "language=es"),
    "POST /account/confirmation": (each(303), ""),
    "POST /account/password": (each(422), "current_password=wrong&new_password=long+enough"),
    "POST /account/erase": (each(422), "password=wrong"),
    "GET /users/{username}": (each(200), None),
    "POST /posts": (each(303), "body=x"),
    "POST /posts/{post_id}/delete": (own(303), ""),
    "POST /exports": (each(303), "name=export_posts"),
    "GET /exports/{task_id}": (own(200), None),
    "POST /exports/{task_id}/delete": (own(303), ""),
    "POST /exports/{task_id}/mail": (own(303), ""),
    "POST /tasks/{task_id}/cancel": (own(303), ""),
    "POST /tasks/{task_id}/retry": (own(303), ""),
    "GET /imports": (each(200), None),
    "POST /imports": (each(303), ""),
    "GET /imports/{import_id}": (own(200), None),
    # It goes on to the import's page, whatever its id.
    "GET /imports/{import_id}/uploaded": (anybody(200), None),
    "POST /imports/{import_id}/start": (own(303), ""),
    "GET /forgot": (anybody(200), None),
    "POST /forgot": (anybody(200), "email=susan@example.com"),
    "GET /new-password": (anybody(200), None),
    "POST /new-password": (anybody(403), "key=x&password=12345678"),
    "GET /confirm": (anybody(200), None),
    "POST /confirm": (anybody(403), "key=x"),
    "GET /restore-address": (anybody(200), None),
    "POST /restore-address": (anybody(403), "key=x"),
    "GET /webhooks": (each(200), None),
    "POST /webhooks": (each(200), "url=https://example.com/hook&task.failed=on"),
    "GET /webhooks/{webhook_id}": (own(200), None),
    "POST /webhooks/{webhook_id}/enable": (own(303), ""),
    "POST /webhooks/{webhook_id}/disable": (own(303), ""),
    "POST /webhooks/{webhook_id}/test": (own(303), ""),
    "POST /webhooks/{webhook_id}/delete": (own(303), ""),
    "POST /webhooks/{webhook_id}/deliveries/{number}/redeliver": (own(303), ""),
    "GET /admin": (administrators(200), None),
    "GET /admin/period": (administrators(200), None),
    "GET /admin/outbox": (administrators(200), None),
    "GET /admin/schedules": (administrators(200), None),
    "POST /admin/schedules/{schedule_id}/pause": (administrators(303), ""),
    "POST /admin/schedules/{schedule_id}/resume": (administrators(303), ""),
    "GET /admin/webhooks": (administrators(200), None),
    "POST /admin/webhooks/{webhook_id}/pause": (administrators(303), ""),
    "POST /admin/webhooks/{webhook_id}/resume": (administrators(303), ""),
    "POST /admin/webhooks/{webhook_id}/deliveries/{number}/redeliver": (administrators(303), ""),
    "GET /admin/imports": (administrators(200), None),
    "GET /admin/limits": (administrators(200), None),
    "GET /admin/tasks/{task_id}": (administrators(200), None),
    "POST /admin/tasks/{task_id}/cancel": (administrators(303), ""),
    "POST /admin/tasks/{task_id}/retry": (administrators(303), ""),
    "GET /schedules": (each(200), None),
    "POST /schedules": (each(422), "rrule=x"),
    "POST /schedules/{schedule_id}/pause": (own(303), ""),
    "POST /schedules/{schedule_id}/resume": (own(303), ""),
    "POST /schedules/{schedule_id}/delete": (own(303), ""),
    "POST /admin/pause": (administrators(303), "name=*"),
    "POST /admin/resume": (administrators(303), "name=*"),
}


def test_every_route_has_a_row() -> None:
    """The table is complete: preflights look at nothing, and HEAD at what GET looks at."""
    routes = {f"{method} {path}" for path, methods in app.routes.items() for method in methods}
    assert set(TABLE) == {one for one in routes if not one.startswith(("OPTIONS ", "HEAD "))}


def test_every_route_is_declared() -> None:
    """Whom the table lets in is whom the route's own declaration names, page or not."""
    declared = {f"{one.method} {one.path}": one.who for one in app.endpoints}
    declared |= {f"{one.method} {one.path}": one.who for one in app.pages}
    assert declared == {route: _who(expected) for route, (expected, _) in TABLE.items()}


def _who(expected: tuple[int, ...]) -> str:
    """Whom a row is for, as a declaration says it."""
    if expected[:3] != (401, 401, 401) or expected == anybody(401):
        return "anybody"
    users, administrator = expected[3], expected[4]
    return "administrator" if users == 403 != administrator else "user"


@pytest.fixture
def people(client: Client, database: Database) -> dict[str, Person]:
    """Somebody in each role."""
    names = {"owner": "susan", "revoked": "rita", "expired": "emil"}
    found = {"nobody": Person(client)}
    for role in ROLES[1:]:
        user_id = make_user(database, names.get(role, role), is_admin=role == "administrator")
        ttl_s = -1 if role == "expired" else 3600
        with database.write() as session:
            new = accounts.issue_token(session, user_id, ttl_s=ttl_s, now=now())
        if role == "revoked":
            with database.write() as session:
                accounts.revoke(session, new.token)
        found[role] = Person(client, new.token, user_id)
    return found


@pytest.fixture
def place(people: dict[str, Person], wiring: Wiring) -> Any:
    """Fills a route's path with something of the owner's that the route can work on."""

    def fill(path: str) -> str:
        owner = people["owner"]
        if "{post_id}" in path:
            return path.format(post_id=owner.post("/v1/posts", {"body": "x"}).json_body["id"])
        if "{import_id}" in path:
            return path.format(import_id=upload(owner, b"{}"))
        if "{schedule_id}" in path:
            made = owner.call("POST", "/v1/schedules", SCHEDULE, 201)
            return path.format(schedule_id=made["id"])
        if "{webhook_id}" in path:
            return path.format(webhook_id=a_webhook(wiring, owner.user_id), number=1)
        if "{task_id}" not in path:
            return path.format(username="susan", name="x") if "{" in path else path
        task_id = launch(wiring.database, owner.user_id)
        if "exports" in path:
            publish(wiring, task_id)
        elif "retry" in path:
            fail(wiring.database, task_id)
        put_email(wiring.database, task_id, state="sent", sent_at=now())
        return path.format(task_id=task_id)

    return fill


def a_webhook(wiring: Wiring, user_id: int) -> str:
    """A webhook with a delivery that was made."""
    with wiring.database.write() as session:
        webhook = webhooks.create_webhook(
            session, user_id, url="https://example.com/", events=webhooks.EVENTS, now=now()
        )
        webhooks.deliver_test(session, webhook.id, now=now()).state = "sent"
    return webhook.id


def call(person: Person, method: str, path: str, body: Any) -> HTTPResponse:
    """Send what the table says; forms go as forms."""
    headers = FORM if isinstance(body, str) else JSON if body is not None else {}
    given = body.encode() if isinstance(body, str) else body
    return person.ask(method, path, given, headers=headers)


@pytest.mark.parametrize("route", TABLE, ids=lambda route: str(route).replace("/", "_"))
def test_who_may_call(route: str, people: dict[str, Person], place: Any) -> None:
    """Everybody gets the answer of the table, and what is another's is what does not exist."""
    method, pattern = route.split(" ")
    expected, body = TABLE[route]
    path = place(pattern)
    for role, status in zip(ROLES, expected, strict=True):
        answer = call(people[role], method, path, body)
        assert answer.status_code == status, (role, answer.body)
        if status == 404:
            nothing = call(people[role], method, _nowhere(pattern), body)
            assert (nothing.status_code, nothing.body) == (404, answer.body)


def _nowhere(pattern: str) -> str:
    others = dict.fromkeys(("task_id", "import_id", "schedule_id", "webhook_id"), "x")
    return pattern.format(post_id=10**9, username="nobody", name="y", number="1", **others)


LIVES = [
    ("GET", "/v1/me"),
    ("GET", "/account"),
    ("POST", "/v1/exports"),
]


@pytest.mark.parametrize(("method", "path"), LIVES)
def test_a_revoked_token_ends_at_once(
    people: dict[str, Person], database: Database, method: str, path: str
) -> None:
    """Nothing remembers a token: the call after its end is refused."""
    owner = people["owner"]
    assert owner.ask(method, path).status_code < 400
    with database.write() as session:
        accounts.revoke(session, owner.token or "")
    assert owner.ask(method, path).status_code == 401


def test_an_expired_token_comes_never_back(people: dict[str, Person], database: Database) -> None:
    """It is the database's row that says until when, to the second."""
    with database.write() as session:
        token = accounts.issue_token(session, people["owner"].user_id, ttl_s=60, now=now()).token
    with database.read() as session:
        assert accounts.authenticate(session, token, now=now())
        with pytest.raises(Exception, match="Sign in"):
            accounts.authenticate(session, token, now=now() + timedelta(seconds=61))

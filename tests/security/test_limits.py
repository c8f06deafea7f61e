"""Limits count users, not requests that come to nothing; attacks that once succeeded fail."""

import sqlalchemy as sa

from chalicelib.accounts.rate_limits import EXPORTS_PER_USER
from chalicelib.db.engine import Database
from chalicelib.db.models import AuditEntry, Notification, User
from tests.conftest import Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person, refused

MANY = 250
"""More notifications than two answers hold."""


def notify(database: Database, user_id: int, count: int) -> None:
    """Leave notifications about tasks that never were."""
    with database.write() as session:
        session.get_one(User, user_id).notification_seq = count
        session.add_all(
            Notification(
                user_id=user_id,
                name="task_progress",
                subject=str(number),
                seq=number,
                timestamp=ledgers.now(),
                data={},
            )
            for number in range(1, count + 1)
        )


@both_databases
def test_notifications_come_a_hundred_at_a_time(susan: Person, database: Database) -> None:
    """However many there are: the oldest first, and the client asks on after the last one given."""
    notify(database, susan.user_id, MANY)
    after, sizes, seen = 0, list[int](), list[int]()
    while len(sizes) < 4:
        news = susan.get(f"/v1/notifications?after={after}").json_body
        sizes.append(len(news["items"]))
        seen += [item["seq"] for item in news["items"]]
        after = news["last_seq"]
    assert sizes == [100, 100, 50, 0]
    assert seen == list(range(1, MANY + 1))
    assert after == MANY


@both_databases
def test_exactly_a_hundred_notifications(susan: Person, database: Database) -> None:
    """The last hundred are the last: the number is the user's, also when it is a higher one."""
    notify(database, susan.user_id, 100)
    with database.write() as session:
        session.get_one(User, susan.user_id).notification_seq = 105
    news = susan.get("/v1/notifications").json_body
    assert (len(news["items"]), news["last_seq"]) == (100, 105)


def test_a_retry_is_a_launch(susan: Person, rewire: Rewire) -> None:
    """To cancel and retry spends what to launch spends."""
    rewire(LIMITS="on")
    task_id = susan.request()
    statuses = []
    for _ in range(EXPORTS_PER_USER.most):
        susan.post(f"/v1/tasks/{task_id}/cancel")
        statuses.append(susan.post(f"/v1/tasks/{task_id}/retry").status_code)
    assert statuses == [202] * (EXPORTS_PER_USER.most - 1) + [429]


@both_databases
def test_a_retry_waits_for_the_cooldown(susan: Person, rewire: Rewire) -> None:
    """An export that was cancelled is no way around the cooldown."""
    wiring = rewire(EXPORT_COOLDOWN_S="600")
    cancelled = susan.request()
    susan.post(f"/v1/tasks/{cancelled}/cancel")
    ledgers.publish(wiring, susan.request())
    refused(susan.post(f"/v1/tasks/{cancelled}/retry"), 429, "cooling_down")


@both_databases
def test_what_creates_nothing_costs_nothing(susan: Person, rewire: Rewire) -> None:
    """Replays of a key and refusals neither use the limit up nor are refused by it."""
    wiring = rewire(LIMITS="on")
    key = {"Idempotency-Key": "one"}
    task_id = susan.post("/v1/exports", {}, headers=key).json_body["id"]
    counter = wiring.rate_limiter.key(EXPORTS_PER_USER.name, susan.user_id)
    for _ in range(3):
        assert susan.post("/v1/exports", {}, headers=key).json_body["id"] == task_id
        refused(susan.post("/v1/exports", {}), 409, "task_in_progress")
    assert int(wiring.queue.redis.get(counter) or 0) == 1
    wiring.queue.redis.set(counter, EXPORTS_PER_USER.most, ex=60)
    assert susan.post("/v1/exports", {}, headers=key).json_body["id"] == task_id
    refused(susan.post("/v1/exports", {}), 409, "task_in_progress")
    susan.post(f"/v1/tasks/{task_id}/cancel")
    refused(susan.post("/v1/exports", {}), 429, "too_many_requests")


def test_counters_belong_to_one_deployment(susan: Person, rewire: Rewire) -> None:
    """Two deployments on one Redis do not count each other's users."""
    wiring = rewire(LIMITS="on")
    wiring.queue.redis.set(
        wiring.rate_limiter.key(EXPORTS_PER_USER.name, susan.user_id), EXPORTS_PER_USER.most, ex=60
    )
    rewire(LIMITS="on", QUEUE_NAME="another")
    assert susan.post("/v1/exports", {}).status_code == 202


@both_databases
def test_unconfirmed_accounts_have_one_task(
    susan: Person, database: Database, rewire: Rewire
) -> None:
    """Whoever invents accounts occupies no more workers than there are accounts."""
    rewire(VERIFY_EMAIL="on")
    with database.write() as session:
        session.get_one(User, susan.user_id).confirmed_at = None
    first = susan.request("example", seconds=0)
    second = susan.post("/v1/exports", {})
    refused(second, 409, "task_in_progress")
    assert second.headers["Location"] == f"/v1/tasks/{first}"
    susan.post(f"/v1/tasks/{first}/cancel")
    other = susan.request()
    refused(susan.post(f"/v1/tasks/{first}/retry"), 409, "task_in_progress")
    with database.write() as session:
        session.get_one(User, susan.user_id).confirmed_at = ledgers.now()
    assert susan.post(f"/v1/tasks/{first}/retry").status_code == 202
    assert susan.task(other)["status"] == "queued"


@both_databases
def test_posts_stay_within_the_quota(susan: Person, david: Person, rewire: Rewire) -> None:
    """The quota counts bytes of one user's posts; deleted ones make room."""
    rewire(POST_QUOTA_BYTES="10")
    first = susan.post("/v1/posts", {"body": "한글"}).json_body["id"]  # six bytes
    assert susan.post("/v1/posts", {"body": "four"}).status_code == 201
    refused(susan.post("/v1/posts", {"body": "x"}), 409, "quota_exceeded")
    assert david.post("/v1/posts", {"body": "x" * 10}).status_code == 201
    assert susan.delete(f"/v1/posts/{first}").status_code == 204
    assert susan.post("/v1/posts", {"body": "x"}).status_code == 201


@both_databases
def test_downloads_are_noted_once_an_hour(
    susan: Person, database: Database, rewire: Rewire
) -> None:
    """The audit says that a file was downloaded, and does not grow with each click."""
    wiring, task_id = rewire(), susan.request()
    wiring.object_store.put(ledgers.publish(wiring, task_id), b"{}", ledgers.JSON)
    for _ in range(5):
        assert susan.get(f"/v1/exports/{task_id}/download").status_code == 303
    noted = sa.select(sa.func.count()).where(AuditEntry.event == "downloaded")
    with database.read() as session:
        assert session.scalar(noted) == 1

"""Limits count users, not requests that come to nothing; attacks that once succeeded fail."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import replace
from itertools import chain
from time import monotonic

import pytest
import sqlalchemy as sa

from chalicelib.accounts import link_keys, passwords
from chalicelib.accounts.rate_limits import (
    ANYWHERE,
    DELIVERIES_PER_USER,
    EXPORTS_PER_USER,
    HASHES_PER_NETWORK,
    LONG_POLLS_PER_NETWORK,
    LONGEST_PAUSE_S,
    MOST_REFUSED,
    PER_ACCOUNT,
    REQUESTS_PER_USER,
    SIGN_UPS_PER_NETWORK,
    TASKS_PER_USER,
    Rate,
)
from chalicelib.db.engine import Database
from chalicelib.db.models import AuditEntry, Notification, User
from chalicelib.errors import TooMany, Unavailable
from chalicelib.imports.uploads import MOST_WAITING
from chalicelib.web import holding, request
from chalicelib.web.request import Call
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness import ledgers
from tests.harness.people import Person, refused

PASSWORD = "correct horse"

Elsewhere = Callable[[str], AbstractContextManager[None]]

MANY = 250
"""More notifications than two answers hold."""


@pytest.fixture
def limited(rewire: Rewire) -> Wiring:
    return rewire(LIMITS="on")


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Elsewhere:
    """Has requests come from another address."""

    @contextmanager
    def move(address: str) -> Iterator[None]:
        with monkeypatch.context() as patch:
            patch.setattr(Call, "address", property(lambda _call: address))
            yield

    return move


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


def spend_all(wiring: Wiring, rate: Rate, who: object) -> None:
    """Let a user or a network have used up a rate."""
    wiring.queue.redis.set(wiring.rate_limiter.key(rate.name, who), rate.most, ex=60)


def test_tasks_of_all_kinds_are_counted(susan: Person, limited: Wiring) -> None:
    """The end of each task may be delivered to strangers, so a user has so many in an hour."""
    spend_all(limited, TASKS_PER_USER, susan.user_id)
    example = {"name": "example", "params": {"seconds": 0}}
    refused(susan.post("/v1/tasks", example), 429, "too_many_requests")
    refused(susan.post("/v1/exports", {}), 429, "too_many_requests")


HOOK = {"url": "https://example.com/hook"}


def test_nobody_is_called_again_and_again(susan: Person, limited: Wiring) -> None:
    """Test events, and deliveries once more, are calls at the address of a stranger, perhaps."""
    path = susan.call("POST", "/v1/webhooks", HOOK, 201)["links"]["self"]
    assert susan.post(f"{path}/test").status_code == 202
    spend_all(limited, DELIVERIES_PER_USER, susan.user_id)
    refused(susan.post(f"{path}/test"), 429, "too_many_requests")
    limited.queue.redis.delete(limited.rate_limiter.key(DELIVERIES_PER_USER.name, susan.user_id))
    refused(susan.post(f"{path}/deliveries/1/redeliver"), 409, "delivery_in_progress")
    spend_all(limited, DELIVERIES_PER_USER, susan.user_id)
    refused(susan.post(f"{path}/deliveries/1/redeliver"), 429, "too_many_requests")


def test_invented_accounts_call_nobody(susan: Person, database: Database, rewire: Rewire) -> None:
    """Whoever has proved no address has no webhooks."""
    rewire(VERIFY_EMAIL="on")
    with database.write() as session:
        session.get_one(User, susan.user_id).confirmed_at = None
    refused(susan.post("/v1/webhooks", HOOK), 409, "address_unconfirmed")
    with database.write() as session:
        session.get_one(User, susan.user_id).confirmed_at = ledgers.now()
    assert susan.post("/v1/webhooks", HOOK).status_code == 201


@both_databases
def test_so_many_uploads_wait(susan: Person, david: Person) -> None:
    """Each may have gigabytes: beyond ten a new one takes the place of the oldest."""
    of_another = david.call("POST", "/v1/imports", {}, 201)["id"]
    ids = [susan.call("POST", "/v1/imports", {}, 201)["id"] for _ in range(MOST_WAITING + 2)]
    codes = [susan.post(f"/v1/imports/{one}/start").json_body["code"] for one in ids]
    assert codes == ["import_gone"] * 2 + ["nothing_uploaded"] * MOST_WAITING
    refused(david.post(f"/v1/imports/{of_another}/start"), 409, "nothing_uploaded")


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


def fail_to_sign_in(nobody: Person, times: int, username: str = "susan") -> list[int]:
    """Sign in with wrong passwords; return the statuses."""
    wrong = {"username": username, "password": "a guess"}
    return [nobody.post("/v1/tokens", wrong).status_code for _ in range(times)]


def test_strangers_lock_nobody_out(nobody: Person, limited: Wiring, elsewhere: Elsewhere) -> None:
    """Who signed in from a network before does so however often others fail from theirs."""
    rita = Person.sign_up(nobody.client, "rita")
    for number in range(4):
        with elsewhere(f"192.0.2.{number}"):
            fail_to_sign_in(nobody, PER_ACCOUNT, "rita")
    credentials = {"username": "rita", "password": PASSWORD}
    assert rita.post("/v1/tokens", credentials).status_code == 201
    assert limited.settings.limits


def test_wrong_passwords_from_everywhere_take_longer_and_longer(
    nobody: Person, limited: Wiring, elsewhere: Elsewhere
) -> None:
    """Beyond twenty for one account each waits for the pause after the one before."""
    assert limited.settings.limits
    statuses: list[int] = []
    for number in range(4):
        with elsewhere(f"192.0.2.{number}"):
            statuses += fail_to_sign_in(nobody, PER_ACCOUNT)
    assert statuses.count(401) <= ANYWHERE + 3
    with elsewhere("192.0.2.99"):
        answer = nobody.post("/v1/tokens", {"username": "susan", "password": "a guess"})
        refused(answer, 429, "too_many_attempts")
        assert int(answer.headers["Retry-After"]) <= LONGEST_PAUSE_S


def test_a_reset_clears_wrong_passwords(nobody: Person, limited: Wiring) -> None:
    """Whoever has just set a new password signs in with it at once."""
    rita = Person.sign_up(nobody.client, "rita")
    assert fail_to_sign_in(nobody, PER_ACCOUNT + 1, "rita")[-1] == 429
    key = link_keys.make_key(
        limited.database, rita.user_id, "reset", address=rita.address, now=ledgers.now()
    )
    assert nobody.post("/v1/passwords", {"key": key, "password": "b" * 8}).status_code == 204
    credentials = {"username": "rita", "password": "b" * 8}
    assert nobody.post("/v1/tokens", credentials).status_code == 201


def test_junk_resets_hash_nothing(nobody: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that opens nothing, and a name that is taken, are refused before the dear work."""
    rita = Person.sign_up(nobody.client, "rita")
    monkeypatch.setattr(passwords, "HASHER", None)  # whoever would hash fails
    answer = nobody.post("/v1/passwords", {"key": "x" * 43, "password": "b" * 8})
    refused(answer, 403, "link_over")
    new = {"username": "RITA", "email": "x@example.com", "password": "b" * 8}
    refused(nobody.post("/v1/users", new), 409, "username_taken")
    refused(
        nobody.post("/v1/users", new | {"username": "x", "email": rita.address}), 409, "email_taken"
    )


def test_hashing_has_a_gate() -> None:
    """As many passwords are hashed at once as there is memory for; who waits too long is told."""
    with ExitStack() as turns:
        for _ in range(passwords.AT_ONCE):
            turns.enter_context(passwords.turn())
        with pytest.raises(Unavailable), passwords.turn(wait_s=0.01):
            pass
    with passwords.turn(wait_s=0.01):
        pass


def test_passwords_are_looked_at_so_often_for_a_network(nobody: Person, limited: Wiring) -> None:
    """Right passwords cost as much as wrong ones, so they are counted, too."""
    key = limited.rate_limiter.key(HASHES_PER_NETWORK.name, "127.0.0.1")
    limited.queue.redis.set(key, HASHES_PER_NETWORK.most, ex=60)
    refused(nobody.post("/v1/tokens", {"username": "x", "password": "y"}), 429, "too_many_requests")
    new = {"username": "x", "email": "x@example.com", "password": "b" * 8}
    refused(nobody.post("/v1/users", new), 429, "too_many_requests")


def test_accounts_are_counted_by_network(nobody: Person, rewire: Rewire) -> None:
    """Whoever invents accounts, guests of a demo too, gets so many in an hour from one place."""
    wiring = rewire(LIMITS="on", DEMO="on")
    spend_all(wiring, SIGN_UPS_PER_NETWORK, "127.0.0.1")
    new = {"username": "x", "email": "x@example.com", "password": "b" * 8}
    refused(nobody.post("/v1/users", new), 429, "too_many_requests")
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert nobody.post("/try", b"", headers=form).status_code == 429


def test_requests_are_counted_by_user(nobody: Person, limited: Wiring) -> None:
    """Many tokens are one user's requests; another user is not in their way."""
    rita, david = Person.sign_up(nobody.client, "rita"), Person.sign_up(nobody.client, "david")
    credentials = {"username": "rita", "password": PASSWORD}
    second = Person(nobody.client, nobody.call("POST", "/v1/tokens", credentials, 201)["token"])
    for person in (rita, second, david):  # from now on this process knows whose they are
        assert person.get("/v1/me").status_code == 200
    assert rita.get("/v1/me").status_code == 200
    key = limited.rate_limiter.key(REQUESTS_PER_USER.name, rita.user_id)
    limited.queue.redis.set(key, REQUESTS_PER_USER.most, ex=60)
    for person in (rita, second):
        refused(person.get("/v1/me"), 429, "too_many_requests")
    assert david.get("/v1/me").status_code == 200


def test_long_polls_per_network(limited: Wiring) -> None:
    """Many accounts behind one address do not take every thread."""
    slot = limited.rate_limiter.long_poll_slot
    with ExitStack() as others:
        for user_id in range(LONG_POLLS_PER_NETWORK):
            assert others.enter_context(slot(user_id, "192.0.2.1", wait_s=20))
        with slot(1000, "192.0.2.1", wait_s=20) as found:
            assert not found
        with slot(1000, "192.0.2.2", wait_s=20) as found:
            assert found


def test_a_server_holds_so_many_requests(susan: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond, an answer comes immediately, also without limits."""
    room = holding.Room()
    room.limit(1)
    monkeypatch.setattr(request, "ROOM", room)
    path = "/v1/notifications?after=1000&wait=20"
    with room.place():
        started = monotonic()
        assert susan.get(path).json_body["items"] == []
        assert monotonic() - started < 10
    started = monotonic()
    assert susan.get("/v1/notifications?after=1000&wait=0.3").json_body["items"] == []
    assert monotonic() - started >= 0.3


def test_operators_see_who_was_refused(susan: Person, nobody: Person, limited: Wiring) -> None:
    """Which limit refused which user or network, and how often; never a name, token or address."""
    limiter = limited.rate_limiter
    assert susan.get("/v1/me").status_code == 200  # from now on this process knows whose token
    assert limiter.refusals() == []
    limited.queue.redis.set(
        limiter.key(REQUESTS_PER_USER.name, susan.user_id), REQUESTS_PER_USER.most, ex=60
    )
    for _ in range(3):
        refused(susan.get("/v1/me"), 429, "too_many_requests")
    fail_to_sign_in(nobody, PER_ACCOUNT + 1)
    found = {(one.limit, one.who): one.count for one in limiter.refusals()}
    assert found == {
        ("requests:user", str(susan.user_id)): 3,
        ("wrong-passwords:pair", "127.0.0.1"): 1,
    }


def test_so_many_of_those_who_were_refused_are_known(limited: Wiring) -> None:
    """Whoever invents networks fills no memory: they are counted together."""
    limiter = limited.rate_limiter
    known = [(f"exports:user|{number}", 1) for number in range(MOST_REFUSED)]
    limited.queue.redis.hset(limiter.refusals_key(), items=list(chain(*known)))
    rate = replace(EXPORTS_PER_USER, most=0)
    for user_id in (1, MOST_REFUSED, MOST_REFUSED + 1):
        with pytest.raises(TooMany):
            limiter.spend((rate, user_id))
    found = {one.who: one.count for one in limiter.refusals()}
    assert len(found) == MOST_REFUSED + 1
    assert (found["1"], found[""]) == (2, 2)

import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from threading import Barrier
from urllib.parse import urlsplit

import pytest
from chalice.test import Client, HTTPResponse

from chalicelib.accounts import accounts, link_keys
from chalicelib.accounts.accounts import NewUser
from chalicelib.accounts.rate_limits import (
    EMAILS_PER_USER,
    EXPORTS_PER_USER,
    LONG_POLLS_PER_USER,
    PER_ACCOUNT,
    REQUESTS_PER_USER,
    Rate,
    SignInLimit,
)
from chalicelib.db.engine import Database
from chalicelib.db.models import LinkKey, OutboxMessage, User
from chalicelib.errors import TooManyAttempts, WrongCredentials
from chalicelib.web.problems import status_of
from chalicelib.wiring import Wiring
from tests.conftest import Join, Rewire, both_databases
from tests.harness.ledgers import launch, now, publish, put_email, the_email
from tests.harness.pages import Elements
from tests.harness.people import Person, refused
from tests.harness.stacks import emails_in
from worker.outbox import sender

PASSWORD = "correct horse"
OTHER = "battery staple"
MOVED = {"email": "new@example.com", "current_password": PASSWORD}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


@pytest.fixture
def maria(nobody: Person, wiring: Wiring) -> Person:
    """Somebody with a password, signed in."""
    new = NewUser("maria", "maria@example.com", PASSWORD, "ko")
    with wiring.database.write() as session:
        user_id = accounts.sign_up(session, new, now=now()).id
    return sign_in(nobody, user_id)


def sign_in(nobody: Person, user_id: int = 0, password: str = PASSWORD) -> Person:
    answer = nobody.post("/v1/tokens", {"username": "maria", "password": password})
    assert answer.status_code == 201, answer.json_body
    return Person(nobody.client, answer.json_body["token"], user_id)


def confirmed(wiring: Wiring, person: Person) -> None:
    """Have somebody's address confirmed."""
    with wiring.database.write() as session:
        session.get_one(User, person.user_id).confirmed_at = now()


def emails(mail_dir: Path, wiring: Wiring) -> list[EmailMessage]:
    """What the sender sends now, the oldest first."""
    known = len(emails_in(mail_dir))
    while sender.send_due(wiring):
        pass
    return emails_in(mail_dir)[known:]


def state_of(wiring: Wiring, task_id: str) -> str:
    """What became of the email about a task."""
    found = the_email(wiring.database, task_id)
    return found.state if found else "none"


def link(mail: EmailMessage) -> tuple[str, str]:
    """The page and the key that an email links to."""
    body = mail.get_body(("plain",))
    assert body is not None
    url = urlsplit(re.findall(r"https://\S+", body.get_content())[0])
    return url.path, url.query.removeprefix("key=")


def test_change_of_password(maria: Person, nobody: Person) -> None:
    """The new password counts at once, this session goes on, and all others end."""
    elsewhere = sign_in(nobody)
    change = {"current_password": PASSWORD, "password": OTHER}
    assert maria.ask("PUT", "/v1/me/password", change).status_code == 204
    assert maria.get("/v1/me").status_code == 200
    refused(elsewhere.get("/v1/me"), 401, "unauthenticated")
    old = {"username": "maria", "password": PASSWORD}
    refused(nobody.post("/v1/tokens", old), 401, "wrong_credentials")
    assert sign_in(nobody, password=OTHER).get("/v1/me").status_code == 200


def test_change_of_password_needs_the_present_one(maria: Person) -> None:
    """Who finds an open session cannot take the account over."""
    change = {"current_password": "a guess", "password": OTHER}
    refused(maria.ask("PUT", "/v1/me/password", change), 403, "wrong_password")


@both_databases
def test_reset(maria: Person, nobody: Person, mail_dir: Path, wiring: Wiring) -> None:
    """A link by email, in the user's language, sets a new password once and ends all sessions."""
    assert nobody.post("/v1/password-resets", {"email": "MARIA@example.com"}).status_code == 202
    (mail,) = emails(mail_dir, wiring)
    assert mail["To"] == "maria <maria@example.com>"
    assert mail["Subject"] == "비밀번호 재설정"
    page, key = link(mail)
    assert page == "/new-password"
    assert nobody.get(f"{page}?key={key}").status_code == 200  # looking uses nothing up

    answer = nobody.post("/v1/passwords", {"key": key, "password": OTHER})
    assert answer.status_code == 204
    refused(maria.get("/v1/me"), 401, "unauthenticated")
    assert sign_in(nobody, password=OTHER).get("/v1/me").json_body["email_confirmed"]
    again = nobody.post("/v1/passwords", {"key": key, "password": PASSWORD})
    refused(again, 403, "link_over")


def test_reset_for_nobody(nobody: Person, maria: Person, mail_dir: Path, wiring: Wiring) -> None:
    """An address that nobody has gets the same answer, and no email."""
    assert maria
    answers = [
        nobody.post("/v1/password-resets", {"email": f"{name}@example.com"})
        for name in ("maria", "nobody")
    ]
    assert [answer.status_code for answer in answers] == [202, 202]
    assert answers[0].body == answers[1].body
    assert [mail["To"] for mail in emails(mail_dir, wiring)] == ["maria <maria@example.com>"]


def test_reset_is_over_soon(
    nobody: Person, maria: Person, mail_dir: Path, rewire: Rewire, wiring: Wiring
) -> None:
    """After a quarter of an hour the link is worth nothing."""
    assert maria
    nobody.post("/v1/password-resets", {"email": "maria@example.com"})
    _, key = link(emails(mail_dir, wiring)[0])
    rewire(later=timedelta(minutes=15, seconds=1))
    answer = nobody.post("/v1/passwords", {"key": key, "password": OTHER})
    refused(answer, 403, "link_over")


def test_no_secret_is_kept(nobody: Person, maria: Person, mail_dir: Path, wiring: Wiring) -> None:
    """The key of a link is in the email and nowhere else: a digest in SQL, nothing in Redis."""
    assert maria
    nobody.post("/v1/password-resets", {"email": "maria@example.com"})
    _, key = link(emails(mail_dir, wiring)[0])
    with wiring.database.read() as session:
        (kept,) = session.query(LinkKey).all()
        (sent,) = session.query(OutboxMessage).all()
    assert (sent.state, key in str(sent.payload)) == ("sent", False)
    assert key.encode() not in kept.digest
    assert len(kept.digest) == 32
    redis = wiring.queue.redis
    assert key.encode() not in b"".join(redis.dump(name) or b"" for name in redis.scan_iter())


@both_databases
def test_unconfirmed_addresses_get_no_export(
    nobody: Person, rewire: Rewire, mail_dir: Path
) -> None:
    """With VERIFY_EMAIL the export's mail is pending, and goes out once there is a proof."""
    wired = rewire(VERIFY_EMAIL="on")
    new = {"username": "maria", "email": "maria@example.com", "password": PASSWORD}
    assert not nobody.post("/v1/users", new).json_body["email_confirmed"]
    maria = sign_in(nobody)
    task_id = launch(wired.database, maria.get("/v1/me").json_body["id"])
    publish(wired, task_id)
    sender.send_of_task(task_id, wired)
    shown = maria.get(f"/v1/tasks/{task_id}").json_body
    assert shown["result"]["mail"]["state"] == "pending"
    refused(maria.post(f"/v1/exports/{task_id}/mail"), 409, "address_unconfirmed")
    assert maria.get(f"/exports/{task_id}").status_code == 200

    (mail,) = emails(mail_dir, wired)
    page, key = link(mail)
    assert page == "/confirm"
    assert nobody.post("/v1/confirmations", {"key": key}).status_code == 204
    assert state_of(wired, task_id) == "pending"
    sender.send_of_task(task_id, wired)
    assert state_of(wired, task_id) == "sent"
    refused(nobody.post("/v1/confirmations", {"key": key}), 403, "link_over")
    refused(maria.post("/v1/me/confirmation"), 409, "address_confirmed")


def test_the_old_address_is_told(
    rewire: Rewire, maria: Person, mail_dir: Path, wiring: Wiring
) -> None:
    """A change of address goes to both: a warning to the old one, a link to the new one."""
    rewire(VERIFY_EMAIL="on")
    confirmed(wiring, maria)
    assert maria.patch("/v1/me", MOVED).status_code == 200
    found = {str(mail["To"]): mail for mail in emails(mail_dir, wiring)}
    assert set(found) == {"maria <maria@example.com>", "maria <new@example.com>"}
    assert link(found["maria <new@example.com>"])[0] == "/confirm"
    assert link(found["maria <maria@example.com>"])[0] == "/restore-address"


def test_a_link_to_an_address_of_the_past(
    nobody: Person, rewire: Rewire, maria: Person, mail_dir: Path, wiring: Wiring
) -> None:
    """Whoever had the old address cannot confirm the new one, nor take the account over."""
    rewire(VERIFY_EMAIL="on")
    confirmed(wiring, maria)
    nobody.post("/v1/password-resets", {"email": "maria@example.com"})
    _, key = link(emails(mail_dir, wiring)[0])
    maria.patch("/v1/me", MOVED)
    refused(nobody.post("/v1/passwords", {"key": key, "password": OTHER}), 403, "link_over")
    refused(nobody.post("/v1/confirmations", {"key": key}), 403, "link_over")


def test_a_letter_that_cannot_be_written(
    nobody: Person, maria: Person, mail_dir: Path, wiring: Wiring
) -> None:
    """An address that has no place in a header costs its own email and nobody else's."""
    with wiring.database.write() as session:
        session.get_one(User, maria.user_id).email = "x@example.com\r\nBcc: y@example.com"
    new = {"username": "rita", "email": "rita@example.com", "password": PASSWORD}
    assert nobody.post("/v1/users", new).status_code == 201
    with wiring.database.write() as session:
        for user in session.query(User):
            link_keys.send_link(session, user, "reset", now=now())
    assert [mail["To"] for mail in emails(mail_dir, wiring)] == ["rita <rita@example.com>"]
    with wiring.database.read() as session:
        states = {one.address: one.state for one in session.query(OutboxMessage)}
    assert states["rita@example.com"] == "sent"
    assert sorted(states.values()) == ["pending", "sent"]


def test_the_pages(nobody: Person, maria: Person, mail_dir: Path, wiring: Wiring) -> None:
    """The whole way works with forms alone."""
    assert maria
    form = b"email=maria@example.com"
    assert nobody.post("/forgot", form, headers=FORM).status_code == 200
    page, key = link(emails(mail_dir, wiring)[0])
    assert key.encode() in nobody.get(f"{page}?key={key}").body
    short = f"key={key}&password=short".encode()
    assert nobody.post("/new-password", short, headers=FORM).status_code == 422
    good = f"key={key}&password=battery+staple".encode()
    assert nobody.post("/new-password", good, headers=FORM).status_code == 200
    assert nobody.post("/new-password", good, headers=FORM).status_code == 403
    assert sign_in(nobody, password=OTHER).get("/v1/me").status_code == 200


def test_a_password_manager_learns_whose_password_it_is(
    nobody: Person, maria: Person, mail_dir: Path, rewire: Rewire, wiring: Wiring
) -> None:
    """The page of a link that works names its user; that of any other key names nobody."""
    assert maria
    assert nobody.post("/forgot", b"email=maria@example.com", headers=FORM).status_code == 200
    page, key = link(emails(mail_dir, wiring)[0])

    def named(answer: HTTPResponse) -> bool:
        fields = [a for tag, a in Elements(answer.body.decode()).found if tag == "input"]
        names = [a["value"] for a in fields if a.get("autocomplete") == "username"]
        assert len([a for a in fields if a.get("autocomplete") == "new-password"]) == 1
        return names == ["maria"]

    assert named(nobody.get(f"{page}?key={key}"))
    assert named(nobody.post(page, f"key={key}&password=short".encode(), headers=FORM))
    for other in ("", "?key=x", f"?key={key}x"):
        assert b"maria" not in nobody.get(page + other).body
    rewire(later=timedelta(minutes=16))
    assert b"maria" not in nobody.get(f"{page}?key={key}").body


@pytest.fixture
def limited(rewire: Rewire) -> Wiring:
    return rewire(LIMITS="on")


def too_many(answer: object) -> None:
    """Check that an answer says when to come again."""
    assert int(answer.headers["Retry-After"]) > 0  # type: ignore[attr-defined]


def test_requests_per_token(limited: Wiring, susan: Person, david: Person) -> None:
    """Who asks too often is told when to come again; others are not in their way."""
    key = spent(limited, susan)
    answer = susan.get("/v1/me")
    refused(answer, 429, "too_many_requests")
    too_many(answer)
    assert david.get("/v1/me").status_code == 200
    limited.queue.redis.delete(key)
    assert susan.get("/v1/me").status_code == 200


def test_a_token_is_one_however_it_is_written(limited: Wiring, susan: Person) -> None:
    """Neither spaces nor letters nor other cookies make a second token of one."""
    spent(limited, susan)
    cookie = f"__Host-carryout_session={susan.token}"
    for header, value in (
        ("Authorization", f"bearer {susan.token}"),
        ("Authorization", f"BEARER   {susan.token} "),
        ("Cookie", cookie),
        ("Cookie", f"{cookie}; other=1"),
    ):
        nobody = Person(susan.client)
        answer = nobody.get("/v1/me", headers={header: value})
        refused(answer, 429, "too_many_requests")


def spent(wiring: Wiring, person: Person) -> str:
    """Have a person ask as often as they may; return the counter's name."""
    assert person.get("/v1/me").status_code == 200  # from now on it is known whose token it is
    key = wiring.rate_limiter.key(REQUESTS_PER_USER.name, person.user_id)
    wiring.queue.redis.set(key, REQUESTS_PER_USER.most, ex=60)
    return key


@pytest.fixture
def poll(susan: Person) -> Callable[..., float]:
    """Susan polls; tells how long that took, in seconds."""
    task_id = susan.post("/v1/exports").json_body["id"]
    paths = (f"/v1/tasks/{task_id}", "/v1/notifications?after=1000")

    def ask(wait_s: float, *, path: str = paths[0]) -> float:
        etag = susan.get(paths[0]).headers["ETag"]
        started = time.monotonic()
        joint = "&" if "?" in path else "?"
        answer = susan.get(f"{path}{joint}wait={wait_s}", headers={"If-None-Match": etag})
        assert answer.status_code in {200, 304}
        return time.monotonic() - started

    return ask


@pytest.mark.parametrize("path", ["/v1/notifications?after=1000", None])
def test_long_polls_per_token(
    limited: Wiring, susan: Person, david: Person, poll: Callable[..., float], path: str | None
) -> None:
    """One more than a token may have is answered immediately; one that ends frees its slot."""
    where = {} if path is None else {"path": path}
    redis, here = limited.queue.redis, "127.0.0.1"
    long_poll_slot = limited.rate_limiter.long_poll_slot
    with ExitStack() as others:
        for _ in range(LONG_POLLS_PER_USER - 1):
            assert others.enter_context(long_poll_slot(susan.user_id, here, wait_s=20))
        assert others.enter_context(long_poll_slot(david.user_id, here, wait_s=20))
        for _ in range(2):
            assert poll(0.3, **where) >= 0.3
        with long_poll_slot(susan.user_id, here, wait_s=20) as found:
            assert found
            assert poll(20, **where) < 10
        assert poll(0.3, **where) >= 0.3
    assert redis.keys("carryout:*:long-poll:*") == []


def test_a_slot_is_free_again_when_its_server_died(limited: Wiring) -> None:
    """Nobody gives it back, so it has an end."""
    redis = limited.queue.redis
    with limited.rate_limiter.long_poll_slot(1, "::1", wait_s=0.5):
        keys = redis.keys("carryout:*:long-poll:*")
        assert len(keys) == 2
        assert all(1 <= redis.ttl(key) <= 6 for key in keys)


def test_long_polls_wait_without_redis(without_redis: Wiring, poll: Callable[..., float]) -> None:
    """Then nobody counts them."""
    assert without_redis
    assert poll(0.3) >= 0.3


def test_exports_per_user(limited: Wiring, susan: Person) -> None:
    """Exports are limited for each user, whatever the cooldown."""
    spent_by(limited, EXPORTS_PER_USER, susan.user_id)
    answer = susan.post("/v1/exports")
    refused(answer, 429, "too_many_requests")
    too_many(answer)
    assert susan.post("/v1/tasks", {"name": "example", "params": {"seconds": 0}}).status_code == 202


def test_mails_per_user(limited: Wiring, susan: Person) -> None:
    """Emails that one asks for are limited for each user."""
    task_id = launch(limited.database, susan.user_id)
    publish(limited, task_id)
    put_email(limited.database, task_id, state="sent")
    spent_by(limited, EMAILS_PER_USER, susan.user_id)
    answer = susan.post(f"/v1/exports/{task_id}/mail")
    refused(answer, 429, "too_many_requests")
    too_many(answer)


def spent_by(wiring: Wiring, rate: Rate, who: object) -> None:
    """Have somebody use up a rate."""
    wiring.queue.redis.set(wiring.rate_limiter.key(rate.name, who), rate.most, ex=60)


@pytest.fixture
def without_redis(rewire: Rewire) -> Wiring:
    """The app with LIMITS=on, and with nobody where Redis should be."""
    return rewire(LIMITS="on", REDIS_URL="redis://127.0.0.1:1/0")


@both_databases
@pytest.mark.usefixtures("without_redis")
def test_wrong_passwords_are_counted_without_redis(nobody: Person) -> None:
    """While Redis is away the ledger counts wrong passwords; nothing else is limited."""
    guess = {"username": "susan", "password": "a guess"}
    for _ in range(PER_ACCOUNT):
        refused(nobody.post("/v1/tokens", guess), 401, "wrong_credentials")
    answer = nobody.post("/v1/tokens", guess | {"username": "SUSAN"})
    refused(answer, 429, "too_many_attempts")
    too_many(answer)
    refused(nobody.post("/v1/tokens", guess | {"username": "x"}), 401, "wrong_credentials")


@both_databases
def test_wrong_passwords_at_once_without_redis(database: Database, without_redis: Wiring) -> None:
    """However many come at the same moment, the ledger lets ten of them through."""
    limiter, together = without_redis.rate_limiter, Barrier(8)

    def guess(_: int) -> int:
        limit = SignInLimit(limiter, database, username="susan", address="192.0.2.1")
        together.wait(timeout=60)
        with pytest.raises((WrongCredentials, TooManyAttempts)) as told, limit.attempt(now=now()):
            raise WrongCredentials
        return status_of(told.value)

    with ThreadPoolExecutor(8) as pool:
        statuses = list(pool.map(guess, range(24)))
    assert statuses.count(401) == PER_ACCOUNT


@both_databases
@pytest.mark.usefixtures("without_redis")
def test_a_right_password_does_not_count_without_redis(maria: Person) -> None:
    """Nor does the ledger count who signs in."""
    wrong = {"username": "maria", "password": "a guess"}
    for _ in range(PER_ACCOUNT - 1):
        refused(maria.post("/v1/tokens", wrong), 401, "wrong_credentials")
    for _ in range(3):
        sign_in(maria)
    refused(maria.post("/v1/tokens", wrong), 401, "wrong_credentials")
    refused(maria.post("/v1/tokens", wrong), 429, "too_many_attempts")


def test_who_had_an_account_before(database: Database, client: Client, join: Join) -> None:
    """An address that counted before there was a confirmation still counts."""
    assert client
    user_id = join("susan").user_id
    with database.read() as session:
        assert session.get_one(User, user_id).confirmed_at is not None

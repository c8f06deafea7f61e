import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from chalice.test import Client
from werkzeug.test import Client as Browser

from app import app
from chalicelib.accounts.accounts import _flush_unique
from chalicelib.accounts.passwords import HASHER
from chalicelib.accounts.rate_limits import PER_ACCOUNT, SignInLimit
from chalicelib.db.engine import Database
from chalicelib.db.models import User
from chalicelib.errors import TooManyAttempts, Unauthenticated, Unavailable, UsernameTaken
from chalicelib.values.fields import parse_time
from chalicelib.wiring import Wiring
from infra.servers.gateway import Gateway
from tests.conftest import Join, Rewire, both_databases
from tests.harness.events import proxy_event
from tests.harness.ledgers import now
from tests.harness.people import JSON, Person, pointers, refused

PASSWORD = "correct horse"
SUSAN = {"username": "susan", "email": "susan@example.com", "password": PASSWORD}
CREDENTIALS = {"username": "susan", "password": PASSWORD}


def test_sign_up_and_sign_in(nobody: Person) -> None:
    """A new user signs in with any case of the name, and sees the account."""
    answer = nobody.post("/v1/users", SUSAN | {"language": "ko"})
    assert answer.status_code == 201
    assert answer.headers["Location"] == "/v1/me"

    token = nobody.post("/v1/tokens", CREDENTIALS | {"username": "SUSAN"})
    assert token.status_code == 201
    assert set(token.json_body) == {"token", "expires_at"}
    assert parse_time(token.json_body["expires_at"]) > now() + timedelta(days=29)
    me = Person(nobody.client, token.json_body["token"]).get("/v1/me")
    assert me.status_code == 200
    assert me.json_body == answer.json_body
    assert set(me.json_body) == {
        *("id", "username", "email", "email_confirmed", "language", "post_count", "links")
    }
    assert me.json_body["language"] == "ko"


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"username": ""}, "/username"),
        ({"username": "a" * 65}, "/username"),
        ({"username": "susan!"}, "/username"),
        ({"username": "süsan"}, "/username"),
        ({"username": "susan\n"}, "/username"),
        ({"username": 7}, "/username"),
        ({"email": "susan"}, "/email"),
        ({"email": "susan@example.com\r\nBcc: x@example.com"}, "/email"),
        ({"password": "1234567"}, "/password"),
        ({"password": "x" * 129}, "/password"),
        ({"password": None}, "/password"),
        ({"language": "de"}, "/language"),
        ({"is_admin": True}, "/is_admin"),  # unknown here, whatever the ledger calls its columns
    ],
)
def test_sign_up_invalid(nobody: Person, change: dict[str, Any], pointer: str) -> None:
    """Each wrong field is named."""
    problem = refused(nobody.post("/v1/users", SUSAN | change), 422, "invalid")
    assert pointers(problem) == {pointer}


def test_sign_up_without_anything(nobody: Person) -> None:
    """An empty body counts as an empty object, and every missing field is named."""
    problem = refused(nobody.post("/v1/users"), 422, "invalid")
    assert pointers(problem) == {"/username", "/email", "/password"}


@pytest.mark.parametrize("password", ["12345678", "\U0001f600" * 128, " 한글 пароль \u0301"])
def test_any_unicode_is_a_password(nobody: Person, password: str) -> None:
    """Passwords of 8 to 128 characters of any script work."""
    new = SUSAN | {"password": password, "username": "A-z_0" + "9" * 59}
    assert nobody.post("/v1/users", new).status_code == 201
    credentials = {"username": new["username"], "password": password}
    assert nobody.post("/v1/tokens", credentials).status_code == 201


COMPOSED, DECOMPOSED = "\u00e9" * 8, "e\u0301" * 8


@pytest.mark.parametrize("chosen", [COMPOSED, DECOMPOSED])
@pytest.mark.parametrize("typed", [COMPOSED, DECOMPOSED])
def test_passwords_are_compared_in_one_form(nobody: Person, chosen: str, typed: str) -> None:
    """One keyboard sends an accent as one character, another as two: it is the same password."""
    assert nobody.post("/v1/users", SUSAN | {"password": chosen}).status_code == 201
    assert nobody.post("/v1/tokens", CREDENTIALS | {"password": typed}).status_code == 201
    wrong = CREDENTIALS | {"password": "e" * 8}
    refused(nobody.post("/v1/tokens", wrong), 401, "wrong_credentials")


@pytest.mark.parametrize(
    ("password", "status"),
    [
        ("e\u0301" * 7, 422),  # 14 characters as they come, 7 after NFC
        ("e\u0301" * 128, 201),  # 256, and 128
        ("e\u0301" * 129, 422),
        ("\u0958" * 64, 201),  # 64, and 128: NFC takes this one apart
        ("\u0958" * 65, 422),
        ("\u1f82" * 128, 201),
        ("\u03b1\u0313\u0300\u0345" * 128, 201),  # four characters for one
        ("a" + "\u0323\u0307" * 1_000_000, 422),  # and no time is lost on it
    ],
    ids=range(8),
)
def test_passwords_are_counted_in_that_form(nobody: Person, password: str, status: int) -> None:
    """8 to 128 characters are those that are compared."""
    assert nobody.post("/v1/users", SUSAN | {"password": password}).status_code == status


def test_a_password_from_before(nobody: Person, join: Join, database: Database) -> None:
    """What was hashed as it came still lets its user in, by the same keyboard."""
    user_id = join("susan").user_id
    with database.write() as session:
        session.get_one(User, user_id).password_hash = HASHER.hash(DECOMPOSED)
    assert nobody.post("/v1/tokens", CREDENTIALS | {"password": DECOMPOSED}).status_code == 201


@both_databases
def test_names_and_addresses_are_unique_without_case(nobody: Person, susan: Person) -> None:
    """Another case is the same name, and the same address."""
    assert susan
    taken = SUSAN | {"username": "SuSaN", "email": "other@example.com"}
    refused(nobody.post("/v1/users", taken), 409, "username_taken")
    taken = SUSAN | {"username": "other", "email": "SUSAN@EXAMPLE.COM"}
    refused(nobody.post("/v1/users", taken), 409, "email_taken")


@both_databases
def test_two_sign_up_at_once(client: Client) -> None:
    """Of those who want one name at the same time one gets it, the others are told."""
    assert client
    body = '{"username": "susan", "email": "s%d@example.com", "password": "12345678"}'
    events = [proxy_event("POST", "/v1/users", headers=JSON, body=body % i) for i in range(4)]
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda event: app(event, None)["statusCode"], events))
    assert sorted(answers) == [201, 409, 409, 409]


@both_databases
def test_late_collision_names_what_is_taken(database: Database, susan: Person) -> None:
    """A name that contains the word "email" is not mistaken for an address."""
    assert susan
    facts = {"password_hash": "x", "language": "en", "created_at": now()}
    with database.write() as session:
        session.add(User(username="email", email="a@example.com", **facts))
        session.flush()
        session.add(User(username="Email", email="b@example.com", **facts))
        with pytest.raises(UsernameTaken):
            _flush_unique(session)
        session.rollback()


def test_registration_closed(nobody: Person, rewire: Rewire) -> None:
    """Where registration is closed nobody signs up."""
    rewire(REGISTRATION="closed")
    refused(nobody.post("/v1/users", SUSAN), 403, "registration_closed")


@pytest.mark.parametrize(
    "wrong",
    [
        {"password": "wrong horse"},
        {"password": ""},
        {"username": "nobody-of-this-name"},
        {"username": "no name at all, ever: \U0001f600"},
        {"username": "x" * 1000},
        {"username": "susan\n"},
        {"username": "susan\0"},
        {"username": "\ud800"},
        {"password": "correct horse\0"},
        {"password": "\ud800"},
    ],
    ids=ascii,
)
@both_databases
def test_wrong_credentials_all_look_alike(nobody: Person, wrong: dict[str, str]) -> None:
    """The answer does not tell whether there is such a user."""
    assert nobody.post("/v1/users", SUSAN).status_code == 201
    problem = refused(nobody.post("/v1/tokens", CREDENTIALS | wrong), 401, "wrong_credentials")
    usual = nobody.post("/v1/tokens", CREDENTIALS | {"password": "x"})
    assert problem == usual.json_body
    assert usual.headers["WWW-Authenticate"] == "Bearer"


def test_guessing_is_slowed_down(nobody: Person, rewire: Rewire) -> None:
    """After ten wrong passwords even the right one has to wait; other accounts do not."""
    rewire(LIMITS="on")
    assert nobody.post("/v1/users", SUSAN).status_code == 201
    wrong = CREDENTIALS | {"password": "x"}
    assert {nobody.post("/v1/tokens", wrong).status_code for _ in range(10)} == {401}
    answer = nobody.post("/v1/tokens", CREDENTIALS | {"username": "SUSAN"})
    refused(answer, 429, "too_many_attempts")
    assert 0 < int(answer.headers["Retry-After"]) <= 900
    refused(nobody.post("/v1/tokens", wrong | {"username": "david"}), 401, "wrong_credentials")


def test_a_right_password_does_not_count(nobody: Person, rewire: Rewire) -> None:
    """A user who signs in again and again has as many attempts left as before."""
    rewire(LIMITS="on")
    assert nobody.post("/v1/users", SUSAN).status_code == 201
    wrong = CREDENTIALS | {"password": "x"}
    assert {nobody.post("/v1/tokens", wrong).status_code for _ in range(9)} == {401}
    assert {nobody.post("/v1/tokens", CREDENTIALS).status_code for _ in range(5)} == {201}
    refused(nobody.post("/v1/tokens", wrong), 401, "wrong_credentials")
    refused(nobody.post("/v1/tokens", wrong), 429, "too_many_attempts")


def test_attempts_at_once_are_no_more_attempts(wiring: Wiring) -> None:
    """Passwords that are looked at at the same time count as if one came after the other."""
    with ExitStack() as looks:
        for _ in range(PER_ACCOUNT):
            looks.enter_context(login_attempt(wiring))
        with pytest.raises(TooManyAttempts), login_attempt(wiring):
            pass
    with pytest.raises(Unavailable), login_attempt(wiring):  # those were right
        raise Unavailable
    for _ in range(PER_ACCOUNT):
        with pytest.raises(Unauthenticated), login_attempt(wiring):
            raise Unauthenticated
    with pytest.raises(TooManyAttempts), login_attempt(wiring):
        pass


def login_attempt(wiring: Wiring) -> AbstractContextManager[None]:
    limit = SignInLimit(wiring.rate_limiter, wiring.database, username="susan", address="::1")
    return limit.attempt(now=now())


def test_sign_out(susan: Person) -> None:
    """A revoked token is worth nothing."""
    answer = susan.delete("/v1/tokens/current")
    assert (answer.status_code, answer.body) == (204, b"")
    refused(susan.get("/v1/me"), 401, "unauthenticated")


def test_tokens_expire(susan: Person, rewire: Rewire) -> None:
    """A token is valid until its time and not longer."""
    rewire(later=timedelta(days=6))
    assert susan.get("/v1/me").status_code == 200
    rewire(later=timedelta(days=7))
    refused(susan.get("/v1/me"), 401, "unauthenticated")


PROTECTED = [(one.method, one.path) for one in app.endpoints if one.who != "anybody"]


@pytest.mark.parametrize(("method", "path"), PROTECTED)
def test_credentials_are_required(nobody: Person, method: str, path: str) -> None:
    """Every route that is not for anybody asks for credentials first, by the scheme's name."""
    answer = nobody.ask(method, re.sub(r"{\w+}", "1", path), body=b"{not json")
    refused(answer, 401, "unauthenticated")
    assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize(
    "header",
    ["Bearer", "Bearer ", "Bearer x", "Basic eDp5", "bearer \u00e9", "Bearer a b", "\ud800", ""],
)
def test_bad_credentials(nobody: Person, header: str) -> None:
    """What is no valid token is none."""
    answer = nobody.get("/v1/me", headers={"Authorization": header})
    refused(answer, 401, "unauthenticated")


@pytest.mark.parametrize(
    "cookie", ["__Host-carryout_session=x", "=;;==", "\x00", "__Host-carryout_session"]
)
def test_bad_cookie(nobody: Person, cookie: str) -> None:
    """A cookie that is no session is none."""
    refused(nobody.get("/v1/me", headers={"Cookie": cookie}), 401, "unauthenticated")


@pytest.fixture
def carol(nobody: Person) -> Person:
    """Somebody with a password, signed in."""
    carol = SUSAN | {"username": "carol", "email": "carol@example.com"}
    assert nobody.post("/v1/users", carol).status_code == 201
    token = nobody.post("/v1/tokens", CREDENTIALS | {"username": "carol"}).json_body["token"]
    return Person(nobody.client, token)


@both_databases
def test_change_account(carol: Person, david: Person) -> None:
    """Language and address can be changed, one without the other; the name cannot."""
    assert david
    susan, proof = carol, {"current_password": PASSWORD}
    assert susan.patch("/v1/me", {}).json_body == susan.get("/v1/me").json_body
    changed = susan.patch("/v1/me", {"language": "es"}).json_body
    assert (changed["language"], changed["email"]) == ("es", "carol@example.com")
    assert susan.patch("/v1/me", {"email": "Carol@Example.com"} | proof).status_code == 200
    changed = susan.get("/v1/me").json_body
    assert (changed["language"], changed["email"]) == ("es", "Carol@Example.com")
    refused(susan.patch("/v1/me", {"email": "DAVID@example.com"} | proof), 409, "email_taken")
    for change in ({"username": "x"}, {"email": None}, {"language": "xx"}):
        problem = refused(susan.patch("/v1/me", change), 422, "invalid")
        assert pointers(problem) == {f"/{name}" for name in change}


@pytest.mark.parametrize("proof", [{}, {"current_password": ""}, {"current_password": "x"}])
def test_a_new_address_takes_the_password(carol: Person, proof: dict[str, str]) -> None:
    """Whoever finds a token cannot have the exports sent elsewhere, nor learn who has an account.

    The address as it is, and a language, take none.
    """
    for email in ("new@example.com", "susan@example.com", "CAROL@example.com"):
        answer = carol.patch("/v1/me", {"email": email, "language": "ko"} | proof)
        refused(answer, 403, "wrong_password")
    me = carol.get("/v1/me").json_body
    assert (me["email"], me["language"]) == ("carol@example.com", "en")
    same = {"email": "carol@example.com", "language": "es"}
    assert carol.patch("/v1/me", same | proof).json_body["language"] == "es"


def test_wrong_passwords_beside_a_new_address_count(carol: Person, rewire: Rewire) -> None:
    """They are counted together with those where one signs in, whatever route they come by."""
    rewire(LIMITS="on")
    routes = [
        ("PATCH", "/v1/me", {"email": "new@example.com"}),
        ("POST", "/v1/me/erasure", {}),
        ("PUT", "/v1/me/password", {"password": "battery staple"}),
    ]
    for number in range(PER_ACCOUNT):
        method, path, fields = routes[number % len(routes)]
        answer = carol.ask(method, path, fields | {"current_password": "a guess"})
        refused(answer, 403, "wrong_password")
    for method, path, fields in routes:
        answer = carol.ask(method, path, fields | {"current_password": PASSWORD})
        refused(answer, 429, "too_many_attempts")
    credentials = CREDENTIALS | {"username": "carol"}
    refused(carol.post("/v1/tokens", credentials), 429, "too_many_attempts")


def test_erasure_takes_a_recent_sign_in(susan: Person, rewire: Rewire) -> None:
    """Fifteen minutes after it was issued a token erases no account, and everything else goes."""
    rewire(later=timedelta(minutes=15, seconds=1))
    refused(susan.delete("/v1/me"), 403, "sign_in_again")
    assert susan.get("/v1/me").status_code == 200
    rewire(later=timedelta(minutes=14, seconds=30))
    assert susan.delete("/v1/me").status_code == 204
    refused(susan.get("/v1/me"), 401, "unauthenticated")


def test_erasure_by_cookie_takes_a_recent_sign_in(susan: Person, rewire: Rewire) -> None:
    """A page's session is no better than a token."""
    rewire(later=timedelta(hours=1))
    person = Person(susan.client)
    answer = person.delete("/v1/me", headers={"Cookie": f"__Host-carryout_session={susan.token}"})
    refused(answer, 403, "sign_in_again")


@both_databases
def test_erasure_with_the_password(carol: Person, rewire: Rewire) -> None:
    """However old the session is, the password will do, and nothing but the password."""
    rewire(later=timedelta(days=1))
    problem = refused(carol.post("/v1/me/erasure", {}), 422, "invalid")
    assert pointers(problem) == {"/current_password"}
    wrong = {"current_password": "wrong horse"}
    refused(carol.post("/v1/me/erasure", wrong), 403, "wrong_password")
    answer = carol.post("/v1/me/erasure", {"current_password": PASSWORD})
    assert (answer.status_code, answer.body) == (204, b"")
    refused(carol.get("/v1/me"), 401, "unauthenticated")


def test_posts_are_counted(susan: Person) -> None:
    """The account says how many posts there are."""
    for count in range(2):
        assert susan.get("/v1/me").json_body["post_count"] == count
        susan.post("/v1/posts", {"body": "x"})


def test_only_a_digest_of_a_token_is_kept(database: Database, join: Join) -> None:
    """Whoever reads the ledger cannot sign in with what is there."""
    token = join("susan").token or ""
    with database.read() as session:
        (digest,) = session.execute(sa.text("SELECT digest FROM tokens")).scalars()
    assert token.encode() not in bytes(digest)


def test_scripts_of_allowed_origins(susan: Person, rewire: Rewire) -> None:
    """A page of an allowed origin may call with a bearer token, and only such a page."""
    rewire(ALLOWED_ORIGINS="https://app.example")
    browser = Browser(Gateway(app))
    asks = {"Access-Control-Request-Method": "GET"}
    for origin, allowed in (("https://app.example", True), ("https://evil.example", False)):
        headers = {"Origin": origin}
        answers = [
            browser.options("/v1/me", headers=headers | asks),
            browser.get("/v1/me", headers=headers | susan.headers),
        ]
        assert [answer.status_code for answer in answers] == [204, 200]
        for answer in answers:
            expected = origin if allowed else None
            assert answer.headers.get("Access-Control-Allow-Origin") == expected
            assert answer.headers["Vary"] == "Origin"
            assert "Access-Control-Allow-Credentials" not in answer.headers


def test_refusals_can_be_read_by_allowed_scripts(nobody: Person, rewire: Rewire) -> None:
    """A script learns why it was refused; a page, which takes cookies, is open to none."""
    rewire(ALLOWED_ORIGINS="https://app.example,http://localhost:3000")
    headers = {"Origin": "http://localhost:3000"}
    answer = nobody.get("/v1/me", headers=headers)
    assert answer.status_code == 401
    assert answer.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert "Access-Control-Allow-Origin" not in nobody.get("/", headers=headers).headers


def test_a_preflight_says_what_may_be_sent(client: Client, rewire: Rewire) -> None:
    """A browser that asks first is told the methods of the path and the headers we look at."""
    assert client
    rewire(ALLOWED_ORIGINS="https://app.example")
    answer = Browser(Gateway(app)).options("/v1/me", headers={"Origin": "https://app.example"})
    assert answer.headers["Access-Control-Allow-Methods"] == "DELETE, GET, HEAD, PATCH"
    assert "Authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_no_preflight_without_allowed_origins(client: Client) -> None:
    """As long as nobody is allowed, OPTIONS is a method like any other that is not taken."""
    assert client
    for headers in ({}, {"Origin": "https://app.example"}):
        answer = Browser(Gateway(app)).options("/v1/me", headers=headers)
        assert (answer.status_code, answer.headers["Allow"]) == (405, "DELETE, GET, HEAD, PATCH")
        assert "Access-Control-Allow-Origin" not in answer.headers

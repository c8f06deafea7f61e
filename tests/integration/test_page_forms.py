import io
import re
import sys
from datetime import timedelta
from functools import partial
from html import unescape

import pytest
import sqlalchemy as sa
from chalice.test import Client
from rq import Worker
from rq.serializers import JSONSerializer

from app import app
from chalicelib.accounts import link_keys
from chalicelib.accounts.rate_limits import EMAILS_PER_USER, PER_ACCOUNT
from chalicelib.db.models import OutboxMessage, User
from chalicelib.errors import (
    Forbidden,
    FormOutdated,
    MethodNotAllowed,
    NotFound,
    RequestError,
    Unavailable,
    UnsupportedMediaType,
    WrongCredentials,
)
from chalicelib.values.languages import language_for
from chalicelib.web.pages import assets
from chalicelib.web.pages.messages import complaint
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from infra.servers.gateway import Gateway
from tests.conftest import Join, Rewire
from tests.harness import ledgers
from tests.harness.events import proxy_event
from tests.harness.pages import Browser, Elements
from tests.harness.people import Person, refused
from tests.harness.processes import output
from tests.integration.test_problems import REQUEST_ERRORS, make

SUSAN = {"username": "susan", "email": "susan@example.com", "password": "correct horse"}
FORMS_WITH_PASSWORD = [
    ("/account", "current_password"),
    ("/account/password", "current_password"),
    ("/account/erase", "password"),
]
CAROL = {"username": "carol", "email": "carol@example.com", "password": "correct horse"}


@pytest.fixture
def browser(susan: Person) -> Browser:
    return Browser(susan.client, susan.token)


def session_of(cookie: str) -> str:
    return cookie.partition("=")[2].partition(";")[0]


def enter(client: Client) -> Browser:
    """Susan's browser, signed in with her password by the form."""
    nobody = Person(client)
    nobody.post("/v1/users", SUSAN)
    fields = {"username": "susan", "password": SUSAN["password"]}
    answer = Browser(client).ask("POST", "/sign-in", fields)
    return Browser(client, session_of(answer.headers["Set-Cookie"]))


def values(page: str) -> dict[str | None, str | None]:
    return {a.get("name"): a.get("value") for tag, a in Elements(page).found if tag == "input"}


def asset(name: str) -> str:
    """The path of a file that pages load."""
    return f"/static/{assets.names()[name]}"


def test_sign_up(client: Client) -> None:
    """The form makes an account in the language of the page and signs in with it."""
    browser = Browser(client)
    page = browser.get("/sign-up", **{"Accept-Language": "ko-KR,ko;q=0.9,en;q=0.8"}).body.decode()
    elements = Elements(page).found
    assert ("html", {"lang": "ko"}) in elements
    (chosen,) = (a["value"] for tag, a in elements if tag == "option" and "selected" in a)
    answer = browser.ask("POST", "/sign-up", {**CAROL, "language": chosen or ""})
    assert (answer.status_code, answer.headers["Location"]) == (303, "/users/carol")
    browser.cookie = session_of(answer.headers["Set-Cookie"])
    me = Person(client, browser.cookie).get("/v1/me").json_body
    assert (me["username"], me["email"], me["language"]) == ("carol", "carol@example.com", "ko")
    assert browser.get("/sign-up").status_code == browser.get("/sign-in").status_code == 303


@pytest.mark.parametrize(
    ("fault", "status", "told"),
    [
        ({"username": "no spaces"}, 422, "Use 1 to 64 characters"),
        ({"username": "SUSAN"}, 409, "This username is taken. Choose another one."),
        (
            {"email": "susan@EXAMPLE.com"},
            409,
            "This email address is already in use. Enter another one.",
        ),
        ({"email": "nowhere"}, 422, "Enter an email address"),
        ({"password": "short"}, 422, "Use 8 to 128 characters for the password."),
        ({"language": "tlh"}, 422, "Choose a language from the list."),
    ],
)
def test_sign_up_with_a_fault(susan: Person, fault: dict[str, str], status: int, told: str) -> None:
    """The form comes again with what was typed but the password, and says what is wrong."""
    given = {**CAROL, "language": "en", **fault}
    answer = Browser(susan.client).ask("POST", "/sign-up", given)
    page = answer.body.decode()
    assert answer.status_code == status
    assert told in page
    shown = values(page)
    assert (shown["username"], shown["email"]) == (given["username"], given["email"])
    assert shown["password"] is None


def test_registration_is_closed(client: Client, rewire: Rewire) -> None:
    """Nobody is led to a form that would be refused."""
    rewire(REGISTRATION="closed")
    browser = Browser(client)
    assert b"/sign-up" not in browser.get("/").body + browser.get("/sign-in").body
    assert browser.get("/sign-up").status_code == 403
    assert browser.ask("POST", "/sign-up", {**CAROL, "language": "en"}).status_code == 403


def test_account(client: Client, join: Join) -> None:
    """Email address and language are changed; the page speaks the new one at once."""
    browser = enter(client)
    join("david")
    new = {"language": "es", "current_password": SUSAN["password"]}
    answer = browser.send("/account", email="new@example.com", **new)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account?saved=1")
    assert "Guardado." in browser.get("/account?saved=1").body.decode()
    me = Person(client, browser.cookie).get("/v1/me").json_body
    assert (me["email"], me["language"]) == ("new@example.com", "es")
    answer = browser.send("/account", email="david@example.com", **new)
    assert answer.status_code == 409
    assert "Este correo electrónico ya está en uso. Escribe otro." in answer.body.decode()


@pytest.mark.parametrize("wrong", [{}, {"current_password": "wrong horse"}])
def test_another_address_takes_the_password(client: Client, wrong: dict[str, str]) -> None:
    """Who finds an open session cannot have the exports mailed to them; the language is free."""
    browser = enter(client)
    susan = Person(client, browser.cookie)
    answer = browser.send("/account", email="evil@example.com", language="es", **wrong)
    page = answer.body.decode()
    assert answer.status_code == 422
    assert "Incorrect password. Try again." in page
    assert "wrong horse" not in page
    assert values(page)["email"] == "evil@example.com"
    assert ("option", {"value": "es", "lang": "es", "selected": None}) in Elements(page).found
    me = susan.get("/v1/me").json_body
    assert (me["email"], me["language"]) == (SUSAN["email"], "en")
    answer = browser.send("/account", email=SUSAN["email"], language="es", **wrong)
    assert answer.status_code == 303
    assert susan.get("/v1/me").json_body["language"] == "es"


def test_another_password(client: Client) -> None:
    """The new one counts at once; this session goes on, and all others end."""
    browser, elsewhere = enter(client), enter(client)
    new = {"current_password": SUSAN["password"], "new_password": "battery staple"}
    answer = browser.send("/account/password", **new)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/account?saved=password")
    assert b"signed out everywhere else" in browser.get("/account?saved=password").body
    assert elsewhere.get("/account").status_code == 401
    for password, status in ((SUSAN["password"], 401), ("battery staple", 201)):
        credentials = {"username": "susan", "password": password}
        assert Person(client).post("/v1/tokens", credentials).status_code == status


@pytest.mark.parametrize(
    ("current", "new", "told"),
    [
        ("wrong horse", "battery staple", "Incorrect password. Try again."),
        (SUSAN["password"], "short", "Use 8 to 128 characters for the password."),
        (SUSAN["password"], "", "Use 8 to 128 characters for the password."),
    ],
)
def test_another_password_with_a_fault(client: Client, current: str, new: str, told: str) -> None:
    """The form comes again without what was typed, and says what is wrong."""
    browser = enter(client)
    answer = browser.send("/account/password", current_password=current, new_password=new)
    page = answer.body.decode()
    assert answer.status_code == 422
    assert told in page
    assert {values(page)[name] for name in ("current_password", "new_password")} == {None}
    assert enter(client).get("/account").status_code == 200


def test_wrong_passwords_on_the_account_page(client: Client, rewire: Rewire) -> None:
    """They are counted together with those where one signs in, whatever form they come from."""
    browser = enter(client)
    rewire(LIMITS="on")
    for number in range(PER_ACCOUNT):
        form, field = FORMS_WITH_PASSWORD[number % len(FORMS_WITH_PASSWORD)]
        fields = {"email": "evil@example.com", "new_password": "battery staple", field: "a guess"}
        assert browser.send(form, **fields).status_code == 422
    for form, field in FORMS_WITH_PASSWORD:
        fields = {"email": "evil@example.com", "new_password": "battery staple"}
        answer = browser.send(form, **fields | {field: SUSAN["password"]})
        assert (form, answer.status_code) == (form, 429)
        assert int(answer.headers["Retry-After"]) > 0
        assert "Too many attempts. Try again in" in answer.body.decode()
    credentials = {"username": "susan", "password": SUSAN["password"]}
    refused(Person(client).post("/v1/tokens", credentials), 429, "too_many_attempts")
    assert Person(client, browser.cookie).get("/v1/me").json_body["email"] == SUSAN["email"]


def test_erase(client: Client) -> None:
    """It takes the password; then nothing is left, not even the cookie."""
    browser = enter(client)
    answer = browser.send("/account/erase", password="wrong horse")
    assert answer.status_code == 422
    assert b"Incorrect password. Try again." in answer.body
    answer = browser.send("/account/erase", password=SUSAN["password"])
    assert answer.status_code == 200
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert browser.get("/account").status_code == 401


CONFIRM = "To get your export by email, confirm your email address."


def test_an_unconfirmed_address(client: Client, rewire: Rewire) -> None:
    """Pages promise no email that waits for a proof, and offer a new link until there is one."""
    wired = rewire(VERIFY_EMAIL="on")
    browser = enter(client)
    susan = Person(client, browser.cookie)
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    for path in ("/", "/account", f"/exports/{task_id}"):
        assert CONFIRM in unescape(browser.get(path).body.decode())
    assert b"email you when" not in browser.get(f"/exports/{task_id}").body
    page = browser.get("/account").body.decode()
    assert ("form", {"method": "post", "action": "/account/confirmation"}) in Elements(page).found

    before = sent_to(wired, "confirm")
    assert browser.send("/account/confirmation").status_code == 303
    assert sent_to(wired, "confirm") == before  # the first is still on its way
    with wired.database.write() as session:
        session.execute(sa.update(OutboxMessage).values(state="sent"))
    answer = browser.send("/account/confirmation")
    assert answer.headers["Location"] == "/account?saved=confirmation"
    assert sent_to(wired, "confirm") == before + 1
    assert b"sent you a link" in browser.get("/account?saved=confirmation").body

    with wired.database.write() as session:
        session.execute(sa.update(User).values(confirmed_at=ledgers.now()))
    for path in ("/", "/account", f"/exports/{task_id}"):
        assert CONFIRM not in unescape(browser.get(path).body.decode())
    assert "email you when it's done" in unescape(browser.get(f"/exports/{task_id}").body.decode())
    assert browser.send("/account/confirmation").headers["Location"] == "/account"
    assert sent_to(wired, "confirm") == before + 1


def sent_to(wiring: Wiring, topic: str) -> int:
    """How many messages of a topic are in the outbox."""
    statement = sa.select(sa.func.count()).where(OutboxMessage.topic == topic)
    with wiring.database.read() as session:
        return session.scalar(statement) or 0


def test_too_many_confirmations(client: Client, rewire: Rewire) -> None:
    """The account's page says how long to wait."""
    rewire(VERIFY_EMAIL="on", LIMITS="on")
    browser = enter(client)
    answers = [browser.send("/account/confirmation") for _ in range(EMAILS_PER_USER.most + 1)]
    assert {answer.status_code for answer in answers[:-1]} == {303}
    assert answers[-1].status_code == 429
    assert "Too many attempts. Try again in" in answers[-1].body.decode()


def test_no_confirmation_where_none_is_needed(client: Client) -> None:
    """Where addresses are not verified emails go out, and nobody is asked to do anything."""
    browser = enter(client)
    task_id = Person(client, browser.cookie).post("/v1/exports", {}).json_body["id"]
    for path in ("/", "/account", f"/exports/{task_id}"):
        assert CONFIRM not in unescape(browser.get(path).body.decode())


def test_links_that_are_over(client: Client) -> None:
    """They lead to where another one can be requested, and show no form that is of no use."""
    browser, fields = Browser(client), {"key": "x", "password": "battery staple"}
    for answer, link in (
        (browser.get("/new-password?key=x"), "/forgot"),
        (browser.ask("POST", "/new-password", fields), "/forgot"),
        (browser.ask("POST", "/confirm", fields), "/account"),
    ):
        page = answer.body.decode()
        assert "This link has expired or has already been used. Request a new one." in page
        assert ("a", {"class": "button", "href": link}) in Elements(page).found
        assert "<form" not in page


def test_titles_of_the_pages_behind_links(client: Client, wiring: Wiring) -> None:
    """The page that asks for an address resets, the one that asks for a password chooses."""
    enter(client)
    with wiring.database.read() as session:
        user_id = session.scalars(sa.select(User.id)).one()
    now, address = ledgers.now(), "susan@example.com"
    key = link_keys.make_key(wiring.database, user_id, "reset", address=address, now=now)
    for path, title in (
        ("/forgot", "Reset your password"),
        (f"/new-password?key={key}", "Choose a new password"),
    ):
        page = Browser(client).get(path).body.decode()
        assert f"<title>{title} · Carryout</title>" in page
        assert f"<h1>{title}</h1>" in page


def test_sentences_are_whole(client: Client, wiring: Wiring) -> None:
    """A moment stands where its language puts it, and a message about the past names no address."""
    browser = enter(client)
    susan = Person(client, browser.cookie)
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    ledgers.publish(wiring, task_id)
    ledgers.put_email(wiring.database, task_id, state="sent", sent_at=ledgers.now())
    for code, before, after in (("es", "Solicitada el <time", ""), ("ko", "", "</time>에 요청함")):
        susan.patch("/v1/me", {"language": code})
        page = browser.get(f"/exports/{task_id}").body.decode()
        assert before + after in page
        assert SUSAN["email"] not in page


def test_tasks_are_called_in_the_readers_language(client: Client) -> None:
    """A kind's title is a message like any other."""
    browser = enter(client)
    susan = Person(client, browser.cookie)
    susan.post("/v1/tasks", {"name": "example", "params": {"seconds": 1}})
    susan.patch("/v1/me", {"language": "es"})
    page = browser.get("/").body.decode()
    assert "Contando los segundos" in page
    assert "Counting" not in page


def test_posts(browser: Browser, susan: Person, join: Join) -> None:
    """A post is written with its line ends as they were typed, and deleted by its writer only."""
    assert browser.send("/posts", body="one\r\ntwo").headers["Location"] == "/users/susan"
    (post,) = susan.get("/v1/users/susan/posts").json_body["items"]
    assert post["body"] == "one\ntwo"
    for bad in ("", " \r\n ", "x" * 10_001):
        assert browser.send("/posts", body=bad).status_code == 422
    david = join("david")
    stranger = Browser(david.client, david.token)
    assert stranger.send(f"/posts/{post['id']}/delete").status_code == 404
    assert browser.send(f"/posts/{post['id']}/delete").status_code == 303
    assert susan.get("/v1/users/susan/posts").json_body["items"] == []


def test_older_posts(browser: Browser, susan: Person) -> None:
    """A link leads to the posts that a page has no room for."""
    for number in range(21):
        susan.post("/v1/posts", {"body": f"number {number}!"})
    page = browser.get("/users/susan").body.decode()
    (link,) = (a["href"] for _, a in Elements(page).found if a.get("id") == "more")
    assert "number 0!" not in page
    assert "number 0!" in browser.get(link or "").body.decode()
    live = browser.get("/users/susan", **{"X-Live": "1"}).body.decode()
    assert "number 2" not in live  # the script asks often, and for what changes only


def test_buttons_of_a_task(browser: Browser, susan: Person, wiring: Wiring, join: Join) -> None:
    """Cancel, try again, send the email again, delete: each for the owner alone."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    david = join("david")
    stranger = Browser(david.client, david.token)

    def status() -> str:
        return str(susan.get(f"/v1/tasks/{task_id}").json_body["status"])

    for path in ("tasks/{}/cancel", "tasks/{}/retry", "exports/{}/mail", "exports/{}/delete"):
        assert stranger.send("/" + path.format(task_id)).status_code == 404
    answer = browser.send(f"/tasks/{task_id}/cancel", back="/account")
    assert (answer.headers["Location"], status()) == ("/account", "cancelled")
    answer = browser.send(f"/tasks/{task_id}/cancel", back="//evil.example")
    assert answer.headers["Location"] == "/"
    browser.send(f"/tasks/{task_id}/retry")
    assert status() == "queued"
    ledgers.publish(wiring, task_id)
    assert browser.send(f"/exports/{task_id}/mail").status_code == 409  # on its way already
    ledgers.put_email(wiring.database, task_id, state="sent", sent_at=ledgers.now())
    assert browser.send(f"/exports/{task_id}/mail").status_code == 303
    assert browser.send(f"/exports/{task_id}/delete").status_code == 303
    assert b"no longer available" in browser.get(f"/exports/{task_id}").body
    assert browser.send(f"/tasks/{task_id}/cancel").status_code == 409


def test_buttons_of_operators(join: Join, susan: Person, browser: Browser, wiring: Wiring) -> None:
    """Administrators cancel and retry anybody's task; users cannot."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    root = join("root", is_admin=True)
    operator = Browser(root.client, root.token)
    for action, outcome in (("cancel", "cancelled"), ("retry", "queued")):
        assert browser.send(f"/admin/tasks/{task_id}/{action}").status_code == 403
        assert operator.send(f"/admin/tasks/{task_id}/{action}").headers["Location"] == "/admin"
        assert ledgers.the_task(wiring.database, task_id).status == outcome
    ledgers.fail(wiring.database, task_id)
    page = operator.get("/admin").body.decode()
    assert "It broke." in page
    assert f'action="/admin/tasks/{task_id}/retry"' in page
    assert page.count("<path") >= 2


def test_operations_agree_with_rq(join: Join, susan: Person, wiring: Wiring) -> None:
    """The page counts what RQ's own command counts."""
    susan.post("/v1/exports", {})
    url = wiring.settings.redis_url
    worker = Worker(["microblog-tasks"], connection=wiring.queue.redis, serializer=JSONSerializer)
    worker.register_birth()  # type: ignore[no-untyped-call]
    root = join("root", is_admin=True)
    page = Browser(root.client, root.token).get("/admin").body.decode()
    command = [sys.executable, "-m", "rq.cli", "info", "--raw", "--url", url]
    told = output(*command)
    worker.register_death()  # type: ignore[no-untyped-call]
    assert "queue microblog-tasks 1" in told
    assert "<strong>1</strong> jobs in microblog-tasks" in page
    assert f"worker {worker.name}" in told
    assert f"<code>{worker.name}</code>" in page


def test_what_a_task_waits_for(browser: Browser, susan: Person, wiring: Wiring) -> None:
    """The page says what goes on, what it waits for, and when a worker has fallen silent."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    put = partial(ledgers.put, wiring.database, task_id)

    def told() -> str:
        page = browser.get("/").body.decode()
        return " ".join(unescape(re.sub("<[^>]+>", " ", page)).split())

    assert "Waiting: the processing service isn't running" in told()
    worker = Worker(["microblog-tasks"], connection=wiring.queue.redis, serializer=JSONSerializer)
    worker.register_birth()  # type: ignore[no-untyped-call]
    assert "Next in the queue" in told()
    put(failures=1, attempt=1, due_at=ledgers.now() + timedelta(hours=1))
    assert "Interrupted; it will resume in a moment" in told()
    began = ledgers.now() - timedelta(seconds=120)
    put(status="running", attempt=2, done=1500, total=3000, percent=50, started_at=began)
    assert "1,500 of 3,000 · about 2 minutes left · attempt 2 of 5" in told()
    put(last_seen_at=began)
    assert "No sign of progress for" in told()
    put(status="cancelling")
    assert "Cancelling" in told()
    worker.register_death()  # type: ignore[no-untyped-call]


def test_what_is_not_known_is_not_said(
    browser: Browser, susan: Person, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No second is left to wait for, and a task that was claimed meanwhile has no position."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    worker = Worker(["microblog-tasks"], connection=wiring.queue.redis, serializer=JSONSerializer)
    worker.register_birth()  # type: ignore[no-untyped-call]
    monkeypatch.setattr(wiring.queue_positions, "position", lambda *_, **__: None)
    page = browser.get(f"/exports/{task_id}").body.decode()
    assert "Starting" in page
    assert "in the queue" not in page
    began = ledgers.now() - timedelta(seconds=10)
    put = partial(ledgers.put, wiring.database, task_id, status="running", started_at=began)
    for done, is_told in ((500, True), (999, False)):
        put(done=done, total=1000, last_seen_at=ledgers.now())
        assert ("left" in browser.get("/").body.decode()) == is_told
    worker.register_death()  # type: ignore[no-untyped-call]


def test_operations_without_redis(join: Join, rewire: Rewire) -> None:
    """The page says so, and shows what SQL knows."""
    root = join("root", is_admin=True)
    rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    answer = Browser(root.client, root.token).get("/admin")
    assert answer.status_code == 200
    assert b"Redis isn't responding." in answer.body


def test_assets(client: Client) -> None:
    """A name carries its content's hash and may be kept for ever; another name is none."""
    browser = Browser(client)
    for name in assets.names():
        answer = browser.get(asset(name))
        assert answer.status_code == 200
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.body.decode() == (assets.STATIC / name).read_text(encoding="utf-8")
        assert browser.get(f"/static/{name}").status_code == 404
    for path in ("/static/..%2Fapi.py", "/static/app.0000000000.css"):
        assert browser.get(path).status_code == 404


def test_everything_is_under_the_prefix(susan: Person) -> None:
    """Behind a stage every address on a page is under it."""
    for path, headers in (("/", susan.headers), ("/account", susan.headers), ("/sign-in", {})):
        answer = app(proxy_event("GET", path, headers=headers, stage="/api"), None)
        addresses = [
            str(address)
            for _, attributes in Elements(answer["body"]).found
            for name, address in attributes.items()
            if name in {"href", "src", "action", "data-prefix"}
        ]
        assert len(addresses) > 5
        assert [one for one in addresses if not f"{one}/".startswith(("/api/", "#"))] == []


@pytest.mark.parametrize("path", ["/users/nobody", "/exports/nothing", "/static/nothing"])
def test_errors_are_told_in_the_form_that_is_wanted(susan: Person, path: str) -> None:
    """To people on a page; to programs as a problem document."""
    refused(susan.get(path), 404, "not_found")
    answer = Browser(susan.client, susan.token).get(path)
    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"


@pytest.mark.parametrize(
    ("kind", "heading"),
    [
        (NotFound, "Page not found"),
        (Forbidden, "Not possible"),
        (Unavailable, "Something went wrong"),
    ],
)
def test_the_title_of_an_error_is_its_heading(
    client: Client, kind: type[RequestError], heading: str
) -> None:
    """Who hears or bookmarks the title is told the same as who reads the page."""
    assert client
    event = proxy_event("GET", "/", headers={"Accept": "text/html"})
    page = app.refuse(event, kind())["body"]
    assert f"<title>{heading} · Carryout</title>" in page
    assert f"<h1>{heading}</h1>" in page


def test_unknown_path_in_a_browser(susan: Person) -> None:
    """A mistyped address leads to a page on servers of our own, too, in the visitor's language."""
    assert susan
    started: list[str] = []
    environ = {
        "REQUEST_METHOD": "GET",
        "PATH_INFO": "/nowhere/at all",
        "HTTP_ACCEPT": "text/html",
        "HTTP_ACCEPT_LANGUAGE": "ko",
        "wsgi.input": io.BytesIO(),
    }
    body = b"".join(Gateway(app)(environ, lambda status, _: started.append(status)))
    assert started == ["404 Not Found"]
    assert "페이지를 찾을 수 없음" in body.decode()


def test_database_is_away(susan: Person, rewire: Rewire) -> None:
    """The page says so without asking who is there."""
    rewire(DATABASE_URL="sqlite:////nowhere/at/all.db")
    answer = Browser(susan.client, susan.token).get("/")
    assert answer.status_code == 503
    assert b"do this right now" in answer.body


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (MethodNotAllowed, "This action isn't available."),
        (UnsupportedMediaType, "This action isn't available."),
        (Forbidden, "You don't have permission to do this."),
        (FormOutdated, "This form is out of date. Reload the page and try again."),
        (WrongCredentials, "Incorrect username or password."),
    ],
)
def test_words_of_refusals(kind: type, told: str) -> None:
    """A message says what is the matter, and nothing of waiting where waiting does not help."""
    assert complaint(make(kind), language_for("en")) == told


@pytest.mark.parametrize("kind", REQUEST_ERRORS)
def test_every_refusal_has_words(kind: type) -> None:
    """What a page can refuse is not told as a fault of ours."""
    words = complaint(make(kind), language_for("en"))
    assert words != "Something went wrong on our side."

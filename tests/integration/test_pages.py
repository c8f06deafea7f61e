import re
from html import unescape
from pathlib import Path

import pytest
from chalice.test import Client

from app import app
from chalicelib.db.engine import Database
from chalicelib.web.pages import page_rendering
from chalicelib.wiring import Wiring
from tests.conftest import Join, Rewire
from tests.harness import ledgers
from tests.harness.pages import HOST, Browser, Elements
from tests.harness.people import Person, refused

HOSTILE = "</p><script>alert(1)</script><img src=x onerror=alert(1)>\"'&amp; \u2028"
SUSAN = {"username": "susan", "email": "susan@example.com", "password": "correct horse"}


@pytest.fixture
def browser(susan: Person) -> Browser:
    return Browser(susan.client, susan.token)


def test_sign_in_and_out(client: Client, nobody: Person) -> None:
    """The form sets a cookie that scripts and other sites cannot use; signing out ends it."""
    nobody.post("/v1/users", SUSAN)
    browser = Browser(client)
    assert 'href="/sign-in"' in browser.get("/").body.decode()
    page = browser.get("/sign-in")
    assert page.status_code == 200
    assert {"username", "password"} <= {
        a.get("name") for _, a in Elements(page.body.decode()).found
    }
    fields = {"username": "susan", "password": SUSAN["password"], "back": "/"}
    answer = browser.ask("POST", "/sign-in", fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")
    cookie, *attributes = answer.headers["Set-Cookie"].split("; ")
    assert cookie.startswith("__Host-")
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(attributes)

    browser.cookie = cookie.partition("=")[2]
    assert 'action="/sign-out"' in browser.get("/").body.decode()
    token = Person(client, browser.cookie)
    answer = browser.ask("POST", "/sign-out", {"csrf": browser.csrf()})
    assert answer.status_code == 303
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    refused(token.get("/v1/me"), 401, "unauthenticated")  # not only forgotten: worthless


def test_cookie_without_tls(client: Client, nobody: Person, rewire: Rewire) -> None:
    """Where there is no TLS, as on one's own machine, the cookie works without it."""
    rewire(PUBLIC_URL="http://127.0.0.1:8000")
    nobody.post("/v1/users", SUSAN)
    fields = {"username": "susan", "password": SUSAN["password"]}
    cookie = Browser(client).ask("POST", "/sign-in", fields).headers["Set-Cookie"]
    assert "Secure" not in cookie
    assert cookie.startswith("carryout_session=")
    page = Browser(client).get("/", Cookie=cookie.partition(";")[0])
    assert 'action="/sign-out"' in page.body.decode()


def test_cookie_of_another_host(browser: Browser) -> None:
    """Where there is TLS, a cookie without the prefix is not read: another host may have set it."""
    assert browser.get("/account").status_code == 200
    tossed = browser.get("/account", Cookie=f"carryout_session={browser.cookie}")
    assert tossed.status_code == 401


def test_wrong_password(client: Client, nobody: Person) -> None:
    """The form comes again with what was typed but the password, and no cookie."""
    nobody.post("/v1/users", SUSAN)
    fields = {"username": HOSTILE, "password": "secret horse", "back": "/admin"}
    answer = Browser(client).ask("POST", "/sign-in", fields)
    page = answer.body.decode()
    assert answer.status_code == 401
    assert "Set-Cookie" not in answer.headers
    assert "secret horse" not in page
    values = {a.get("name"): a.get("value") for t, a in Elements(page).found if t == "input"}
    assert values["username"] == HOSTILE
    assert values["back"] == "/admin"


@pytest.mark.parametrize(
    "back",
    [
        "https://evil.example/",
        "//evil.example/",
        "/\\evil.example/",
        "/\t/evil.example/",  # browsers drop tabs and line ends
        "/\n/evil.example/",
        "\t//evil.example/",
        "javascript:alert(1)",
        "evil.example",
        "",
        "/x\r\nSet-Cookie: a=b",
        "/\u2028",
    ],
)
def test_back_stays_here(client: Client, nobody: Person, back: str) -> None:
    """After signing in nobody is sent to another site, whatever the form said."""
    nobody.post("/v1/users", SUSAN)
    fields = {"username": "susan", "password": SUSAN["password"], "back": back}
    answer = Browser(client).ask("POST", "/sign-in", fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/")


def test_the_way_from_an_email_to_the_file(susan: Person, wiring: Wiring) -> None:
    """The page that emails link to asks to sign in, comes back, and offers the download."""
    task_id = susan.post("/v1/exports", {}).json_body["id"]
    stranger = Browser(susan.client)
    answer = stranger.get(f"/exports/{task_id}")
    assert answer.status_code == 401
    fields = {a.get("name"): a.get("value") for t, a in Elements(answer.body.decode()).found}
    assert fields["back"] == f"/exports/{task_id}"

    browser = Browser(susan.client, susan.token)
    page = browser.get(f"/exports/{task_id}")
    assert "<progress" in page.body.decode()
    assert 'http-equiv="refresh"' in page.body.decode()
    ledgers.publish(wiring, task_id)
    page = browser.get(f"/exports/{task_id}")
    assert 'http-equiv="refresh"' not in page.body.decode()
    link = f"/v1/exports/{task_id}/download"
    links = [found.get("href") for tag, found in Elements(page.body.decode()).found if tag == "a"]
    assert link in links
    assert browser.get(link).status_code == 303


def test_export_button(browser: Browser, susan: Person) -> None:
    """The button asks for its export; pressed again it leads to the one that goes on."""
    found = Elements(browser.get("/").body.decode()).found
    names = [field["value"] or "" for _, field in found if field.get("name") == "name"]
    name, *_others = names
    assert names == ["export_posts", "export_archive", "export_archive"]  # the last one is a choice
    for _ in range(2):
        answer = browser.send("/exports", name=name)
        assert answer.status_code == 303
        (task,) = susan.get("/v1/tasks").json_body["items"]
        assert answer.headers["Location"] == f"/exports/{task['id']}"
        assert browser.get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize("name", ["example", "of_the_past", ""])
def test_only_exports_have_a_button(browser: Browser, susan: Person, name: str) -> None:
    """A name that is no export's, whatever the form said, is not found and starts nothing."""
    assert browser.send("/exports", name=name).status_code == 404
    assert susan.get("/v1/tasks").json_body["items"] == []


FORMS = [one.path for one in app.pages if one.method == "POST"]
WAYS_IN = {
    *("/sign-in", "/sign-up", "/try", "/forgot", "/new-password", "/confirm", "/restore-address")
}
"""Forms for people without a session, who have no token."""
NAMES = {
    "task_id": "x",
    "post_id": "1",
    "schedule_id": "x",
    "import_id": "x",
    "webhook_id": "x",
    "number": "1",
}


def test_every_page_is_declared() -> None:
    """Every route is an endpoint or a page, and all forms but the ways in check their token."""
    declared = {(one.method, one.path) for one in app.endpoints}
    declared |= {(one.method, one.path) for one in app.pages}
    routes = {(method, path) for path, methods in app.routes.items() for method in methods}
    assert {one for one in routes if one[0] not in {"HEAD", "OPTIONS"}} == declared
    assert {one.path for one in app.pages if one.method != "GET" and not one.csrf} == WAYS_IN
    with pytest.raises(TypeError, match="who"):
        app.page("GET", "/new")  # type: ignore[call-arg]


TEMPLATES = sorted((Path(page_rendering.__file__).parents[1] / "templates").glob("*.html"))
FORM = re.compile(
    r'<form[^>]* method="post" action="{{ prefix }}([^"]+)".*?>(.*?)</form>', re.DOTALL
)


def test_every_form_brings_its_token() -> None:
    """Each form of the templates that changes something carries the session's token.

    Not so those that are not sent to us: one goes to S3, the others are for a script alone.
    """
    source = "".join(template.read_text() for template in TEMPLATES)
    found = FORM.findall(source)
    scripts = ('<form id="upload"', '<form id="finder"', '<form class="try')
    elsewhere = sum(map(source.count, ('action="{{ form.url }}"', *scripts)))
    assert elsewhere == 1 + len(scripts)
    assert len(found) + elsewhere == source.count("<form")
    assert {action for action, fields in found if "{{ token() }}" not in fields} == WAYS_IN


@pytest.mark.parametrize("path", sorted(set(FORMS) - WAYS_IN))
def test_form_without_its_token(join: Join, path: str) -> None:
    """A form that did not come from a page of this session changes nothing."""
    root = join("root", is_admin=True)
    browser = Browser(root.client, root.token)
    for csrf in ({}, {"csrf": ""}, {"csrf": "x"}, {"csrf": "\u00e9"}):
        fields = csrf | {"username": "root", "password": "x", "body": "x", "language": "es"}
        answer = browser.ask("POST", path.format(**NAMES), fields)
        assert answer.status_code == 403
        assert b"This form is out of date. Reload the page and try again." in answer.body
    assert root.get("/v1/me").json_body["language"] == "en"
    assert root.get("/v1/tasks").json_body["items"] == []


def test_forms_token_is_the_sessions_own(browser: Browser, join: Join) -> None:
    """What another user's page brings along is of no use."""
    other = join("david")
    csrf = Browser(other.client, other.token).csrf()
    assert browser.ask("POST", "/exports", {"csrf": csrf}).status_code == 403


CROSS_SITE = [
    {"Origin": "https://evil.example"},
    {"Origin": f"https://{HOST}.evil.example"},
    {"Origin": "null"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},  # a neighbour of the domain is not this site
]


@pytest.mark.parametrize("headers", CROSS_SITE)
def test_requests_of_other_sites(browser: Browser, headers: dict[str, str]) -> None:
    """Another site's page cannot act with the cookie, nor sign somebody in as somebody else."""
    fields = {"csrf": browser.csrf()}
    for path in FORMS:
        answer = browser.ask("POST", path.format(**NAMES), fields, headers)
        assert answer.status_code == 403, path
    json = headers | {"Content-Type": "application/json"}
    for method, path in (("POST", "/v1/exports"), ("DELETE", "/v1/me"), ("PATCH", "/v1/me")):
        refused(browser.ask(method, path, headers=json), 403, "forbidden")
    browser.cookie = None
    for path in WAYS_IN:
        assert browser.ask("POST", path, {}, headers).status_code == 403


def test_hostile_bodies_are_text(browser: Browser, susan: Person) -> None:
    """What users wrote is shown, never run."""
    susan.post("/v1/posts", {"body": HOSTILE})
    page = browser.get("/users/susan").body.decode()
    found = Elements(page).found
    names = {name for _, attributes in found for name in attributes}
    assert not {name for name in names if name.startswith("on")}
    assert all("src" in attributes for tag, attributes in found if tag == "script")
    assert HOSTILE in unescape(page)


def test_pages_are_locked_down(browser: Browser) -> None:
    """No page may be framed, sniffed, kept, or run a script from anywhere."""
    stranger = Browser(browser.client)
    pages = [browser.get(path) for path in ("/", "/users/susan", "/docs")]
    for answer in (*pages, stranger.get("/"), stranger.get("/sign-in")):
        assert answer.status_code == 200
        assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
        assert "frame-ancestors 'none'" in answer.headers["Content-Security-Policy"]
        assert "unsafe" not in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"


def test_admin_page(browser: Browser, join: Join, database: Database) -> None:
    """Administrators see the queue, users do not, strangers are asked to sign in."""
    root = join("root", is_admin=True)
    task_id = ledgers.launch(database, root.user_id)
    page = Browser(root.client, root.token).get("/admin").body.decode()
    assert "microblog-tasks" in page
    assert task_id in page
    assert browser.get("/admin").status_code == 403
    assert Browser(root.client).get("/admin").status_code == 401


def test_whoever_takes_a_page_is_asked_to_sign_in(browser: Browser) -> None:
    """The link in an email leads to the form also without a browser; who wants JSON gets JSON."""
    for accept in ("text/html", "*/*", None):
        headers = {} if accept is None else {"Accept": accept}
        answer = browser.client.http.get("/exports/x", headers=headers)
        assert answer.status_code == 401
        assert b'action="/sign-in"' in answer.body
    answer = browser.client.http.get("/exports/x", headers={"Accept": "application/json, */*"})
    assert answer.json_body["code"] == "unauthenticated"


@pytest.mark.parametrize("accept", ["text/html;q=0, */*", "application/json, text/html;q=0.5"])
def test_who_wants_no_page_gets_none(browser: Browser, accept: str) -> None:
    """The weights of `Accept` decide, not the words that stand in it."""
    answer = browser.client.http.get("/exports/x", headers={"Accept": accept})
    refused(answer, 401, "unauthenticated")


def test_docs_name_every_route(client: Client) -> None:
    """The readable page and the document list the same routes."""
    page = unescape(Browser(client).get("/docs").body.decode())
    document = client.http.get("/openapi.json").json_body
    assert document["openapi"].startswith("3.1")
    for path, methods in document["paths"].items():
        for method in methods:
            assert re.search(rf"\b{method.upper()} {re.escape(path)}(?![\w/])", page)


def test_docs_say_what_goes_in_and_out(client: Client) -> None:
    """The reference has each field, parameter and code, examples in three languages, and guides."""
    page = unescape(Browser(client).get("/docs").body.decode())
    prose = re.sub("</?code>", "`", page)
    document = client.http.get("/openapi.json").json_body
    for name, schema in document["components"]["schemas"].items():
        assert f'id="schema-{name}"' in page
        for field in schema.get("properties", {}).values():
            assert field["description"] in prose
    for methods in document["paths"].values():
        for operation in methods.values():
            assert operation["summary"] in prose
            assert all(one["description"] in prose for one in operation["parameters"])
    for code in ("task_in_progress", "method_not_allowed", "idempotency_key_reused", "timeout"):
        assert f"<code>{code}</code>" in page
    operations = sum(len(methods) for methods in document["paths"].values())
    for language in ("curl", "Python", "JavaScript"):
        assert page.count(f"<h3>{language}</h3>") == operations
    targets = set(re.findall(r'href="#([^"]+)"', page))
    assert targets - set(re.findall(r'id="([^"]+)"', page)) == set()


def test_docs_follow_tasks_alone(browser: Browser) -> None:
    """Whoever has the reference open while a task runs does not load it again and again."""
    whole, live = browser.get("/docs").body, browser.get("/docs", **{"X-Live": "1"}).body
    assert b'id="tasks"' in live
    assert len(live) < len(whole) / 20


def test_try_it(client: Client, rewire: Rewire) -> None:
    """A demo gives an account in one click, with posts to export; elsewhere there is no button."""
    browser = Browser(client)
    rewire(DEMO="off")
    assert 'action="/try"' not in browser.get("/").body.decode()
    assert browser.ask("POST", "/try").status_code == 404
    rewire(DEMO="on")
    assert 'action="/try"' in browser.get("/").body.decode()
    entered = browser.ask("POST", "/try")
    assert (entered.status_code, entered.headers["Location"]) == (303, "/")
    browser.cookie = entered.headers["Set-Cookie"].partition(";")[0].partition("=")[2]
    assert "3 posts in one JSON file." in browser.get("/").body.decode()
    assert browser.send("/exports", name="export_posts").status_code == 303


def test_links_to_the_source(client: Client, rewire: Rewire) -> None:
    """Where the source is, the first page says twice and every page once; else none does."""
    rewire(SOURCE_URL="")
    assert "Source code" not in Browser(client).get("/").body.decode()
    rewire(SOURCE_URL="https://example.com/source")
    link = 'href="https://example.com/source"'
    counts = [Browser(client).get(path).body.decode().count(link) for path in ("/", "/sign-in")]
    assert counts == [2, 1]


def test_try_it_is_for_its_own_page(client: Client, rewire: Rewire) -> None:
    """Another site cannot make somebody a guest."""
    rewire(DEMO="on")
    other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    assert Browser(client).ask("POST", "/try", headers=other).status_code == 403

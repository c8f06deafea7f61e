"""What other sites' pages can have a browser do, and what an answer lets it do."""

import hashlib
import hmac
import logging
from datetime import datetime, timedelta

import pytest
from chalice.test import Client
from werkzeug.test import Client as Requests

from app import app
from chalicelib.accounts.rate_limits import REQUESTS_PER_ADDRESS
from infra.servers.gateway import Gateway
from tests.conftest import Rewire
from tests.harness.pages import Browser
from tests.harness.people import Person, refused

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def test_other_credentials_beside_the_cookie(client: Client, susan: Person) -> None:
    """Credentials of another kind do not turn the token of a form into one that anybody knows."""
    browser = Browser(client, susan.token)
    constant = hmac.new(b"", b"carryout form", hashlib.sha256).hexdigest()
    for csrf in ("", constant):
        answer = browser.ask(
            "POST", "/sign-out", {"csrf": csrf}, {"Authorization": "Basic eDp5", "Accept": "*/*"}
        )
        refused(answer, 403, "form_outdated")
    assert susan.get("/v1/me").status_code == 200


def test_a_refused_form_is_no_error_of_ours(
    client: Client, susan: Person, caplog: pytest.LogCaptureFixture
) -> None:
    """A form of another site's page gets a page, and the log no alarm."""
    browser = Browser(client, susan.token)
    cross_site = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
    answer = browser.ask("POST", "/posts", {"body": "x"}, cross_site)
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")
    assert b"susan" not in answer.body
    assert [one for one in caplog.records if one.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("path", ["/v1/me", "/v1/tasks", "/healthz", "/sign-in", "/nowhere"])
def test_types_are_not_sniffed(client: Client, rewire: Rewire, path: str) -> None:
    """Every answer says that its type is its type; where there is TLS, that it stays so."""
    assert client
    rewire(PUBLIC_URL="https://carryout.example.com")
    answer = Requests(Gateway(app)).get(path)
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.headers["Strict-Transport-Security"].startswith("max-age=")
    rewire(PUBLIC_URL="http://127.0.0.1:8000")
    assert "Strict-Transport-Security" not in Requests(Gateway(app)).get(path).headers


def test_where_to_report_a_weakness(client: Client, rewire: Rewire) -> None:
    """The file has what RFC 9116 asks for: a contact, and a day in the year that begins now."""
    wiring = rewire(SECURITY_CONTACT="https://carryout.example.com/security")
    answer = client.http.get("/.well-known/security.txt")
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"
    fields = dict(line.split(": ", 1) for line in answer.body.decode().splitlines())
    assert fields["Contact"] == "https://carryout.example.com/security"
    left = datetime.fromisoformat(fields["Expires"]) - wiring.now()
    assert timedelta() < left < timedelta(days=365)
    assert fields["Canonical"].endswith("/.well-known/security.txt")
    rewire(MAIL_SENDER="Carryout <hello@example.com>", PUBLIC_URL="http://127.0.0.1:8000")
    body = client.http.get("/.well-known/security.txt").body
    assert b"Contact: mailto:hello@example.com\n" in body
    assert b"Canonical" not in body


@pytest.mark.parametrize("path", ["/nowhere", "/v1/nowhere", "/readyz"])
def test_what_has_no_route_is_counted(client: Client, rewire: Rewire, path: str) -> None:
    """Pages that do not exist, and checks of the dependencies, are requests, too."""
    assert client
    wiring = rewire(LIMITS="on")
    here = {"REMOTE_ADDR": "2001:db8::1"}
    assert Requests(Gateway(app)).get(path, environ_overrides=here).status_code in {200, 404, 503}
    key = wiring.rate_limiter.key(REQUESTS_PER_ADDRESS.name, "2001:db8::/64")
    assert int(wiring.queue.redis.get(key) or 0) == 1
    wiring.queue.redis.set(key, REQUESTS_PER_ADDRESS.most, ex=60)
    there = {"REMOTE_ADDR": "2001:db8::2"}  # of the same network
    for accept in ("text/html", "application/json"):
        answer = Requests(Gateway(app)).get(
            path, environ_overrides=there, headers={"Accept": accept}
        )
        assert answer.status_code == 429
    assert Requests(Gateway(app)).get("/healthz", environ_overrides=there).status_code == 200

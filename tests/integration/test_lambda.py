import base64
import json
import sys
from pathlib import Path

import pytest
from chalice.app import Request

from app import app, sweep
from chalicelib.web.request import Call
from chalicelib.wiring import Wiring
from tests.harness.events import Event, proxy_event, shown
from tests.harness.people import JSON, Person
from tests.harness.processes import ROOT, run

WITHOUT_SETTINGS = """
from app import app
from tests.harness.events import proxy_event, shown
answer = app(proxy_event("GET", "/v1/me", headers={"Origin": "https://example.com"}), None)
print(answer["statusCode"], shown(answer)["code"])
"""


def test_event_by_event(susan: Person) -> None:
    """The deployed function answers API Gateway's own events, without a context."""
    new = app(proxy_event("POST", "/v1/exports", headers=susan.headers), None)
    assert new["statusCode"] == 202
    task_id = shown(new)["id"]
    event = proxy_event("GET", "/v1/tasks/{task_id}", {"task_id": task_id}, headers=susan.headers)
    task = app(event, None)
    assert (task["statusCode"], shown(task)["status"]) == (200, "queued")
    assert app(proxy_event("GET", "/healthz"), None)["statusCode"] == 200
    assert app(proxy_event("GET", "/v1/me"), None)["statusCode"] == 401


@pytest.mark.parametrize("headers", [JSON, {"content-type": "application/json"}, {}])
@pytest.mark.parametrize("is_base64", [False, True])
def test_body(susan: Person, headers: dict[str, str], *, is_base64: bool) -> None:
    """A body comes as text or in base64, with its media type or without one."""
    text = json.dumps({"body": "\U0001f600 é"}, ensure_ascii=False)
    body = base64.b64encode(text.encode()).decode() if is_base64 else text
    event = proxy_event(
        "POST", "/v1/posts", headers=susan.headers | headers, body=body, is_base64=is_base64
    )
    answer = app(event, None)
    assert (answer["statusCode"], shown(answer)["body"]) == (201, "\U0001f600 é")


def sparse(event: Event) -> Event:
    """As the console's own test button sends it."""
    return event | {"headers": None, "multiValueHeaders": None, "body": None}


def test_event_without_headers(susan: Person) -> None:
    """An event that has nothing in it is answered as a request that has nothing in it."""
    assert susan
    assert app(sparse(proxy_event("GET", "/healthz")), None)["statusCode"] == 200
    assert app(sparse(proxy_event("POST", "/v1/posts")), None)["statusCode"] == 401
    assert app(sparse(proxy_event("POST", "/v1/tokens")), None)["statusCode"] == 422


def test_names_of_headers_have_no_case(susan: Person) -> None:
    """HTTP/2 writes names small, some clients write them large."""
    for name in ("authorization", "AUTHORIZATION"):
        event = proxy_event("GET", "/v1/me", headers={name: f"bearer {susan.token}"})
        assert app(event, None)["statusCode"] == 200


def test_body_with_a_lone_surrogate(susan: Person) -> None:
    """An event can hold text that UTF-8 cannot: that is no JSON."""
    event = proxy_event("POST", "/v1/posts", headers=susan.headers, body='{"body": "\ud800"}')
    answer = app(event, None)
    assert (answer["statusCode"], shown(answer)["code"]) == (422, "malformed_json")


def test_answers_can_be_sent(susan: Person) -> None:
    """An answer is JSON with strings for a body and for every header, as Lambda wants it."""
    for method, path in (("GET", "/"), ("GET", "/v1/tasks"), ("DELETE", "/v1/tokens/current")):
        answer = json.loads(json.dumps(app(proxy_event(method, path, headers=susan.headers), None)))
        assert isinstance(answer["statusCode"], int)
        assert isinstance(answer["body"], str)
        assert all(isinstance(value, str) for value in answer["headers"].values())


def test_the_schedule_sweeps(susan: Person) -> None:
    """The function that a rule calls every minute enqueues a job for a task that lost its own."""
    susan.post("/v1/exports", {})
    queue = app.wiring.queue
    queue.redis.flushall()
    names = ("version", "account", "region", "detail", "detail-type", "source", "time", "id")
    sweep({**dict.fromkeys(names, ""), "resources": []}, None)
    assert queue.depth() == 1


def test_without_settings(tmp_path: Path) -> None:
    """Where nothing reads the settings at the start, the first request's log names the key."""
    env = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
    done = run(sys.executable, "-c", WITHOUT_SETTINGS, cwd=tmp_path, env=env)  # no .env there
    assert done.stdout == "500 internal_error\n"
    assert "DATABASE_URL is not set" in done.stderr


@pytest.mark.parametrize(
    ("hops", "header", "address"),
    [
        (0, "198.51.100.1, 203.0.113.9, 192.0.2.1", "192.0.2.1"),
        (1, "203.0.113.9, 192.0.2.1", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9, 192.0.2.1", "203.0.113.9"),  # it says more than is known
        (2, "203.0.113.9, 10.0.0.1, 192.0.2.1", "203.0.113.9"),
        (1, "192.0.2.1", "192.0.2.1"),  # it went past the proxy
        (1, "", "192.0.2.1"),
    ],
)
def test_client_behind_a_proxy(
    environment: dict[str, str], hops: int, header: str, address: str
) -> None:
    """Whoever comes by our own proxies is known by the address that the first of them saw."""
    wiring = Wiring.from_environment({**environment, "PROXY_HOPS": str(hops)})
    headers = {"X-Forwarded-For": header} if header else {}
    event = proxy_event("GET", "/healthz", headers=headers)
    assert Call(Request(event, None), wiring).address == address

"""What holds for every route: HEAD, the request's id, codings of bodies."""

import gzip

import pytest

from app import app
from tests.conftest import Join
from tests.harness.events import Event, proxy_event, shown
from tests.harness.people import JSON, Person, refused

NAMES = {"username": "root", "name": "x", "number": "1", "post_id": "1"}
NAMES |= dict.fromkeys(("task_id", "schedule_id", "import_id", "webhook_id"), "x")
ROUTES = [(method, path) for path, methods in app.routes.items() for method in methods]
GETS = [path for method, path in ROUTES if method == "GET"]


def event_of(method: str, path: str, person: Person) -> Event:
    parameters = {name: value for name, value in NAMES.items() if f"{{{name}}}" in path}
    return proxy_event(method, path, parameters or None, headers=person.headers)


@pytest.mark.parametrize("path", GETS, ids=lambda path: str(path).replace("/", "_"))
def test_head_answers_where_get_does(join: Join, path: str) -> None:
    """It has the status and the headers of GET, and no body."""
    root = join("root", is_admin=True)
    got, head = (app(event_of(method, path, root), None) for method in ("GET", "HEAD"))
    assert head["body"] == ""
    assert (head["statusCode"], head["headers"]) == (got["statusCode"], got["headers"])
    assert got["body"] or got["statusCode"] == 303


def test_head_behind_a_cookie(susan: Person) -> None:
    """Another site's page may make a browser send it, as it may a GET: nothing changes."""
    headers = {"Cookie": f"__Host-carryout_session={susan.token}", "Sec-Fetch-Site": "cross-site"}
    for path in ("/v1/me", "/account"):
        assert app(proxy_event("HEAD", path, headers=headers), None)["statusCode"] == 200


def test_every_answer_has_the_requests_id(susan: Person) -> None:
    """It is API Gateway's id, on whatever a route answers."""
    for method, path in ROUTES:
        event = event_of(method, path, susan if method != "DELETE" else Person(susan.client))
        answer = app(event, None)
        assert answer["headers"]["X-Request-Id"] == event["requestContext"]["requestId"], path


def test_a_request_without_an_id_gets_one(susan: Person) -> None:
    """Where no gateway gives one there is a new one each time."""
    event = event_of("GET", "/v1/me", susan)
    del event["requestContext"]["requestId"]
    assert len({app(event, None)["headers"]["X-Request-Id"] for _ in range(2)}) == 2


@pytest.mark.parametrize("coding", ["gzip", "identity, gzip", "BR", "x"])
def test_encoded_bodies(susan: Person, coding: str) -> None:
    """What is compressed is refused, whether or not somebody could read it."""
    headers = JSON | {"Content-Encoding": coding}
    body = gzip.compress(b'{"body": "x"}')
    for given in (body, b'{"body": "x"}'):
        answer = susan.post("/v1/posts", given, headers=headers)
        refused(answer, 415, "unsupported_media_type")
    form = susan.post("/posts", b"body=x", headers={"Content-Encoding": coding})
    refused(form, 415, "unsupported_media_type")
    assert susan.get("/v1/me").json_body["post_count"] == 0


@pytest.mark.parametrize("coding", ["identity", " Identity ", ""])
def test_bodies_that_are_as_they_are(susan: Person, coding: str) -> None:
    """A client may say that it has not encoded anything."""
    answer = susan.post("/v1/posts", {"body": "x"}, headers={"Content-Encoding": coding})
    assert answer.status_code == 201


def test_titles_are_those_of_the_standard(susan: Person) -> None:
    """Whatever Python calls a status, the document has the words of RFC 9110."""
    event = event_of("POST", "/v1/posts", susan)
    assert shown(app(event, None))["title"] == "Unprocessable Content"

# mypy: disable-error-code=untyped-decorator
# Chalice has no types.

import base64
import json
from io import BytesIO
from typing import Any
from urllib.parse import unquote_to_bytes

import pytest
from chalice import Chalice, Response

from infra.servers.gateway import MAX_BODY_BYTES, Gateway


def make_app() -> Chalice:
    """A Chalice app whose views show what they were given."""
    app = Chalice(app_name="tiny")

    @app.route("/")
    def index() -> dict[str, str]:
        return {"page": "index"}

    @app.route("/things/{thing}", methods=["GET", "PUT"], content_types=["application/json"])
    def one(thing: str) -> Response:
        event = app.current_request.to_original_event()
        return Response({"thing": thing, "event": event}, {"Content-Type": "application/json"})

    @app.route("/things/latest")
    def latest() -> str:
        return "latest"

    @app.route("/{kind}/of/{other}")
    def crossed(kind: str, other: str) -> dict[str, Any]:
        return {
            "kind": kind,
            "other": other,
            "parameters": app.current_request.to_original_event()["pathParameters"],
        }

    @app.route("/empty/{status}", methods=["GET", "HEAD"])
    def empty(status: str) -> Response:
        return Response("", {"Content-Type": "text/plain"}, int(status))

    @app.route("/cookies")
    def cookies() -> Response:
        return Response("two", {"Set-Cookie": ["a=1", "b=2"], "Content-Type": "text/plain"})

    @app.route("/picture")
    def picture() -> Response:
        return Response(b"\x89PNG\xff", {"Content-Type": "image/png"})

    return app


class Client:
    """Calls a WSGI application and keeps what it answered."""

    def __init__(self, application: Gateway) -> None:
        self._application = application
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    def call(self, method: str, uri: str, body: bytes = b"", **environ: str) -> bytes:
        path, _, query = uri.partition("?")
        environment = {
            "REQUEST_METHOD": method,
            "REQUEST_URI": uri,
            "PATH_INFO": unquote_to_bytes(path).decode("latin-1"),
            "QUERY_STRING": query,
            "CONTENT_LENGTH": str(len(body)),
            "REMOTE_ADDR": "127.0.0.9",
            "wsgi.input": BytesIO(body),
            **environ,
        }
        return b"".join(self._application(environment, self._start))

    def event(self, method: str, uri: str, body: bytes = b"", **environ: str) -> dict[str, Any]:
        """Send a request; return the event that the view saw."""
        event: dict[str, Any] = json.loads(self.call(method, uri, body, **environ))["event"]
        return event

    def header(self, name: str) -> list[str]:
        """All values of a header of the last answer."""
        return [value for key, value in self.headers if key.lower() == name]

    def _start(self, status: str, headers: list[tuple[str, str]]) -> None:
        self.status = int(status.split(maxsplit=1)[0])
        self.headers = headers


@pytest.fixture
def client() -> Client:
    """A client of the tiny app behind the gateway."""
    return Client(Gateway(make_app()))


def test_event_is_complete(client: Client) -> None:
    """A request becomes all of a REST proxy event."""
    event = client.event(
        "PUT",
        "/things/a?x=1&x=2&empty=",
        b'{"a": "\xc3\xbc"}',
        HTTP_X_NAME="n",
        CONTENT_TYPE="application/json",
    )

    assert event["resource"] == event["requestContext"]["resourcePath"] == "/things/{thing}"
    assert event["path"] == event["requestContext"]["path"] == "/things/a"
    assert event["httpMethod"] == event["requestContext"]["httpMethod"] == "PUT"
    assert event["headers"]["X-Name"] == "n"
    assert event["headers"]["Content-Type"] == "application/json"
    assert event["multiValueHeaders"]["X-Name"] == ["n"]
    assert event["queryStringParameters"] == {"x": "2", "empty": ""}
    assert event["multiValueQueryStringParameters"] == {"x": ["1", "2"], "empty": [""]}
    assert event["pathParameters"] == {"thing": "a"}
    assert event["stageVariables"] is None
    assert event["body"] == '{"a": "ü"}'
    assert event["isBase64Encoded"] is False
    assert event["requestContext"]["identity"]["sourceIp"] == "127.0.0.9"
    assert event["requestContext"]["stage"]
    assert event["requestContext"]["requestId"]


def test_what_is_absent_is_null(client: Client) -> None:
    """Without a query and a body the event says null, as API Gateway does."""
    event = client.event("GET", "/things/a")

    assert event["queryStringParameters"] is None
    assert event["multiValueQueryStringParameters"] is None
    assert event["body"] is None


def test_repeated_header_is_kept(client: Client) -> None:
    """A header that came twice, joined by the WSGI server, loses nothing."""
    event = client.event("GET", "/things/a", HTTP_ACCEPT_LANGUAGE="ko, es")

    assert event["multiValueHeaders"]["Accept-Language"] == ["ko, es"]


def test_body_that_is_not_utf8_travels_as_base64(client: Client) -> None:
    """A binary body arrives byte for byte."""
    event = client.event("PUT", "/things/a", b"\xff\xfe\x00", CONTENT_TYPE="application/json")

    assert event["isBase64Encoded"] is True
    assert base64.b64decode(event["body"]) == b"\xff\xfe\x00"


@pytest.mark.parametrize(
    ("sent", "arrives"),
    [
        ("%ED%95%9C%20b", "한 b"),
        ("a%2Fb", "a/b"),  # an encoded slash is no separator
        ("a+b", "a+b"),  # a plus is a space in queries only
    ],
)
def test_path_parameters_are_decoded(client: Client, sent: str, arrives: str) -> None:
    """A view gets what the client meant."""
    assert client.event("GET", f"/things/{sent}")["pathParameters"] == {"thing": arrives}


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        ("/", b'{"page":"index"}'),
        ("/things/latest", b"latest"),  # a literal wins over a name
        ("/things/latest/", b"latest"),  # one slash at the end does not count
        ("//things/latest", b"latest"),  # nor do slashes at the front
        ("http://host/things/latest?x=/", b"latest"),  # a proxy's form
    ],
)
def test_routes(client: Client, uri: str, page: bytes) -> None:
    """Paths find their view."""
    assert client.call("GET", uri) == page


def test_names_do_not_leak_between_routes(client: Client) -> None:
    """A route that matched only at its start leaves no parameters behind."""
    answer = json.loads(client.call("GET", "/things/of/x"))

    assert answer == {
        "kind": "things",
        "other": "x",
        "parameters": {"kind": "things", "other": "x"},
    }


@pytest.mark.parametrize(
    "uri",
    [
        "/nothing",
        "/things/",  # a name stands for at least one character
        "/things/%ff",  # not UTF-8
        "/things/a/b",
        "*",
    ],
)
def test_unknown_path_is_a_problem(client: Client, uri: str) -> None:
    """What the app does not route answers 404 in the app's own form."""
    problem = json.loads(client.call("GET", uri))

    assert client.status == problem["status"] == 404
    assert problem["code"] == "not_found"
    assert client.header("content-type") == ["application/problem+json"]


@pytest.mark.parametrize("method", ["DELETE", "TRACE", "QUERY", "OPTIONS"])
def test_other_method_is_a_problem(client: Client, method: str) -> None:
    """A path that takes other methods names them."""
    assert json.loads(client.call(method, "/things/a"))["status"] == 405
    assert client.status == 405
    assert client.header("allow") == ["GET, PUT"]


def test_body_over_the_limit_is_a_problem(client: Client) -> None:
    """API Gateway's quota holds here too, to the byte."""
    allowed = client.event("PUT", "/things/a", b"x" * MAX_BODY_BYTES)
    assert len(allowed["body"]) == MAX_BODY_BYTES

    problem = json.loads(client.call("PUT", "/things/a", b"x" * (MAX_BODY_BYTES + 1)))
    assert client.status == 413
    assert problem["code"] == "body_too_large"


@pytest.mark.parametrize("status", [204, 304])
def test_no_body_no_type(client: Client, status: int) -> None:
    """204 and 304 have neither a body nor a word about one."""
    assert client.call("GET", f"/empty/{status}") == b""
    assert client.status == status
    assert client.header("content-type") == client.header("content-length") == []


@pytest.mark.parametrize("uri", ["/", "/things/latest", "/nothing", "/empty/204"])
def test_head_has_headers_only(client: Client, uri: str) -> None:
    """HEAD answers as GET does, its length too, without the body."""
    body = client.call("GET", uri)
    expected = client.status, client.header("content-length"), client.header("content-type")
    assert client.call("HEAD", uri) == b""
    assert (client.status, client.header("content-length"), client.header("content-type")) == (
        expected
    )
    assert client.header("content-length") == ([] if uri == "/empty/204" else [str(len(body))])


@pytest.mark.parametrize("uri", ["/", "/nothing", "/empty/204"])
def test_every_answer_has_an_id(client: Client, uri: str) -> None:
    """Also what never gets to the app; where an event is made, the id is the event's."""
    client.call("GET", uri)
    (first,) = client.header("x-request-id")
    client.call("GET", uri)
    assert client.header("x-request-id") != [first]
    event = client.event("GET", "/things/a")
    assert client.header("x-request-id") == [event["requestContext"]["requestId"]]


def test_headers_may_repeat(client: Client) -> None:
    """Several cookies are several headers, and the length counts bytes."""
    assert client.call("GET", "/cookies") == b"two"
    assert client.header("set-cookie") == ["a=1", "b=2"]
    assert client.header("content-length") == ["3"]


def test_binary_answer_is_decoded(client: Client) -> None:
    """What Chalice encodes for API Gateway leaves as bytes."""
    assert client.call("GET", "/picture", HTTP_ACCEPT="image/png") == b"\x89PNG\xff"
    assert client.header("content-length") == ["5"]


def test_plain_wsgi_server() -> None:
    """A server that gives no REQUEST_URI is served from PATH_INFO."""
    client = Client(Gateway(make_app()))
    event = client.event("GET", "/things/%ED%95%9C", REQUEST_URI="")

    assert event["pathParameters"] == {"thing": "한"}

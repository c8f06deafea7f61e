"""Bytes that no well-meaning client sends, at the server that `make run` starts."""

import contextlib
import os
import random
import re
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from urllib.parse import urlsplit

import pytest

from app import app
from tests.harness.stacks import Stack

WHOLE = "FUZZ" in os.environ
MUTANTS = 5000 if WHOLE else 300
AT_ONCE = 8
PATIENCE_S = 60
"""How long an answer, or the end of the connection, may take on a busy machine."""

QUIET_S = 1.0
"""After this long without an answer the server may be waiting for more, so that none is sent."""

LAST_ACTS = {
    ("DELETE", "/v1/me"),
    ("POST", "/v1/me/erasure"),
    ("DELETE", "/v1/tokens/current"),
    ("POST", "/account/erase"),
}

NAMES = (
    b"..",
    b"%2e%2e",
    b"..%2f..%2f..%2fetc%2fpasswd",
    b"..%5c..%5c",
    b"....//",
    b"%00",
    b"a%00b",
    b"%ed%a0%80",  # a lone surrogate, as UTF-8 would have it
    b"%ff",
    b"%c0%af",  # an overlong slash
    b"\xff\xfe",
    b"%",
    b"%zz",
    b"%u0041",
    b"a" * 8000,
    b"%F0%9F%98%80",
    b"{task_id}",
    b"{0.__class__}",
    b"%0d%0aX-Evil:%201",
    b"'%20OR%201=1--",
    b"-1",
    b"9" * 40,
    b"1e9",
    b"%D9%A1",  # a digit, elsewhere
    b"null",
    b"app.css",
)
QUERIES = (
    b"limit=%ff",
    b"limit=1&limit=2&limit=x",
    b"limit=" + b"9" * 5000,
    b"limit=1.0&wait=nan",
    b"wait=inf&after=-inf",
    b"wait=1e-400&after=9e99",
    b"after=9223372036854775807",
    b"after=9223372036854775808",
    b"cursor=%00&name=%00&status=%00",
    b"cursor=%ed%a0%80&name=%ed%a0%80",
    b"cursor=999999999999999999_1",
    b"cursor=000000000000000000_999999999999999999",
    b"name=..%2f..%2f&status=queued&status=failed",
    b"&&&===&&%&;;;=%",
    b"a" * 30_000,
    b"&".join(b"a%d=%d" % (number, number) for number in range(2000)),
    b"\xff\x00\xfe".replace(b"\x00", b"%00"),
)
HEADERS = (
    b"Authorization: Bearer",
    b"Authorization:",
    b"Authorization: Bearer \xff\xfe",
    b"Authorization: Bearer " + b"a" * 60_000,
    b"Authorization: Basic Og==\r\nAuthorization: Bearer x",
    b"Cookie: carryout_session=\xff; carryout_session=",
    b"Cookie: carryout_session=%00; =; ;;; a",
    b"Cookie: " + b"a=b; " * 10_000,
    b'Cookie: carryout_session="\\777\\',
    b"Cookie: carryout_session=x\r\nOrigin: http://[",
    b"Cookie: carryout_session=x\r\nOrigin: http://a:b:c",
    b"Cookie: carryout_session=x\r\nOrigin: \xff",
    b"Origin: http://[\r\nSec-Fetch-Site: \xff",
    b"Content-Type: \xff/\xff; charset=\xff",
    b"Content-Type: application/json; charset=utf-16",
    b"Content-Type:",
    b"If-None-Match: " + b'"' * 9999,
    b"If-None-Match: W/\xff",
    b"Idempotency-Key: \xff",
    b"Idempotency-Key: " + b"k" * 256,
    b"Idempotency-Key:",
    b"Accept-Language: " + b"*;q=" * 5000,
    b"Accept-Language: \xff;q=9.9.9",
    b"Accept: text/html\r\nX-Live: \xff",
    b"X-Forwarded-For: \xff\r\nX-Forwarded-Proto: \xff\r\nForwarded: for=\xff",
    b"Expect: 100-continue",
    b"Expect: nonsense",
    b"Connection: upgrade\r\nUpgrade: websocket",
    b"Host: \xff",
    b"Host:",
    b"Range: bytes=0-,0-,0-",
    b"\r\n".join(b"X-%d: %d" % (number, number) for number in range(3000)),
    b"X: " + b"a" * 300_000,
    b"X-Folded: a\r\n b",
    b"No colon",
    b" Leading: space",
    b"Trailing : space",
    b": no name",
    b"X_Underscore: 1\r\nX-Underscore: 2",
    b"X: a\x00b",
    b"X: a\rb",
    b"Transfer-Encoding: chunked",
    b"Transfer-Encoding: gzip, chunked",
    b"Transfer-Encoding: \xff",
    b"Transfer-Encoding: chunked\r\nContent-Length: 3",
    b"Content-Length: abc",
    b"Content-Length: -1",
    b"Content-Length: +2",
    b"Content-Length: 1_0",
    b"Content-Length: 2\r\nContent-Length: 3",
    b"Content-Length: 2, 2",
    b"Content-Length: " + b"9" * 100,
    b"Content-Length: 99999999999",
)
BODIES = (
    b"[" * 200_000,
    b'{"body": ' + b"[" * 50_000 + b"]" * 50_000 + b"}",
    b'{"params": ' + b'{"a":' * 900 + b"1" + b"}" * 900 + b"}",
    b'{"body": "\\u0000"}',
    b'{"body": "\\ud800"}',
    b'{"body": "a\\udfff\\ud800"}',
    b'{"username": "\\ud800", "password": "\\u0000"}',
    b'{"username": "a", "password": "\xff"}',
    b'{"body": "\xed\xa0\x80"}',
    b'{"body": 1e999}',
    b'{"body": ' + b"9" * 10_000 + b"}",
    b'{"name": "example", "params": {"seconds": 1e400}}',
    b'{"name": "example", "params": {"seconds": 99999999999999999999}}',
    b'{"name": "__class__", "params": {"__class__": {}}}',
    b'{"a": 1, "a": 2, "": 3, "\\u0000": 4, "\\ud800": 5, "/~": 6}',
    b'{"email": "a@b.c\\r\\nBcc: x@y.z", "language": ["en"]}',
    b"\xff\xfe{\x00}\x00",
    b"\xef\xbb\xbf{}",
    b"null",
    b"\x00",
    b"csrf=\xff&username=%ff&password=%00&back=//evil.example",
    b"csrf=%ed%a0%80&back=/%0d%0aX-Evil:1&" + b"a=b&" * 5000,
    b"%",
    b"\x1f\x8b\x08\x00",
    b"0\r\n\r\n",
    b"FFFFFFFFFFFFFFFFF\r\n",
)
METHODS = (
    b"HEAD",
    b"PUT",
    b"TRACE",
    b"CONNECT",
    b"OPTIONS",
    b"PROPFIND",
    b"QUERY",
    b"get",
    b"G\xffT",
    b"A" * 300,
    b"",
)
LINES = (
    b"",
    b"\r\n\r\n",
    b"GET\r\n\r\n",
    b"GET /\r\n\r\n",
    b"GET / HTTP/0.9\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    b"GET / HTTP/1.1\nHost: x\nConnection: close\n\n",
    b"GET  /  HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET http://evil.example:99999/v1/me HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET //evil.example/%2e%2e HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET ? HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /\xff\xfe HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a/" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /" + b"a" * 400_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    b"OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    b"POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    b"POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n{}\r\n",
    b"POST /v1/posts HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
    b"POST /v1/posts HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{",
)


@dataclass(frozen=True)
class Told:
    """What came of a request.

    Attributes:
        status: The answer's; 0 when the connection was closed without one.
        hung: Whether neither an answer came nor the end.
    """

    status: int
    hung: bool = False


def request(method: bytes, path: bytes, *headers: bytes, body: bytes = b"") -> bytes:
    """A request as bytes; a header that is given takes the place of our own."""
    given = b"\r\n".join(headers)
    own = [] if b"Host:" in given else [b"Host: carryout.example"]
    if body and not re.search(rb"(?i)content-length|transfer-encoding", given):
        own.append(b"Content-Length: %d" % len(body))
    lines = [method + b" " + path + b" HTTP/1.1", *own, *headers, b"Connection: close"]
    return b"\r\n".join([*lines, b"", body])


def routes() -> Iterator[tuple[bytes, str]]:
    """Every method and path that the app has, but for those that end the account."""
    for path, methods in app.routes.items():
        yield from (
            (method.encode(), path) for method in methods if (method, path) not in LAST_ACTS
        )


def filled(path: str, name: bytes) -> bytes:
    """A path with something in the place of each parameter."""
    return re.sub(rb"{\w+}", lambda _: name, path.encode())


def hostile(token: bytes) -> Iterator[bytes]:
    """Every hostile part in every place of a request where it may stand."""
    bearer = b"Authorization: Bearer " + token
    json = b"Content-Type: application/json"
    form = b"Content-Type: application/x-www-form-urlencoded"
    yield from LINES
    for method, path in routes():
        own = filled(path, b"susan")
        if "{" in path:
            yield from (request(method, filled(path, name), bearer) for name in NAMES)
        if method == b"GET":
            yield from (request(method, own + b"?" + query, bearer) for query in QUERIES)
        if method in {b"POST", b"PATCH"}:
            for body in BODIES:
                yield request(method, own, bearer, json, body=body)
                yield request(method, own, form, body=body)
    for path in sorted({path for _, path in routes()}):
        yield from (request(method, filled(path, b"x"), bearer) for method in METHODS)
    for place in (b"/", b"/v1/me", b"/sign-in", b"/v1/tasks/x"):
        yield from (request(b"GET", place, header) for header in HEADERS)
    for place in (b"/v1/posts", b"/v1/exports", b"/sign-in", b"/posts"):
        credentials = [] if place == b"/sign-in" else [bearer]
        for header in HEADERS:
            given = [header] if b"Authorization" in header else [*credentials, header]
            yield request(b"POST", place, *given, body=b'{"body": "x"}')
    yield request(b"POST", b"/v1/posts", bearer, json, body=b" " * (11 * 1024 * 1024))


def mutants(token: bytes, count: int, *, seed: int) -> Iterator[bytes]:
    """Requests with a few bytes changed, doubled, cut or swapped."""
    chance = random.Random(seed)
    seeds = [one for one in hostile(token) if len(one) < 2000]
    for _ in range(count):
        raw = bytearray(chance.choice(seeds) or b"GET / HTTP/1.1\r\n\r\n")
        for _ in range(chance.randint(1, 4)):
            at, length = chance.randrange(len(raw) + 1), chance.randint(0, 8)
            part = chance.choice([bytes([chance.randrange(256)]), raw[:length], b"\r\n", b"%", b""])
            raw[at : at + chance.randint(0, length)] = part
        yield bytes(raw)


def send(address: tuple[str, int], raw: bytes) -> Told:
    """Send bytes and see what comes of them."""
    with socket.create_connection(address, timeout=PATIENCE_S) as connection:
        # A server may refuse while there is more to come.
        with contextlib.suppress(ConnectionError):
            connection.sendall(raw)
        connection.settimeout(QUIET_S)
        received = _receive(connection)
        if received is None:
            connection.settimeout(PATIENCE_S)
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_WR)
            received = _receive(connection)
    if received is None:
        return Told(0, hung=True)
    found = re.match(rb"HTTP/1\.[01] (\d{3}) ", received)
    return Told(int(found[1]) if found else 0)


def _receive(connection: socket.socket) -> bytes | None:
    """The beginning of the answer, or nothing at the end; None when neither comes in time."""
    try:
        received = connection.recv(65536)
        if received.startswith(b"HTTP/1.1 100 ") and received.endswith(b"\r\n\r\n"):
            received = connection.recv(65536)  # "100 Continue" is only the way to the answer
    except TimeoutError:
        return None
    except ConnectionError:
        return b""
    return received


@pytest.mark.timeout(1800)
def test_nothing_breaks_the_server(stack: Stack) -> None:
    """Whatever the bytes are, the answer blames the client, and no connection is left hanging."""
    person = stack.join("susan")
    token = (person.token or "").encode()
    url = urlsplit(stack.app_url)
    address = (str(url.hostname), int(url.port or 0))
    cases = list(hostile(token))
    if not WHOLE:
        cases = random.Random(1).sample(cases, 500)
    cases += mutants(token, MUTANTS, seed=random.randrange(2**32) if WHOLE else 1)
    with ThreadPoolExecutor(AT_ONCE) as pool:
        told = list(pool.map(lambda raw: send(address, raw), cases))

    broken = [
        raw[:300]
        for raw, one in zip(cases, told, strict=True)
        if one.status >= 500 and not (one.status == 503 and b"/readyz" in raw)
    ]
    hung = [raw[:300] for raw, one in zip(cases, told, strict=True) if one.hung]
    counts = sorted(Counter(one.status for one in told).items())
    sys.stdout.write(f"{len(cases)} requests: {counts}\n")  # what `make fuzz` shows
    assert (broken, hung) == ([], [])
    assert person.get("/v1/me").status_code == 200

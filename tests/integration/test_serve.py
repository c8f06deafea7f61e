import json
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.harness.processes import kill, run
from tests.harness.served import DEADLINE_S, ENVIRONMENT, SERVE, Served


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    served = Served(tmp_path)
    yield served
    kill([served.process])


def test_answers_on_one_connection_and_prints_nothing(served: Served) -> None:
    """Connections are kept, the server does not say its version, and its output is empty."""
    connection = served.connect()
    for body in (b"", b"x" * 100_000):
        connection.request("POST", "/echo", body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        assert json.load(answer) == {"bytes": len(body)}
        assert answer.headers["Server"] == "carryout"
        assert answer.headers["Connection"] is None
    connection.close()

    assert served.stop() == (0, "")


def test_chunked_body_is_read(served: Served) -> None:
    """A body without a length arrives whole."""
    connection = served.connect()
    connection.request("POST", "/echo", iter([b"ab", b"cde"]), {"Content-Type": "application/json"})
    assert json.load(connection.getresponse()) == {"bytes": 5}
    connection.close()


def test_client_can_read_its_413(served: Served) -> None:
    """A client that sends 11 MB gets an answer, not a broken pipe."""
    connection = served.connect()
    connection.request("POST", "/echo", b"x" * 11_000_000)
    answer = connection.getresponse()
    assert answer.status == 413
    assert json.load(answer)["code"] == "body_too_large"
    connection.close()


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: abc\r\n\r\n", 400),
        (b"nonsense\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 400),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n", 413),
    ],
)
def test_refused_before_the_gateway_is_a_problem_too(
    served: Served, request_bytes: bytes, status: int
) -> None:
    """What waitress itself refuses has the form of every other error."""
    head, _, body = served.raw(request_bytes).partition(b"\r\n\r\n")

    assert head.startswith(b"HTTP/1.")
    assert head.split()[1] == str(status).encode()
    assert b"application/problem+json" in head
    assert b"\r\nX-Request-Id: " in head
    assert json.loads(body)["status"] == status


def test_stops_within_a_second_under_long_polls(tmp_path: Path) -> None:
    """SIGTERM cuts long polls short, but a request that is nearly done is answered.

    The second is what it takes longer than a server that nobody asks. One of five has to keep to
    it: a machine may stand still for a moment, not each time.
    """
    idle_s = min(stopping_s(tmp_path, polls=0)[0] for _ in range(2))
    for _ in range(5):
        took_s, answered = stopping_s(tmp_path, polls=10)
        if answered and took_s - idle_s < 1:
            break
    else:
        pytest.fail(f"it took {took_s:.2f} s, {answered=}")


def stopping_s(folder: Path, *, polls: int) -> tuple[float, bool]:
    """How long a server takes to stop under long polls, and whether a short one is answered."""
    served = Served(folder)
    connections = [served.connect() for _ in range(polls)]
    for poll in connections:
        poll.request("GET", f"/poll/{2 * DEADLINE_S}")
    short = served.connect()
    short.request("GET", "/poll/0.4" if polls else "/echo")
    echo = served.connect()
    echo.request("GET", "/echo")  # answered: so all before it have been taken up
    assert echo.getresponse().status == 200

    started, answered = time.monotonic(), False
    served.process.send_signal(signal.SIGTERM)
    with suppress(ConnectionError):
        answered = short.sock.recv(65536).startswith(b"HTTP/1.1 200 ")
    assert served.process.wait(timeout=DEADLINE_S) == 0
    took_s = time.monotonic() - started
    for connection in [*connections, short, echo]:
        connection.close()
    assert served.stop() == (0, "")
    return took_s, answered


def test_nobody_waits_for_slow_views(served: Served) -> None:
    """A page is answered at once while fifty views keep their threads."""
    polls = [served.connect() for _ in range(50)]
    for poll in polls:
        poll.request("GET", f"/poll/{2 * DEADLINE_S}")
    echo = served.connect()
    echo.request("GET", "/echo")
    status = echo.getresponse().status
    for connection in [*polls, echo]:
        connection.close()
    assert status == 200


def test_taken_port_is_named(served: Served) -> None:
    """A second server on the port says which one it wanted."""
    second = run(*SERVE, str(served.port), cwd=served.folder, env=ENVIRONMENT)
    assert second.returncode == 1
    assert str(served.port) in second.stderr


@pytest.mark.parametrize("hosts", [b"", b"Host: a\r\nHost: b\r\n", b"Host: a\r\nhost: a\r\n"])
def test_one_host(served: Served, hosts: bytes) -> None:
    """A request without `Host`, or with two, is refused: others may read it in another way."""
    answer = served.raw(b"GET /poll/0 HTTP/1.1\r\n" + hosts + b"Connection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in answer


def test_two_lengths_are_the_last_request(served: Served) -> None:
    """With `Transfer-Encoding` beside `Content-Length` the connection closes after the answer."""
    request = (
        b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n"
    )
    answer = served.raw(request)  # which reads until the connection is closed
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b'{"bytes":2}' in answer

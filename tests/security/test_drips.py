"""Clients that send or read a little now and then, or more than they may, silence nobody."""

import json
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path

import psutil
import pytest
from chalice import Chalice
from waitress import wasyncore

from infra.servers import connections
from infra.servers.connections import Bounds, descriptors_for
from infra.servers.gateway import Gateway
from infra.servers.serve import READ_AT_MOST_BYTES, build
from tests.harness.processes import kill
from tests.harness.served import Served
from tests.harness.waiting import readable, wait_until

MANY = 1_005
"""More than a process may have open where nobody has allowed it more."""

AT_MOST_1024 = ("sh", "-c", 'ulimit -Sn 1024; exec "$@"', "sh")

HEAD = b"GET /echo HTTP/1.1\r\nHost: x\r\nX: "
BODY = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n"
CHUNKS = b"POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffff\r\n"
WHOLE = b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n"


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Callable[..., Served]]:
    """Starts servers, which end with the test."""
    with ExitStack() as stack:

        def start(*options: str, **more: str) -> Served:
            served = Served(tmp_path, *options, prefix=AT_MOST_1024, **more)
            stack.callback(kill, [served.process])
            return served

        yield start


def connect(port: int, *, address: str = "127.0.0.1", receives: int = 0) -> socket.socket:
    """Connect from an address of this machine, with a buffer of so many bytes."""
    connection = socket.socket()
    if receives:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receives)
    connection.settimeout(60)
    connection.bind((address, 0))
    connection.connect(("127.0.0.1", port))
    return connection


@contextmanager
def dripping(port: int, first: bytes, count: int = 1) -> Iterator[list[socket.socket]]:
    """Send the same on many connections, then a byte now and then, unless it is nothing at all."""
    descriptors_for(count)
    over = threading.Event()
    drips = [connect(port) for _ in range(count)]

    def drip() -> None:
        while not over.wait(0.1):
            for one in drips if first else []:
                with suppress(OSError):
                    one.send(b"x", socket.MSG_DONTWAIT)

    for one in drips:
        with suppress(ConnectionError):  # it may have been closed to make room for another
            one.sendall(first)
    thread = threading.Thread(target=drip)
    thread.start()
    try:
        yield drips
    finally:
        over.set()
        thread.join()
        for one in drips:
            one.close()


def is_closed(connection: socket.socket) -> bool:
    """Whether the server has closed a connection on which it has sent nothing."""
    if not readable(connection):
        return False
    with suppress(ConnectionError):
        return connection.recv(1) == b""
    return True


def all_closed(drips: list[socket.socket]) -> bool:
    return all(map(is_closed, drips))


def built(app: Chalice) -> connections.Server:
    """A server in this process, whose turns a test makes."""
    return build(
        Gateway(app), host="127.0.0.1", port=0, threads=2, behind_proxy=False, bounds=Bounds()
    )


def answers(port: int, *, address: str = "127.0.0.1") -> float:
    """How long the server takes for a new client, in seconds."""
    started = time.monotonic()
    with closing(connect(port, address=address)) as connection:
        connection.sendall(WHOLE)
        assert connection.recv(65536).startswith(b"HTTP/1.1 200 ")
    return time.monotonic() - started


@pytest.mark.parametrize("settings", [{}, {"LIMITS": "on"}], ids=["open", "limits"])
def test_a_thousand_drips_silence_nobody(
    serve: Callable[..., Served], settings: dict[str, str]
) -> None:
    """Whoever comes while 1,005 clients never finish a head is answered, from wherever."""
    served = serve(**settings)
    with dripping(served.port, HEAD, MANY) as drips:
        times = [answers(served.port, address=f"127.0.0.{number}") for number in range(1, 11)]
        closed = sum(is_closed(one) for one in drips)
    assert max(times) < 5
    if settings:  # one network has 256 connections
        assert closed >= MANY - 256
    assert served.stop()[0] == 0


@pytest.mark.parametrize("first", [b"", HEAD, BODY, CHUNKS], ids=["none", "head", "body", "chunks"])
def test_a_drip_ends(serve: Callable[..., Served], first: bytes) -> None:
    """A head, or 64 KiB of a body, that does not come in time closes its connection alone."""
    served = serve("--patience", "0.5")
    with closing(served.connect()) as kept:
        for _ in range(2):
            kept.request("GET", "/echo")
            assert kept.getresponse().read() == b'{"bytes":0}'
            with dripping(served.port, first, 3) as drips:
                wait_until(partial(all_closed, drips), "they are closed")


def test_who_takes_no_answer_is_closed(serve: Callable[..., Served]) -> None:
    """A client that does not read its answer has neither its connection nor memory for long."""
    served = serve("--patience", "0.5")
    server = psutil.Process(served.process.pid)
    with ExitStack() as stack:
        for _ in range(5):
            one = stack.enter_context(closing(connect(served.port, receives=4096)))
            one.sendall(b"GET /large/6000000 HTTP/1.1\r\nHost: x\r\n\r\n")

        def are_closed() -> bool:
            return not any(one.status == "ESTABLISHED" for one in server.net_connections())

        # An answer needs its moment, and so does the look that finds it waiting.
        wait_until(lambda: not are_closed(), "they are connected")
        wait_until(are_closed, "they are closed")


def test_answers_have_so_much_room(serve: Callable[..., Served]) -> None:
    """Of answers that nobody takes, the process keeps so much, whatever the patience."""
    served = serve()
    with ExitStack() as stack:
        clients = []
        for _ in range(40):  # 240 MB of answers
            one = stack.enter_context(closing(connect(served.port, receives=4096)))
            one.sendall(b"GET /large/6000000 HTTP/1.1\r\nHost: x\r\n\r\n")
            clients.append(one)
        server = psutil.Process(served.process.pid)

        def is_bounded() -> bool:
            established = [one.status == "ESTABLISHED" for one in server.net_connections()]
            return 0 < sum(established) <= connections.ANSWERS_BYTES / 5_000_000

        wait_until(is_bounded, "some are closed")
        assert answers(served.port) < 15  # at 20 s they are late
    assert served.stop()[0] == 0


def test_who_is_slow_but_goes_on_is_served(serve: Callable[..., Served]) -> None:
    """A long body and a long answer may take longer than the patience, if they move."""
    served = serve("--patience", "2")
    size = 10 * 65536
    with closing(connect(served.port, receives=65536)) as one:
        one.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(10):
            one.sendall(b"x" * 65536)
            time.sleep(0.25)
        answer = b""
        while not answer.endswith(b"}"):
            answer += one.recv(65536)
        assert answer.endswith(b'{"bytes":%d}' % size)
        one.sendall(b"GET /large/%d HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n" % (8 * size))
        received = 0
        while data := one.recv(4 * 65536):
            received += len(data)
            time.sleep(0.2 if received < 2 * size else 0)
        assert received > 8 * size


def test_a_long_body_is_refused_before_it_comes(serve: Callable[..., Served]) -> None:
    """Who says how long a body is reads the 413 without sending any of it; others send 10 MiB."""
    served = serve()
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\n"
    with closing(connect(served.port)) as one:
        one.sendall(head + b"Content-Length: 62000000\r\nExpect: 100-continue\r\n\r\n")
        answer = one.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["code"] == "body_too_large"
    with closing(connect(served.port)) as one:
        one.sendall(head + b"Transfer-Encoding: chunked\r\n\r\n")
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        sent = 0
        while not readable(one):
            one.sendall(chunk)
            sent += 65536
        assert one.recv(65536).startswith(b"HTTP/1.1 413 ")
        assert READ_AT_MOST_BYTES - 65536 <= sent < 3 * READ_AT_MOST_BYTES  # what is on its way


def test_a_long_head_is_refused(serve: Callable[..., Served]) -> None:
    """A head has 32 KiB, which thousands of clients may fill."""
    answer = serve().raw(HEAD + b"x" * 33_000)
    assert re.match(rb"HTTP/1\.[01] 431 ", answer)


def test_bodies_have_so_much_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of unfinished bodies that are too much together, the longest goes first."""
    monkeypatch.setattr(connections, "BODIES_BYTES", 100_000)
    monkeypatch.setattr(connections, "LOOK_S", 0.0)
    server = built(Chalice("tiny"))
    with ExitStack() as stack:
        stack.callback(wasyncore.close_all, server._map)
        stack.callback(server.task_dispatcher.shutdown)
        clients = [
            stack.enter_context(closing(connect(int(server.effective_port)))) for _ in range(3)
        ]
        for one, size in zip(clients, (30_000, 60_000, 20_000), strict=True):
            one.sendall(BODY + b"x" * size)

        def turn() -> bool:
            wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)
            server.look()
            return is_closed(clients[1])

        wait_until(turn, "the longest is closed")
        assert [is_closed(one) for one in (clients[0], clients[2])] == [False, False]


def test_a_network_waits_for_its_own_answers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """While its clients still take much, its next request waits, and nobody else's does."""
    for name, value in {"STALLED_S": 600.0, "ROOM_S": 600.0, "LOOK_S": 0.0}.items():
        monkeypatch.setattr(connections, name, value)
    monkeypatch.setattr(connections, "NETWORK_ANSWERS_BYTES", 1_000_000)
    app, size = Chalice("tiny"), 8_000_000
    app.route("/large")(lambda: "x" * size)
    app.route("/echo")(lambda: "small")
    server = built(app)
    port = int(server.effective_port)

    def turn_until(condition: Callable[[], object], what: str) -> None:
        def turn() -> object:
            wasyncore.loop(timeout=0.05, use_poll=True, map=server._map, count=1)
            server.look()
            return condition()

        wait_until(turn, what)

    with ExitStack() as stack:
        stack.callback(wasyncore.close_all, server._map)
        stack.callback(server.task_dispatcher.shutdown)
        taker, neighbour, other = (
            stack.enter_context(closing(connect(port, address=address, receives=4096)))
            for address in ("127.0.0.1", "127.0.0.1", "127.0.0.2")
        )
        taker.sendall(WHOLE.replace(b"/echo", b"/large"))
        turn_until(lambda: server._full, "much waits")
        neighbour.sendall(WHOLE)
        turn_until(lambda: server._delayed, "a request waits")
        other.sendall(WHOLE)
        turn_until(lambda: readable(other), "the other network is answered")
        assert not readable(neighbour)
        taken = 0

        def take() -> bool:
            nonlocal taken
            while readable(taker):
                data = taker.recv(1 << 20)
                assert data, "its answer was cut short"
                taken += len(data)
            return bool(readable(neighbour))

        turn_until(take, "its turn has come")
        turn_until(lambda: take() and taken > size, "nothing was lost")

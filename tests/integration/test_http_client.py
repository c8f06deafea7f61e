"""The client that makes deliveries, with real servers that mean no good."""

import errno
import socket
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from chalicelib.values.addresses import parse_url
from tests.harness.receivers import Receiver, answer, close, drip, hang, receiving
from worker.outbox import http_client
from worker.outbox.http_client import HttpAnswer, HttpClient, RequestNotSentError, resolve

LIMIT_S = 0.5


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as one:
        yield one


def post(url: str, *, limit_s: float = 30, private: bool = True) -> HttpAnswer:
    return HttpClient(limit_s=limit_s, private=private).post(parse_url(url), b"{}", {"X-A": "b"})


def refusal(url: str, *, limit_s: float = 30, private: bool = True) -> str:
    """The code with which a request ends without an answer."""
    with pytest.raises(RequestNotSentError) as caught:
        post(url, limit_s=limit_s, private=private)
    return caught.value.code


def test_a_request(receiver: Receiver) -> None:
    """It arrives whole, and the status comes back."""
    receiver.answers(202, Retry_After="7")
    assert post(f"http://localhost:{receiver.port}/a?b") == HttpAnswer(202, 7)
    (request,) = receiver.requests
    assert (request.path, request.body) == ("/a?b", b"{}")
    assert request.headers["host"] == f"localhost:{receiver.port}"
    assert request.headers["x-a"] == "b"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(receiver: Receiver, status: int) -> None:
    """A redirect is an answer like any other: its address was never checked."""
    with receiving() as other:
        receiver.answers(status, Location=other.url)
        assert post(receiver.url).status == status
        assert other.connections == 0


@pytest.mark.parametrize("status", [200, 204, 400, 404, 410, 429, 500, 503])
def test_statuses(receiver: Receiver, status: int) -> None:
    """Each answer is told as it came."""
    receiver.answers(status)
    assert post(receiver.url).status == status


def test_a_receiver_that_hangs(receiver: Receiver) -> None:
    """Who does not answer is waited for as long as the limit, no longer."""
    receiver.behave = hang(receiver)
    _ends_in_time(receiver)


@pytest.mark.parametrize("head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\n\r\n"])
def test_a_receiver_that_drips(receiver: Receiver, head: bytes) -> None:
    """The limit is for all of it, not for each byte."""
    receiver.behave = drip(receiver, head=head)
    _ends_in_time(receiver)


def _ends_in_time(receiver: Receiver) -> None:
    began = time.monotonic()
    assert refusal(receiver.url, limit_s=LIMIT_S) == "timeout"
    took_s = time.monotonic() - began
    assert took_s >= LIMIT_S * 0.9
    assert took_s < LIMIT_S + 10  # a busy machine may stand still, the receiver would go on


def test_a_receiver_that_takes_nothing() -> None:
    """The limit holds while the connection is made and while the request is sent, too."""
    with socket.create_server(("127.0.0.1", 0), backlog=1) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}/"
        client = HttpClient(limit_s=LIMIT_S, private=True)
        for body in (b"{}", b"x" * 50_000_000):
            with pytest.raises(RequestNotSentError, match="timeout"):
                client.post(parse_url(url), body, {})


def test_an_answer_without_end(receiver: Receiver) -> None:
    """Of a gigabyte 64 KiB are read; the status came before it."""
    sent = 0

    def behave(handler: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1073741824\r\n\r\n")
        with suppress(OSError):
            for _ in range(1 << 14):
                handler.wfile.write(bytes(1 << 16))
                sent += 1 << 16

    receiver.behave = behave
    assert post(receiver.url).status == 200
    # What both kernels hold for a connection is sent, too: a few megabytes.
    assert sent < 64 << 20


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 1000,
        b"x" * 100_000,
        b"\xff\xfe\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/1.1 abc OK\r\n\r\n",
        b"",
    ],
    ids=range(6),
)
def test_answers_that_are_none(receiver: Receiver, head: bytes) -> None:
    """What is no HTTP ends the request, and nothing else."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(head)
        close(handler)

    receiver.behave = behave
    assert refusal(receiver.url) in {"bad_answer", "connection"}


def test_a_short_answer_has_said_it(receiver: Receiver) -> None:
    """An answer that is cut off after its status is an answer."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab")
        close(handler)

    receiver.behave = behave
    assert post(receiver.url).status == 200


def test_nobody_listens() -> None:
    """A port without a server, and a name without an address."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert refusal(f"http://127.0.0.1:{port}/") == "connection"
    assert refusal("http://nobody.invalid/") in {"dns", "timeout"}


def test_a_resolver_that_hangs() -> None:
    """The limit holds for a name server, too."""
    answering = threading.Event()

    def hang(_host: str, _port: int) -> Sequence[str]:
        answering.wait()
        return []

    client = HttpClient(limit_s=LIMIT_S, private=True, resolve=hang)
    with pytest.raises(RequestNotSentError, match="timeout"):
        client.post(parse_url("http://example.com/"), b"", {})
    answering.set()


# Every spelling of an address of this machine or of its network that some parser, resolver or
# network takes for one. Those for 127.0.0.1 and ::1 would reach a server that listens.
SPELLINGS = [
    "127.0.0.1",
    "127.0.0.1.",
    "127.1",
    "127.0.1",
    "127.0.0.2",
    "127.255.255.254",
    "2130706433",
    "0x7f000001",
    "0x7F000001",
    "0x7f.0.0.1",
    "0x7f.0x0.0x0.0x1",
    "0x7f.1",
    "017700000001",
    "00000000000017700000001",
    "0177.0.0.1",
    "0177.0.0.01",
    "127.0.0.01",
    "0177.1",
    "0",
    "0.0.0.0",
    "0x0",
    "00",
    "0.0",
    "localhost",
    "localhost.",
    "LOCALHOST",
    "LocalHost",
    "[::1]",
    "[0:0:0:0:0:0:0:1]",
    "[0000:0000:0000:0000:0000:0000:0000:0001]",
    "[::0.0.0.1]",
    "[::]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7f00:1]",
    "[0:0:0:0:0:ffff:127.0.0.1]",
    "[::127.0.0.1]",
    "[::ffff:0.0.0.0]",
    "[::ffff:0:127.0.0.1]",
    "[64:ff9b::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[64:ff9b:1::7f00:1]",
    "[2002:7f00:1::]",
    "[2002:7f00:1::1]",
    "[2001::1]",
    "[2001:0:7f00:1::]",
    "[2001:0:0:0:0:0:80ff:fffe]",
    "[fe80::1]",
    "[fe80::5efe:127.0.0.1]",
    "[2606:4700::5efe:127.0.0.1]",
    "[fc00::1]",
    "[fd00:ec2::254]",
    "[fec0::1]",
    "[ff02::1]",
    "\u2460\u2461\u2466.\u24ea.\u24ea.\u2460",
    "\uff11\uff12\uff17.0.0.1",
    "127\u30020\u30020\u30021",
    "127\uff0e0\uff0e0\uff0e1",
    "1\u200b27.0.0.1",
    "127.0.0.1\u2060",
    "\u00ad127.0.0.1",
    "lo\u00adcalhost",
    "\u24dbocalhost",
    "\uff4cocalhost",
    "10.0.0.1",
    "10.1",
    "0xa.1",
    "167772161",
    "172.16.0.1",
    "192.168.0.1",
    "3232235521",
    "169.254.169.254",
    "2852039166",
    "0xa9fea9fe",
    "0251.0376.0251.0376",
    "[::ffff:169.254.169.254]",
    "[64:ff9b::a9fe:a9fe]",
    "[2002:a9fe:a9fe::]",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "168.63.129.16",
    "192.0.0.192",
    "198.18.0.1",
    "192.88.99.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "metadata.google.internal",
    "127.0.0.1.nip.io",
]


class Watched:
    """Listeners at every address of this machine on one port, and everybody who connected."""

    def __init__(self, stack: ExitStack) -> None:
        self.accepted: list[object] = []
        self.port = 0
        for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
            with suppress(OSError):
                server = stack.enter_context(socket.socket(family))
                if family == socket.AF_INET6:
                    server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                server.bind((address, self.port))
                self.port = server.getsockname()[1]
                server.listen()
                threading.Thread(target=self._accept, args=(server,), daemon=True).start()

    def _accept(self, server: socket.socket) -> None:
        with suppress(OSError):
            while True:
                connection, address = server.accept()
                self.accepted.append(address)
                connection.close()


@pytest.fixture(scope="module")
def watched() -> Iterator[Watched]:
    with ExitStack() as stack:
        yield Watched(stack)


def test_there_are_many_spellings(watched: Watched) -> None:
    """The table is as long as it should be, and what it guards could be reached."""
    assert len(set(SPELLINGS)) >= 60
    for host in ("127.0.0.1", "2130706433", "0x7f.1", "0", "localhost"):
        before = len(watched.accepted)
        refusal(f"http://{host}:{watched.port}/")  # it hangs up at once
        assert len(watched.accepted) == before + 1


@pytest.mark.parametrize("host", SPELLINGS, ids=ascii)
def test_no_spelling_is_connected_to(watched: Watched, host: str) -> None:
    """However an address is written, nobody connects to it: no socket is even asked to."""
    asked: list[object] = []

    def connect(address: str, port: int, _timeout_s: float) -> socket.socket:
        asked.append((address, port))
        raise OSError(errno.ECONNREFUSED, "refused")

    before = len(watched.accepted)
    for scheme in ("http", "https"):
        client = HttpClient(limit_s=5, private=False, connect=connect)
        try:
            destination = parse_url(f"{scheme}://{host}:{watched.port}/")
        except ValueError:
            continue
        with pytest.raises(RequestNotSentError) as caught:
            client.post(destination, b"", {})
        # Without a network, the names that lead to such addresses elsewhere are not found.
        assert caught.value.code in {"private_address", "dns", "timeout"}
    assert asked == []
    assert len(watched.accepted) == before


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["93.184.216.34", "127.0.0.1"],
        ["127.0.0.1", "93.184.216.34"],
        ["::1"],
        ["2606:4700::1111", "::ffff:10.0.0.1"],
        ["fe80::1%1"],
        [],
    ],
)
def test_a_name_with_such_an_address(watched: Watched, addresses: list[str]) -> None:
    """A name that leads to one is refused as a whole, whatever else it leads to."""
    before = len(watched.accepted)
    client = HttpClient(limit_s=5, private=False, resolve=lambda _host, _port: addresses)
    with pytest.raises(RequestNotSentError, match=r"private_address|dns"):
        client.post(parse_url(f"http://example.com:{watched.port}/"), b"", {})
    assert len(watched.accepted) == before


def test_a_name_that_changes_its_mind(watched: Watched) -> None:
    """A name server that answers publicly first and privately then is asked once."""
    answers = iter([["93.184.216.34"], ["127.0.0.1"], ["127.0.0.1"]])
    asked: list[str] = []
    connected: list[str] = []

    def look_up(host: str, _port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    def connect(address: str, _port: int, _timeout_s: float) -> socket.socket:
        connected.append(address)
        raise OSError(errno.ECONNREFUSED, "refused")

    before = len(watched.accepted)
    client = HttpClient(limit_s=5, private=False, resolve=look_up, connect=connect)
    for expected in ("connection", "private_address"):
        with pytest.raises(RequestNotSentError, match=expected):
            client.post(parse_url(f"http://example.com:{watched.port}/"), b"", {})
    assert asked == ["example.com"] * 2
    assert connected == ["93.184.216.34"]
    assert len(watched.accepted) == before


def test_no_proxy_is_used(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of the environment would look the name up again, and connect where it likes."""
    with receiving() as proxy:
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
        assert post(receiver.url).status == 204
        assert proxy.connections == 0


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for `hook.example` and its key, in one file."""
    path = tmp_path_factory.mktemp("tls") / "hook.pem"
    key = path.with_suffix(".key")
    subprocess.run(
        [
            *("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"),
            *("-subj", "/CN=hook.example", "-addext", "subjectAltName=DNS:hook.example"),
            *("-keyout", str(key), "-out", str(path)),
        ],
        check=True,
        capture_output=True,
    )
    path.write_text(path.read_text() + key.read_text())
    return path


@pytest.mark.parametrize(
    ("host", "trusted", "expected"),
    [
        ("hook.example", True, 204),
        ("hook.example.", True, 204),
        ("other.example", True, "tls"),  # the name is verified
        ("hook.example", False, "tls"),  # and so is who says so
        ("127.0.0.1", True, "tls"),
    ],
)
def test_tls(
    certificate: Path,
    host: str,
    *,
    trusted: bool,
    expected: int | str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The certificate must be the name's, whatever address the request goes to."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    asked_for: list[str | None] = []
    server.sni_callback = lambda _socket, name, _context: asked_for.append(name)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate) if trusted else "/dev/null")
    http_client.tls_context.cache_clear()
    client = HttpClient(limit_s=30, private=True, resolve=lambda *_: ["127.0.0.1"])
    with receiving(tls=server) as receiver:
        destination = parse_url(f"https://{host}:{receiver.port}/")
        if isinstance(expected, int):
            assert client.post(destination, b"{}", {}).status == expected
            assert receiver.requests[0].headers["host"] == f"{host}:{receiver.port}"
        else:
            with pytest.raises(RequestNotSentError, match=expected):
                client.post(destination, b"{}", {})
            assert receiver.requests == []
    assert asked_for == ([None] if host == "127.0.0.1" else [host.rstrip(".")])
    http_client.tls_context.cache_clear()


def test_plain_http_behind_https(receiver: Receiver) -> None:
    """A server that does not speak TLS gets nothing."""
    assert refusal(f"https://127.0.0.1:{receiver.port}/") in {"tls", "connection"}
    assert receiver.requests == []


def test_a_receiver_that_drips_tls() -> None:
    """The limit holds for the handshake, too."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = HttpClient(limit_s=LIMIT_S, private=True)
        url = f"https://127.0.0.1:{server.getsockname()[1]}/"
        with pytest.raises(RequestNotSentError, match="timeout"):
            client.post(parse_url(url), b"{}", {})


def test_the_next_address(receiver: Receiver) -> None:
    """If nobody is at the first address of a name, the next one is tried."""
    client = HttpClient(limit_s=30, private=True, resolve=lambda *_: ["127.0.0.2", "127.0.0.1"])
    assert client.post(parse_url(f"http://x.example:{receiver.port}/"), b"", {}).status == 204


def test_the_resolver() -> None:
    """It returns each address once, as a number."""
    assert "127.0.0.1" in resolve("127.1", 80)
    assert set(resolve("localhost", 80)) <= {"127.0.0.1", "::1"}


def test_nothing_is_left_open(receiver: Receiver) -> None:
    """Each request closes its connection, well or not."""
    receiver.behave = lambda handler: answer(handler, 200)
    for _ in range(3):
        post(receiver.url)
    # An open socket that nobody refers to would be a ResourceWarning, which is an error here.

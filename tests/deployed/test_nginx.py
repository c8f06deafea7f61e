"""nginx in front of the API: what one address may do, and how it is told."""

import json
import re
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from email.message import Message
from functools import partial
from http.client import HTTPSConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from chalicelib.accounts.rate_limits import LONG_POLLS_PER_NETWORK, REQUESTS_PER_ADDRESS
from chalicelib.errors import BodyTooLarge, RequestError, TooMany, Unavailable
from chalicelib.web import problems
from infra.local.stack import free_port
from infra.servers.gateway import MAX_BODY_BYTES
from infra.servers.serve import MOST_HELD
from tests.deployed.tls import self_signed
from tests.harness.processes import ROOT
from tests.harness.waiting import wait_until

SITE = (ROOT / "infra/servers/nginx.conf").read_text()
NGINX = shutil.which(
    "nginx", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin:/opt/homebrew/bin"
)
LONGEST_POLL_S = 20
HSTS = "max-age=31536000"
"""So long, in seconds, a browser that was here once comes by TLS alone."""

needs_nginx = pytest.mark.skipif(not NGINX, reason="nginx is not here")


def given(pattern: str) -> int:
    """The number that the site gives somewhere."""
    (found,) = re.findall(pattern, SITE)
    return int(found)


def test_the_numbers_are_those_of_the_application() -> None:
    """Nobody is refused here whom the API would let in for long, and one address is not all."""
    at_a_time = given(r"limit_conn carryout_polls (\d+);")
    assert LONG_POLLS_PER_NETWORK < at_a_time < MOST_HELD / 8
    per_second = REQUESTS_PER_ADDRESS.most / REQUESTS_PER_ADDRESS.window_s
    assert given(r"rate=(\d+)r/s") == per_second
    assert given(r"burst=(\d+) ") <= REQUESTS_PER_ADDRESS.most
    assert given(r"client_max_body_size (\d+)m") * 1024 * 1024 == MAX_BODY_BYTES
    assert given(r"proxy_read_timeout (\d+)s") > LONGEST_POLL_S


REFUSALS = (TooMany(1), BodyTooLarge(), Unavailable())


@pytest.mark.parametrize("error", REFUSALS, ids=lambda error: error.code)
def test_a_refusal_is_the_applications(error: RequestError) -> None:
    """The document and its headers are what the API answers itself, with an id of nginx's own."""
    answer = problems.render(error)
    (place,) = (one for one in SITE.split("location ") if f"return {answer.status} '" in one)
    (document,) = re.findall(r"return \d+ '(.+)';", place)
    assert json.loads(document.replace("\\'", "'")) == json.loads(answer.body)
    for name, value in answer.headers.items():
        line = f"default_type {value};" if name == "Content-Type" else f"{name} {value} always;"
        assert line in place
    assert "add_header X-Request-Id $request_id always;" in place
    assert re.search(rf"error_page [\d =]+ {place.split()[0]};", SITE)


class Held:
    """A server that holds every request to /held until it is told to let go."""

    def __init__(self) -> None:
        self.let_go = threading.Event()
        self.holding = threading.Semaphore(0)
        held = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                if self.path == "/held":
                    held.holding.release()
                    held.let_go.wait(30)
                body = self.headers["X-Forwarded-For"].encode()
                self.send_response(429 if self.path == "/429" else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def held() -> Iterator[Held]:
    held = Held()
    yield held
    held.let_go.set()
    held.server.shutdown()
    held.server.server_close()


@pytest.fixture
def site(tmp_path: Path, held: Held) -> Iterator[int]:
    """The site with another port and certificate; yields the port."""
    port, certificate = free_port(), self_signed(tmp_path)
    text = SITE.replace("listen 443", f"listen 127.0.0.1:{port}")
    text = text.replace("listen 80", f"listen 127.0.0.1:{free_port()}")
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{held.server.server_port}")
    text = re.sub(r"(ssl_certificate(?:_key)?) .*;", rf"\1 {certificate};", text)
    temporary = "\n".join(
        f"{name}_temp_path {tmp_path / name};"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = tmp_path / "nginx.conf"
    configuration.write_text(
        f"daemon off; master_process off; pid {tmp_path / 'pid'}; events {{}}\n"
        f"http {{ access_log off; {temporary}\n{text}\n}}"
    )
    command = [str(NGINX), "-c", str(configuration), "-e", str(tmp_path / "error.log")]
    subprocess.run([*command, "-t"], check=True, capture_output=True)
    with subprocess.Popen(command) as nginx:
        try:
            wait_until(partial(answers, port), "nginx answers")
            yield port
        finally:
            nginx.terminate()


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Message
    text: str


def ask(port: int, path: str = "/", body: bytes | None = None) -> Answer:
    """Send a request on a connection of its own."""
    context = ssl._create_unverified_context()  # the tests' own certificate
    connection = HTTPSConnection("127.0.0.1", port, timeout=30, context=context)
    method = "GET" if body is None else "POST"
    connection.request(method, path, body, {"X-Forwarded-For": "192.0.2.1"})
    answer = connection.getresponse()
    told = Answer(answer.status, answer.headers, answer.read().decode())
    connection.close()
    return told


def answers(port: int) -> bool:
    try:
        return ask(port).status == 200
    except OSError:
        return False


@needs_nginx
def test_one_address_holds_so_many_requests(site: int, held: Held) -> None:
    """One more is refused with a problem document, and let in again when another one is over."""
    most = given(r"limit_conn carryout_polls (\d+);")
    with ThreadPoolExecutor(most) as pool:
        waiting = [pool.submit(ask, site, "/held") for _ in range(most)]
        for _ in waiting:
            assert held.holding.acquire(timeout=30)
        refused = ask(site)
        held.let_go.set()
        assert {one.result().status for one in waiting} == {200}
    assert refused.status == 429
    assert refused.headers["Content-Type"] == "application/problem+json"
    assert refused.headers["Retry-After"] == "1"
    assert refused.headers["Strict-Transport-Security"] == HSTS
    assert refused.headers["X-Request-Id"]
    assert json.loads(refused.text)["code"] == "too_many_requests"
    wait_until(partial(answers, site), "it is let in again")


@needs_nginx
def test_what_nginx_refuses_itself(site: int, held: Held) -> None:
    """A body that is too large, and an API that is away, are told as the API would."""
    answer = ask(site, body=b"x" * (MAX_BODY_BYTES + 1))
    assert (answer.status, json.loads(answer.text)["code"]) == (413, "body_too_large")
    held.server.shutdown()
    held.server.server_close()
    assert answer.headers["Strict-Transport-Security"] == HSTS
    answer = ask(site)
    assert (answer.status, answer.headers["Retry-After"]) == (503, "5")
    assert answer.headers["Strict-Transport-Security"] == HSTS
    assert json.loads(answer.text)["detail"] == Unavailable().detail
    assert answer.headers["X-Request-Id"]


@needs_nginx
def test_one_address_asks_so_often(site: int) -> None:
    """A burst is let in without waiting, a flood is not; what the API says itself passes."""
    passed = ask(site, "/429")
    assert (passed.text, passed.headers["Strict-Transport-Security"]) == ("127.0.0.1", HSTS)
    most = given(r"burst=(\d+) ") + 100
    found: list[int] = []
    with ThreadPoolExecutor(8) as pool:
        while 429 not in found and len(found) < 10 * most:  # a slow machine takes longer to flood
            found += [one.status for one in pool.map(partial(ask, site), ["/"] * most)]
    assert found[:100] == [200] * 100
    assert 429 in found

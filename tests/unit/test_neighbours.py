from collections.abc import Iterable
from typing import Any

import pytest

from infra.local.neighbours import Neighbours


def application(_environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
    start_response("200 OK", [])
    return [b"secret"]


def ask(**headers: str) -> tuple[str, bytes]:
    """What a request with these headers is answered."""
    statuses: list[str] = []
    environ = {"REQUEST_METHOD": "GET", **{f"HTTP_{name}": of for name, of in headers.items()}}
    body = b"".join(Neighbours(application)(environ, lambda status, _: statuses.append(status)))
    return statuses[0], body


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1:5000", "[::1]:5000", "localhost:8025", "aws.localhost:5000", "emulator:5000", "a"],
)
def test_who_is_let_through(host: str) -> None:
    """Programs that call by address or by a name that is nobody's, and pages from here."""
    assert ask(HOST=host) == ("200 OK", b"secret")
    assert ask(HOST=host, ORIGIN=f"http://{host}") == ("200 OK", b"secret")
    assert ask() == ("200 OK", b"secret")


@pytest.mark.parametrize(
    "headers",
    [
        {"HOST": "127.0.0.1:5000", "ORIGIN": "https://evil.example"},
        {"HOST": "127.0.0.1:5000", "ORIGIN": "http://127.0.0.1:8000"},
        {"HOST": "127.0.0.1:5000", "ORIGIN": "null"},
        {"HOST": "evil.example:5000"},
        {"HOST": "evil.example:5000", "ORIGIN": "http://evil.example:5000"},
        {"HOST": "127.0.0.1.evil.example"},
        {"HOST": "evil.example."},
        {"HOST": "[nonsense"},
    ],
    ids=str,
)
def test_who_is_not(headers: dict[str, str]) -> None:
    """Other sites' scripts, under their own name or under one that they had point here."""
    status, body = ask(**headers)
    assert status == "403 Forbidden"
    assert b"secret" not in body

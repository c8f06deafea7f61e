"""A SHA-256 that is put aside and taken up again."""

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.export import digest
from worker.export.digest import STATE_BYTES, sha256, taken_up


@given(st.lists(st.binary(max_size=200), max_size=8))
def test_put_aside_after_any_bytes(pieces: list[bytes]) -> None:
    """Wherever it was put aside, it ends as if it never was."""
    running = sha256()
    for piece in pieces:
        running.update(piece)
        again = taken_up(running.state())
        assert again is not None
        running = again
    assert running.hexdigest() == hashlib.sha256(b"".join(pieces)).hexdigest()


def test_a_look_at_it_changes_nothing() -> None:
    """Neither its digest nor its state ends it."""
    running = sha256()
    running.update(b"some")
    assert running.hexdigest() == running.hexdigest() == hashlib.sha256(b"some").hexdigest()
    assert running.state() == running.state()
    running.update(b"thing")
    assert running.hexdigest() == hashlib.sha256(b"something").hexdigest()


def test_more_than_two_to_the_32_bits() -> None:
    """Its count of bits goes on where 32 of them end."""
    running, known, block = sha256(), hashlib.sha256(), bytes(1 << 24)
    for _ in range(33):
        running.update(block)
        known.update(block)
    again = taken_up(running.state())
    assert again is not None
    again.update(b"x")
    known.update(b"x")
    assert again.hexdigest() == known.hexdigest()


@pytest.mark.parametrize("state", [None, "", "no base64!", base64.b64encode(b"short").decode()])
def test_no_state(state: str | None) -> None:
    """A checkpoint of older code, or a broken one: then nothing is taken up."""
    assert STATE_BYTES == 112
    assert taken_up(state) is None


def test_without_openssl(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Python that hides its OpenSSL makes the same digests, and cannot put them aside."""
    state = sha256().state()
    monkeypatch.setattr(digest, "_openssl", lambda: None)
    running = sha256()
    running.update(b"some")
    assert running.hexdigest() == hashlib.sha256(b"some").hexdigest()
    assert running.state() is None
    assert taken_up(state) is None

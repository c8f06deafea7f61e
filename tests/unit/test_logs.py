import json
import logging
import sys
from collections.abc import Iterator
from io import StringIO
from typing import Any

import pytest

from chalicelib import logs
from chalicelib.logs import JsonFormatter, TextFormatter


@pytest.fixture(autouse=True)
def root_as_it_was() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level


def written(log_format: str, monkeypatch: pytest.MonkeyPatch, **options: Any) -> str:
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure(log_format)
    logging.getLogger("carryout.test").warning("it went %s", "wrong", **options)
    return stream.getvalue()


def test_json_is_one_object_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line holds when, how bad, who, what, and the facts; line ends in them are escaped."""
    extra = {"action": "try", "task_id": "a\nb", "duration_s": 1.5, "other": {1}}
    line = written("json", monkeypatch, extra=extra)
    assert line.count("\n") == 1
    facts = json.loads(line)
    assert facts.pop("time").endswith("Z")
    assert facts == {
        "level": "WARNING",
        "logger": "carryout.test",
        "message": "it went wrong",
        "action": "try",
        "task_id": "a\nb",
        "duration_s": 1.5,
        "other": "{1}",
    }


def raise_something() -> None:
    """Raise an error that says too much, because of another one."""
    try:
        int("cause: what susan wrote")
    except ValueError as error:
        raise LookupError("message: what susan wrote") from error


@pytest.mark.parametrize("log_format", ["json", "text"])
def test_no_message_of_an_exception(log_format: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """An exception is its type and its places: messages hold what users wrote."""
    try:
        raise_something()
    except LookupError:
        line = written(log_format, monkeypatch, exc_info=True)
    assert "susan" not in line
    assert "LookupError" in line
    assert "test_logs.py" in line
    assert "raise_something" in line


def test_text_is_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line of text begins with the time and ends with the facts."""
    line = written("text", monkeypatch, extra={"action": "try"})
    time, level, rest = line.split(maxsplit=2)
    assert len(time) == len("12:34:56.789")
    assert (level, rest) == ("WARNING", "it went wrong  action=try\n")


def test_libraries_are_quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """What RQ and boto say at every turn is left out."""
    stream = StringIO()
    monkeypatch.setattr(sys, "stderr", stream)
    logs.configure("json")
    for name in ("rq.worker", "botocore.auth", "alembic.runtime"):
        logging.getLogger(name).info("chatter")
    assert stream.getvalue() == ""


def test_messages_of_exceptions_are_told_where_they_help() -> None:
    """On a developer's machine, and nowhere else, a line says what an exception said."""
    error = ValueError("what somebody wrote")
    raised = (ValueError, error, None)
    record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), raised)
    for formatter in (JsonFormatter, TextFormatter):
        assert "what somebody wrote" not in formatter().format(record)
        assert "ValueError: what somebody wrote" in formatter(exceptions=True).format(record)

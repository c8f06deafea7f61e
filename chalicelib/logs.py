"""Log lines: one JSON object each for machines, or text for people.

What users wrote never gets into a line: an exception is logged as its type and the places it came
through, without its message; but on a developer's machine, where the message is what helps. Lines
that carry `metrics` are what CloudWatch makes metrics of.
"""

import json
import logging
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

NAMESPACE = "Carryout"

_bound: ContextVar[Mapping[str, str]] = ContextVar("bound", default=MappingProxyType({}))

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


@contextmanager
def bound(**facts: str | None) -> Iterator[None]:
    """Put facts into every line that is written inside, by this thread; None is left out."""
    known = {name: value for name, value in facts.items() if value is not None}
    token = _bound.set({**_bound.get(), **known})
    try:
        yield
    finally:
        _bound.reset(token)


def request_id() -> str | None:
    """The request that this thread works for, to be handed on with a job."""
    return _bound.get().get("request_id")


def metrics(values: Mapping[str, tuple[float, str]], **dimensions: str) -> dict[str, Any]:
    """What goes into a line's `extra` so that CloudWatch counts (the embedded metric format).

    https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html

    Args:
        values: Numbers and CloudWatch's units of them, by name.
        dimensions: What they are told apart by; few different values, for each costs money.
    """
    directive = {
        "Namespace": NAMESPACE,
        "Dimensions": [list(dimensions)],
        "Metrics": [{"Name": name, "Unit": unit} for name, (_, unit) in values.items()],
    }
    about = {"Timestamp": time.time_ns() // 1_000_000, "CloudWatchMetrics": [directive]}
    return {**dimensions, **{name: value for name, (value, _) in values.items()}, "_aws": about}


class _Formatter(logging.Formatter):
    """What the formats have in common.

    Args:
        exceptions: Whether an exception's message is told, too.
    """

    def __init__(self, *, exceptions: bool = False) -> None:
        super().__init__()
        self._exceptions = exceptions

    def facts(self, record: logging.LogRecord) -> dict[str, Any]:
        """What a line tells, by name."""
        facts = _facts(record)
        if self._exceptions and record.exc_info and record.exc_info[1] is not None:
            facts["error"] += f": {record.exc_info[1]}"
        return facts


class JsonFormatter(_Formatter):
    """One JSON object a line: time, level, logger, message, and the facts in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        return json.dumps(self.facts(record), default=str)


class TextFormatter(_Formatter):
    """Time, level, message, and the facts behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        facts = self.facts(record)
        facts.pop("_aws", None)
        head = [facts.pop(name) for name in ("time", "level", "logger", "message")]
        stack = facts.pop("stack", [])
        rest = " ".join(f"{name}={value}" for name, value in facts.items())
        line = f"{head[0][11:23]} {head[1]:<7} {head[3]}  {rest}".rstrip()
        return "\n  ".join([line, *stack])


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    moment = datetime.fromtimestamp(record.created, UTC)
    facts: dict[str, Any] = {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage(),
    }
    facts |= _bound.get()
    facts |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if record.exc_info and record.exc_info[0] is not None:
        facts["error"] = record.exc_info[0].__name__
        frames = traceback.extract_tb(record.exc_info[2])
        facts["stack"] = [f"{one.filename}:{one.lineno} in {one.name}" for one in frames]
    return facts


def configure(log_format: str, *, exceptions: bool = False, file: str | None = None) -> None:
    """Log to standard error from now on.

    Args:
        log_format: `json` or `text`.
        exceptions: Whether the messages of exceptions are logged, which may hold what users wrote.
        file: A file that gets the same lines, always as JSON; another one of its name is taken
            when it has been moved, as logrotate does.
    """
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    formatter = JsonFormatter if log_format == "json" else TextFormatter
    handlers[0].setFormatter(formatter(exceptions=exceptions))
    if file is not None:
        from logging.handlers import WatchedFileHandler  # noqa: PLC0415 - no cold start pays for it

        handlers.append(WatchedFileHandler(file, encoding="utf-8", delay=True))
        handlers[1].setFormatter(JsonFormatter(exceptions=exceptions))
    logging.basicConfig(level=logging.INFO, handlers=handlers, force=True)
    for name in ("rq.worker", "rq.job", "rq.queue", "botocore", "boto3", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)


LOOKED_AT_BYTES = 8 * 1024 * 1024
"""How much of the end of a log is looked through."""


def lines_about(file: str, task_id: str, *, most: int) -> list[dict[str, Any]]:
    """The last lines of a log about a task, the oldest first; none where there is no log."""
    path = Path(file)
    if not path.is_file():
        return []
    with path.open("rb") as log:
        log.seek(max(0, path.stat().st_size - LOOKED_AT_BYTES))
        found = [line for line in log if task_id.encode() in line]
    return [facts for line in found[-most:] if (facts := _read(line)).get("task_id") == task_id]


def _read(line: bytes) -> dict[str, Any]:
    try:
        facts = json.loads(line)
    except ValueError:  # it is being written, or its beginning was not looked at
        return {}
    return facts if isinstance(facts, dict) else {}

"""Log lines: one JSON object each for machines, or text for people.

What users wrote never gets into a line: an exception is logged as its type and the places it came
through, without its message.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message"}


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and the facts in `extra`."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        return json.dumps(_facts(record), default=str)


class TextFormatter(logging.Formatter):
    """Time, level, message, and the facts behind it."""

    def format(self, record: logging.LogRecord) -> str:
        """Write a record."""
        facts = _facts(record)
        head = [facts.pop(name) for name in ("time", "level", "logger", "message")]
        stack = facts.pop("stack", [])
        rest = " ".join(f"{name}={value}" for name, value in facts.items())
        line = f"{head[0][11:23]} {head[1]:<7} {head[3]}  {rest}".rstrip()
        return "\n  ".join([line, *stack])


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    time = datetime.fromtimestamp(record.created, UTC)
    facts: dict[str, Any] = {
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": record.levelname,
        "logger": record.name,
        "message": record.getMessage(),
    }
    facts |= {name: value for name, value in vars(record).items() if name not in _STANDARD}
    if record.exc_info and record.exc_info[0] is not None:
        facts["error"] = record.exc_info[0].__name__
        frames = traceback.extract_tb(record.exc_info[2])
        facts["stack"] = [f"{one.filename}:{one.lineno} in {one.name}" for one in frames]
    return facts


def configure(log_format: str) -> None:
    """Log to standard error from now on.

    Args:
        log_format: `json` or `text`.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if log_format == "json" else TextFormatter())
    logging.basicConfig(level=logging.INFO, handlers=[handler], force=True)
    for name in ("rq.worker", "rq.job", "rq.queue", "botocore", "boto3", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)

"""Every call that a process makes to SQL, Redis, S3, SES and receivers: listed, or gone wrong.

Installed in a child process that was forked for one run, so nothing is ever put back.
"""

import os
import re
import signal
import sqlite3
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psycopg
import redis
import sqlalchemy as sa
from botocore.awsrequest import AWSResponse
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from botocore.httpsession import URLLib3Session
from redis.client import Pipeline

from worker.outbox.http_client import HttpAnswer, HttpClient, RequestNotSentError

Kind = Literal["sql", "redis", "s3", "ses", "hook"]
Fault = Literal[
    "die before", "die after", "stall", "refused", "lost", "lost once", "500", "429", "400"
]

FAULTS: dict[Kind, tuple[Fault, ...]] = {
    "sql": ("die before", "die after", "stall", "refused", "lost"),
    "redis": ("die before", "die after", "stall", "refused", "lost"),
    "s3": ("die before", "die after", "stall", "refused", "lost", "lost once", "500"),
    "ses": ("die before", "die after", "stall", "refused", "lost", "500", "429", "400"),
    "hook": ("die before", "die after", "stall", "refused", "lost", "500"),
}
"""What can go wrong with a call. `refused` had no effect, `lost` had it and nobody heard; `stall`
stops the process before the call until somebody continues it, as a zombie.
"""

ASKED = 3
"""How often the client of S3 asks until it gives up."""

ENDS = {"do_commit", "do_rollback"}
"""Where there is no transaction to end, the driver says nothing to the database: that is no call.
SQLAlchemy ends transactions also where each statement is one, and as a connection goes back to the
pool.
"""

CODES = {"500": "InternalError", "429": "TooManyRequestsException", "400": "MessageRejected"}


@dataclass(frozen=True)
class Call:
    """A call.

    Attributes:
        thread: The name of the thread that makes it.
        kind: Whom it goes to.
        what: What is asked, shortly.
        number: Which one it is of those that the thread makes and that are called so, from 1.
    """

    thread: str
    kind: Kind
    what: str
    number: int

    def is_to(self, whom: str) -> bool:
        """Whether it goes there; kind and what."""
        return f"{self.kind} {self.what}" == whom

    def __str__(self) -> str:
        return f"{self.thread} {self.number} {self.kind} {self.what}"


@dataclass(frozen=True)
class Plan:
    call: Call
    fault: Fault

    @property
    def times(self) -> int:
        """How many calls in a row go wrong: the client of S3 asks again."""
        again = self.call.kind == "s3" and self.fault in {"refused", "lost", "500"}
        return ASKED if again else 1

    def __str__(self) -> str:
        return f"{self.call}: {self.fault}"


@dataclass(frozen=True)
class Ways:
    """How a call is done, and the errors that are natural for it."""

    do: Callable[[], Any]
    refused: Callable[[], Exception]
    lost: Callable[[], Exception]
    answer: Callable[[str], Any] | None = None


@dataclass
class Calls:
    """Sees every call, and lets the planned one go wrong.

    Attributes:
        plan: The call and its fault; None lets all pass.
        midway: Called before each call to S3, SES or a receiver, with kind and what; may raise.
        met: Called when the planned call is about to be made.
        seen: All calls so far.
    """

    plan: Plan | None = None
    midway: Callable[[str], None] = lambda _what: None
    met: Callable[[], None] = lambda: None
    seen: list[Call] = field(default_factory=list)
    _counts: Counter[tuple[str, Kind, str]] = field(default_factory=Counter)
    _paused_by: int | None = None
    _left: int = 0

    def make(self, kind: Kind, what: str, ways: Ways) -> Any:
        """Make a call, or what the plan wants instead."""
        if self._paused_by == threading.get_ident():
            return ways.do()
        name = threading.current_thread().name, kind, what
        self._counts[name] += 1
        call = Call(*name, self._counts[name])
        self.seen.append(call)
        if kind in {"s3", "ses", "hook"}:
            self.midway(f"{kind} {what}")
        if self.plan is None or not self._is_planned(self.plan, call):
            return ways.do()
        self.met()
        return _go_wrong(self.plan.fault, ways)

    def _is_planned(self, plan: Plan, call: Call) -> bool:
        """Whether it is the planned call, or the client asking again right after it."""
        if call == plan.call:
            self._left = plan.times
        elif call.thread == plan.call.thread and call.what != plan.call.what:
            self._left = 0
        mine = (call.thread, call.what) == (plan.call.thread, plan.call.what)
        if not (mine and self._left):
            return False
        self._left -= 1
        return True

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let calls of this thread pass unseen."""
        self._paused_by = threading.get_ident()
        try:
            yield
        finally:
            self._paused_by = None

    def install(self, engine: sa.Engine) -> None:
        _install_sql(self, engine.dialect)
        _install_redis(self)
        _install_aws(self)
        _install_hooks(self)


def _go_wrong(fault: Fault, ways: Ways) -> Any:
    if fault == "stall":
        os.kill(os.getpid(), signal.SIGSTOP)
        return ways.do()
    if fault == "refused":
        raise ways.refused()
    if fault in CODES and ways.answer:
        return ways.answer(fault)
    if fault != "die before":
        ways.do()
    if fault.startswith("lost"):
        raise ways.lost()
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


def _install_sql(calls: Calls, dialect: Any) -> None:
    """Between SQLAlchemy and the driver: what becomes of an error is SQLAlchemy's own doing."""

    def wrap(name: str, describe: Callable[..., str]) -> None:
        original = getattr(dialect, name)

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if name in ENDS and not _in_transaction(args[0]):
                return original(*args, **kwargs)

            def error() -> Exception:
                return _sql_error(dialect, args)

            ways = Ways(lambda: original(*args, **kwargs), error, error)
            return calls.make("sql", describe(*args), ways)

        setattr(dialect, name, wrapped)

    for name in ("connect", "do_ping", "do_commit", "do_rollback"):
        wrap(name, lambda *_args, name=name: name.removeprefix("do_").upper())
    for name in ("do_execute", "do_executemany", "do_execute_no_params"):
        wrap(name, lambda _cursor, statement, *_args: _shorten(statement))


def _in_transaction(connection: Any) -> bool:
    """Whether the driver has anything to say to the database at the end of a transaction."""
    driver = getattr(connection, "driver_connection", connection)
    if isinstance(driver, sqlite3.Connection):
        return driver.in_transaction
    if isinstance(driver, psycopg.Connection):
        return driver.info.transaction_status != psycopg.pq.TransactionStatus.IDLE
    return True  # a pipeline, whose COMMIT is a statement like others


def _sql_error(dialect: Any, args: tuple[Any, ...]) -> Exception:
    """What the driver raises when the server is gone; the connection is as it is then."""
    if dialect.name == "sqlite":
        return sqlite3.OperationalError("disk I/O error")
    if args:
        connection = getattr(args[0], "connection", args[0])
        getattr(connection, "driver_connection", connection).close()
    return psycopg.OperationalError("server closed the connection unexpectedly")


def _shorten(statement: str) -> str:
    """The verb and the table."""
    match = re.search(r"\b(?:FROM|INTO|UPDATE)\s+(\w+)", statement)
    return " ".join([statement.split(maxsplit=1)[0], *(match.groups() if match else ())])


def _install_redis(calls: Calls) -> None:
    def wrap(owner: Any, name: str, describe: Callable[..., str]) -> None:
        original = getattr(owner, name)

        def wrapped(self: Any, *args: Any, **kwargs: Any) -> Any:
            ways = Ways(lambda: original(self, *args, **kwargs), _no_redis, _no_redis)
            return calls.make("redis", describe(self, *args), ways)

        setattr(owner, name, wrapped)

    wrap(redis.Redis, "execute_command", lambda _self, *args: str(args[0]))
    wrap(Pipeline, "execute", lambda _self, *_args: "pipeline")


def _no_redis() -> Exception:
    return redis.ConnectionError("Connection closed by server.")


def _install_aws(calls: Calls) -> None:
    original = URLLib3Session.send

    def send(self: Any, request: Any) -> Any:
        url = request.url
        ways = Ways(
            lambda: original(self, request),
            lambda: EndpointConnectionError(endpoint_url=url),
            lambda: ReadTimeoutError(endpoint_url=url),
            lambda status: _answer(url, status),
        )
        kind: Kind = "ses" if "outbound-emails" in url else "s3"
        return calls.make(kind, _operation(request.method, url), ways)

    URLLib3Session.send = send


def _install_hooks(calls: Calls) -> None:
    original = HttpClient.post

    def post(self: Any, *args: Any) -> Any:
        ways = Ways(
            lambda: original(self, *args),
            lambda: RequestNotSentError("connection"),
            lambda: RequestNotSentError("timeout"),
            lambda status: HttpAnswer(int(status)),
        )
        return calls.make("hook", "POST", ways)

    HttpClient.post = post  # type: ignore[assignment, method-assign]


def _operation(method: str, url: str) -> str:
    """The method, and what tells S3's operations apart."""
    match = re.search(r"[?&](uploads|partNumber=\d+|list-type|delete)\b", url)
    match = match or re.search(r"[?&](uploadId)\b", url)
    return " ".join([method, *(match.groups() if match else ())])


class _Body:
    """The rest of an answer, as botocore reads it."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def stream(self, *_args: Any, **_kwargs: Any) -> Any:
        yield self._data


def _answer(url: str, status: str) -> AWSResponse:
    code = CODES[status]
    if "outbound-emails" in url:
        headers, body = {"x-amzn-ErrorType": code}, b'{"message": "no"}'
    else:
        headers, body = {}, f"<Error><Code>{code}</Code></Error>".encode()
    return AWSResponse(url, int(status), headers, _Body(body))

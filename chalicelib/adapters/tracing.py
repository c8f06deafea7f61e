"""Traces: spans in OpenTelemetry's data model, and the W3C context that ties them together.

Off unless a tracer is configured: then nothing is a root, so `span` finds no parent, and costs the
look into a context variable. OpenTelemetry's own SDK is no help here: its batches wait in threads,
which a forked work horse does not inherit and a frozen Lambda function does not run, and it takes
a dozen packages. Attributes are ids, names of kinds, counts and sizes; nothing that people wrote.
"""

import re
import secrets
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import IntEnum

TRACEPARENT = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-([0-9a-f]{2})")
"""https://www.w3.org/TR/trace-context/#traceparent-header"""

BATCH = 500
"""So many spans are exported together; also how many an attempt that dies can lose."""

MOST_SPANS = 5000
"""Of one root; a larger export reads more pages than anybody looks at."""

Value = str | int | float | bool


class Kind(IntEnum):
    """What a span is to its neighbours, by OTLP's numbers."""

    INTERNAL = 1
    SERVER = 2
    CLIENT = 3
    PRODUCER = 4
    CONSUMER = 5


@dataclass
class Span:
    """Something that took a while.

    Attributes:
        name: What it was, one of few.
        trace_id: 32 hexadecimal digits.
        span_id: 16 hexadecimal digits.
        parent_id: Those of the span that it is a part of; None for the first of a trace.
        started_ns: When it began, in nanoseconds since 1970.
        ended_ns: When it ended; 0 while it goes on.
        attributes: What is known of it.
        error: The type of the exception that ended it.
    """

    recorder: "Recorder"
    name: str
    kind: Kind
    trace_id: str
    span_id: str
    parent_id: str | None
    started_ns: int
    ended_ns: int = 0
    attributes: dict[str, Value] = field(default_factory=dict)
    error: str | None = None

    @property
    def traceparent(self) -> str:
        """How others name it as their parent."""
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.recorder.sampled else '00'}"


Export = Callable[[Sequence[Span]], None]
"""Takes spans that are over; it raises nothing when it cannot get rid of them."""


@dataclass(frozen=True)
class Tracer:
    """What begins traces.

    Attributes:
        export: Where spans go.
    """

    export: Export


@dataclass
class Recorder:
    """The spans of one root that are over and not exported yet.

    Attributes:
        sampled: Whether anybody wants them: who began the trace has decided.
    """

    export: Export
    sampled: bool = True
    spans: list[Span] = field(default_factory=list)
    seen: int = 0

    def add(self, span: Span) -> None:
        """Take a span that is over."""
        self.seen += 1
        if self.sampled and self.seen <= MOST_SPANS:
            self.spans.append(span)
        if len(self.spans) >= BATCH:
            self.flush()

    def end(self, root: Span) -> None:
        """Export what is left, and the root in any case."""
        if self.seen > MOST_SPANS:
            root.attributes["carryout.spans.left_out"] = self.seen - MOST_SPANS
        if self.sampled:
            self.spans.append(root)
            self.flush()

    def flush(self) -> None:
        """Export what is there."""
        spans, self.spans = self.spans, []
        self.export(spans)


_current: ContextVar[Span | None] = ContextVar("span", default=None)


@contextmanager
def root(
    tracer: Tracer | None,
    name: str,
    *,
    kind: Kind,
    parent: str | None = None,
    **attributes: Value,
) -> Iterator[None]:
    """Begin what this process does for a trace, and export its spans at the end.

    Args:
        tracer: None where nobody wants traces.
        name: What it is.
        kind: What it is to its parent.
        parent: A `traceparent` that came from elsewhere; a bad one counts as none.
        attributes: Dots in their names are written as `__`.
    """
    if tracer is None:
        yield
        return
    found = TRACEPARENT.fullmatch(parent or "")
    trace_id, parent_id = (found[1], found[2]) if found else (secrets.token_hex(16), None)
    sampled = found is None or bool(int(found[3], 16) & 1)
    recorder = Recorder(tracer.export, sampled)
    span = _begin(recorder, name, kind, attributes, trace_id=trace_id, parent_id=parent_id)
    try:
        with _inside(span):
            yield
    finally:
        recorder.end(span)


@contextmanager
def span(name: str, *, kind: Kind = Kind.INTERNAL, **attributes: Value) -> Iterator[None]:
    """Do something as a part of the span that goes on, if one does."""
    parent = _current.get()
    if parent is None:
        yield
        return
    child = _part_of(parent, name, kind, attributes)
    try:
        with _inside(child):
            yield
    finally:
        parent.recorder.add(child)


def record(name: str, *, took_s: float, **attributes: Value) -> None:
    """Note something that is over now, as a part of the span that goes on, if one does."""
    parent = _current.get()
    if parent is None:
        return
    child = _part_of(parent, name, Kind.INTERNAL, attributes)
    child.ended_ns = child.started_ns
    child.started_ns -= int(took_s * 1e9)
    parent.recorder.add(child)


def annotate(**attributes: Value) -> None:
    """Add to what is known of the span that goes on, if one does."""
    going_on = _current.get()
    if going_on is not None:
        going_on.attributes.update(_dotted(attributes))


def traceparent() -> str | None:
    """The span that goes on, to be handed on; None if there is none."""
    going_on = _current.get()
    return None if going_on is None else going_on.traceparent


def _part_of(parent: Span, name: str, kind: Kind, attributes: dict[str, Value]) -> Span:
    ids = {"trace_id": parent.trace_id, "parent_id": parent.span_id}
    return _begin(parent.recorder, name, kind, attributes, **ids)


def _begin(
    recorder: Recorder,
    name: str,
    kind: Kind,
    attributes: dict[str, Value],
    *,
    trace_id: str,
    parent_id: str | None,
) -> Span:
    return Span(
        recorder,
        name,
        kind,
        trace_id,
        secrets.token_hex(8),
        parent_id,
        time.time_ns(),
        attributes=_dotted(attributes),
    )


def _dotted(attributes: dict[str, Value]) -> dict[str, Value]:
    return {name.replace("__", "."): value for name, value in attributes.items()}


@contextmanager
def _inside(span: Span) -> Iterator[None]:
    """Make a span the one that goes on, and note when and how it ends."""
    token, started = _current.set(span), time.perf_counter_ns()
    try:
        yield
    except BaseException as error:
        span.error = type(error).__name__  # its message may hold what people wrote
        raise
    finally:
        # The wall clock may be set meanwhile; a span must not end before it began.
        span.ended_ns = span.started_ns + time.perf_counter_ns() - started
        _current.reset(token)

"""Spans: their tree, their context, and what becomes of them when nobody takes them."""

import json
import logging
import re
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chalicelib.adapters import trace_exporters, tracing
from chalicelib.adapters.trace_exporters import HttpExporter, make_tracer
from chalicelib.adapters.tracing import BATCH, MOST_SPANS, Kind, Span, Tracer, root, span
from infra.local.stack import free_port
from tests.harness import traces
from tests.harness.processes import output
from tests.harness.receivers import receiving


class Exported:
    """Where spans end up in these tests."""

    def __init__(self) -> None:
        self.batches: list[list[Span]] = []
        self.tracer = Tracer(lambda spans: self.batches.append(list(spans)))

    @property
    def spans(self) -> dict[str, Span]:
        return {span.name: span for batch in self.batches for span in batch}


def test_spans_form_a_tree() -> None:
    """What happens inside a span is its child, and the root comes last."""
    exported = Exported()
    with root(exported.tracer, "request", kind=Kind.SERVER, http__route="/x"):
        with span("outer"):
            tracing.record("inner", took_s=0.25, carryout__rows=3)
        tracing.annotate(http__response__status_code=202)
    found = exported.spans
    assert list(found) == ["inner", "outer", "request"]
    assert found["inner"].parent_id == found["outer"].span_id
    assert found["outer"].parent_id == found["request"].span_id
    assert found["request"].parent_id is None
    assert len({one.trace_id for one in found.values()}) == 1
    assert found["request"].attributes == {"http.route": "/x", "http.response.status_code": 202}
    assert found["inner"].ended_ns - found["inner"].started_ns == 250_000_000


def test_off_is_nothing() -> None:
    """Without a tracer nothing is noted, and there is nothing to hand on."""
    with root(None, "request", kind=Kind.SERVER), span("inner"):
        tracing.record("page", took_s=1)
        tracing.annotate(x=1)
        assert tracing.traceparent() is None
    assert make_tracer(endpoint=None, file=None, service="x") is None


def test_off_imports_nothing() -> None:
    """Neither the API nor the worker imports an exporter while nobody wants traces."""
    script = """
import sys, app, worker.runner, worker.attempts, worker.outbox.sender
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring
required = {"DATABASE_URL": "sqlite:///x", "REDIS_URL": "redis://x", "EXPORT_BUCKET": "exports",
    "MAIL_SENDER": "a@example.com", "PUBLIC_URL": "http://x"}
exporters = "chalicelib.adapters.trace_exporters"
assert Wiring(Settings.from_mapping(required)).tracer is None
assert exporters not in sys.modules
assert Wiring(Settings.from_mapping({**required, "TRACES_FILE": "x"})).tracer is not None
assert exporters in sys.modules
"""
    output(sys.executable, "-c", script, env={"PATH": "/usr/bin:/bin"})


def test_context_goes_on() -> None:
    """Another process goes on with the trace where its `traceparent` says."""
    exported, seen = Exported(), []
    with root(exported.tracer, "request", kind=Kind.SERVER):
        seen.append(tracing.traceparent())
    with root(exported.tracer, "attempt", kind=Kind.CONSUMER, parent=seen[0]):
        pass
    request, attempt = exported.spans["request"], exported.spans["attempt"]
    assert seen == [f"00-{request.trace_id}-{request.span_id}-01"]
    assert (attempt.trace_id, attempt.parent_id) == (request.trace_id, request.span_id)


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "x",
        f"00-{'0' * 32}-{'1' * 16}-01",  # no trace
        f"00-{'1' * 32}-{'0' * 16}-01",  # no span
        f"00-{'1' * 31}-{'1' * 16}-01",  # too short
        f"00-{'A' * 32}-{'1' * 16}-01",  # capitals
        f"00-{'1' * 32}-{'1' * 16}-01-more",  # of another version
        f"00-{'1' * 32}-{'1' * 16}-01\n",
    ],
)
def test_bad_context_is_none(bad: str) -> None:
    """Whoever can send a header may send anything: what is no context begins a new trace."""
    exported = Exported()
    with root(exported.tracer, "request", kind=Kind.SERVER, parent=bad):
        pass
    found = exported.spans["request"]
    assert found.parent_id is None
    assert re.fullmatch(r"[0-9a-f]{32}", found.trace_id)


def test_who_began_decides() -> None:
    """A trace that nobody samples is handed on as such, and exported by nobody."""
    exported = Exported()
    parent = f"00-{'1' * 32}-{'2' * 16}-00"
    with root(exported.tracer, "request", kind=Kind.SERVER, parent=parent), span("inner"):
        handed_on = tracing.traceparent() or ""
    assert handed_on.startswith(f"00-{'1' * 32}-")
    assert handed_on.endswith("-00")
    assert exported.batches == []


def test_errors_are_types() -> None:
    """A span that an exception ends tells its type, and nothing of its message."""
    exported = Exported()
    with pytest.raises(ValueError, match="canary"), root(exported.tracer, "x", kind=Kind.SERVER):
        raise ValueError("canary")
    encoded = trace_exporters.encode(list(exported.spans.values()), "carryout")
    assert b"canary" not in encoded
    (found,) = traces.parse(encoded)
    assert found.status.code == found.status.STATUS_CODE_ERROR
    assert traces.attributes(found) == {"error.type": "ValueError"}


def test_many_spans() -> None:
    """Spans go out in batches, are bounded, and the root says how many are missing."""
    exported = Exported()
    with root(exported.tracer, "attempt", kind=Kind.CONSUMER):
        for _ in range(MOST_SPANS + 7):
            tracing.record("page", took_s=0)
    assert max(map(len, exported.batches)) == BATCH
    assert sum(map(len, exported.batches)) == MOST_SPANS + 1
    assert exported.spans["attempt"].attributes == {"carryout.spans.left_out": 7}


def test_a_file_of_lines(tmp_path: Path) -> None:
    """A file gets a line of OTLP's JSON for each batch, which the protocol's own parser reads."""
    path = tmp_path / "traces.jsonl"
    tracer = make_tracer(endpoint=None, file=str(path), service="carryout")
    for number in range(2):
        with root(tracer, "request", kind=Kind.SERVER, a__text="x", a__number=number, a__part=0.5):
            tracing.record("page", took_s=1, a__flag=True)
    assert len(path.read_text().splitlines()) == 2
    assert [one.name for one in traces.read(path)] == ["page", "request"] * 2
    first = traces.named(traces.read(path), "request")[0]
    assert first.kind == first.SPAN_KIND_SERVER
    assert traces.attributes(first) == {"a.text": "x", "a.number": 0, "a.part": 0.5}
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_collector_gets_them() -> None:
    """A collector gets each batch as OTLP over HTTP has it."""
    with receiving() as collector:
        endpoint = collector.url.rpartition("/")[0]
        tracer = make_tracer(endpoint=endpoint, file=None, service="carryout")
        with root(tracer, "request", kind=Kind.SERVER):
            pass
        (request,) = collector.wait_for(1)
    assert request.path == "/v1/traces"
    assert request.headers["content-type"] == "application/json"
    assert [one.name for one in traces.parse(request.body)] == ["request"]


def refuses(caplog: pytest.LogCaptureFixture, export: Callable[[list[Span]], None]) -> None:
    exported = Exported()
    with root(exported.tracer, "request", kind=Kind.SERVER):
        pass
    for _ in range(3):
        export(exported.batches[0])
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


def test_a_collector_that_is_away(caplog: pytest.LogCaptureFixture) -> None:
    """Nothing fails without it, and it is left alone for a while."""
    refuses(caplog, HttpExporter(f"http://127.0.0.1:{free_port()}", "carryout"))


def test_a_collector_that_refuses(caplog: pytest.LogCaptureFixture) -> None:
    """One that is overloaded is left alone, too: it is asked once."""
    with receiving() as collector:
        collector.answers(503, 503, 503)
        refuses(caplog, HttpExporter(collector.url.rpartition("/")[0], "carryout"))
        assert len(collector.requests) == 1


def test_a_file_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """A folder that is not there stops nobody."""
    tracer = make_tracer(endpoint=None, file=str(tmp_path / "no" / "file"), service="carryout")
    with root(tracer, "request", kind=Kind.SERVER):
        pass
    assert [one.levelno for one in caplog.records] == [logging.WARNING]


def test_one_line_a_batch() -> None:
    """Whatever an attribute holds, a batch is one line."""
    exported = Exported()
    with root(exported.tracer, "request", kind=Kind.SERVER, x="a\nb\u2028"):
        pass
    encoded = trace_exporters.encode(exported.batches[0], "carryout")
    assert len(encoded.decode().splitlines()) == 1
    assert json.loads(encoded)

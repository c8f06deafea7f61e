"""Spans as a collector reads them, by OpenTelemetry's own definition of the protocol."""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

IDS = ("traceId", "spanId", "parentSpanId")


def parse(text: str | bytes) -> list[Span]:
    """The spans of one batch; fails at every field that the protocol does not have.

    OTLP's JSON has ids in hexadecimal, where protobuf's own has base64.
    """
    batch = json.loads(text)
    for resource in batch["resourceSpans"]:
        for scope in resource["scopeSpans"]:
            for span in scope["spans"]:
                for name in IDS:
                    if name in span:
                        span[name] = base64.b64encode(bytes.fromhex(span[name])).decode()
    request = json_format.ParseDict(batch, ExportTraceServiceRequest())
    return [span for one in request.resource_spans for s in one.scope_spans for span in s.spans]


def read(path: Path) -> list[Span]:
    """The spans of a file, as far as it is written."""
    if not path.exists():
        return []
    whole, _, _unfinished = path.read_text().rpartition("\n")
    return [span for line in whole.splitlines() for span in parse(line)]


def attributes(span: Span) -> dict[str, Any]:
    """What is known of a span."""
    return {
        one.key: getattr(one.value, one.value.WhichOneof("value") or "") for one in span.attributes
    }


def named(spans: Iterable[Span], name: str) -> list[Span]:
    """The spans of a name."""
    return [span for span in spans if span.name == name]

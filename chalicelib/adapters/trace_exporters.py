"""Where spans go: to a collector over HTTP, to a file; both as OTLP's JSON.

https://opentelemetry.io/docs/specs/otlp/#otlphttp and
https://opentelemetry.io/docs/specs/otel/protocol/file-exporter/. Imported only where traces are
wanted.
"""

import json
import logging
import os
import time
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from chalicelib.adapters.tracing import Export, Span, Tracer, Value

log = logging.getLogger(__name__)

TIMEOUT_S = 1.0
"""Time limit of each step of a request to the collector: a user's request may wait for it."""

PAUSE_S = 30.0
"""For how long a collector that failed is left alone; spans of that time are lost."""

PATH = "/v1/traces"
"""What stands behind the endpoint, as OTLP has it."""

OK_BELOW = 300

ERROR_STATUS = 2


def make_tracer(*, endpoint: str | None, file: str | None, service: str) -> Tracer | None:
    """A tracer.

    Args:
        endpoint: The collector's URL, to which `/v1/traces` is added.
        file: A file that gets a line for each batch.
        service: What the spans are of.

    Returns:
        None where neither is given.
    """
    exports: list[Export] = []
    if endpoint:
        exports.append(HttpExporter(endpoint, service))
    if file:
        exports.append(FileExporter(file, service))
    if not exports:
        return None

    def export(spans: Sequence[Span]) -> None:
        for one in exports:
            one(spans)

    return Tracer(export)


class FileExporter:
    """Appends a line for each batch; processes may share the file."""

    def __init__(self, path: str, service: str) -> None:
        self._path = path
        self._service = service

    def __call__(self, spans: Sequence[Span]) -> None:
        """Write spans; a disk that is full stops nobody."""
        line = encode(spans, self._service) + b"\n"
        try:
            handle = os.open(self._path, os.O_APPEND | os.O_CREAT | os.O_WRONLY, 0o600)
            try:
                os.write(handle, line)  # at once, so that lines of other processes stay whole
            finally:
                os.close(handle)
        except OSError:
            log.warning("could not write spans", extra={"action": "trace"}, exc_info=True)


class HttpExporter:
    """Posts each batch to a collector.

    It waits for the answer: a Lambda function sleeps as soon as it has responded, and a work horse
    has no thread that outlives it. So the collector should stand beside the process.
    """

    def __init__(self, endpoint: str, service: str) -> None:
        parts = urlsplit(endpoint)
        self._connection_type = HTTPSConnection if parts.scheme == "https" else HTTPConnection
        self._host = parts.netloc.rpartition("@")[2]
        self._path = parts.path.rstrip("/") + PATH
        self._service = service
        self._silent_until = 0.0

    def __call__(self, spans: Sequence[Span]) -> None:
        """Send spans, unless the collector failed a moment ago."""
        if time.monotonic() < self._silent_until:
            return
        try:
            status = self._post(encode(spans, self._service))
        except (OSError, HTTPException):
            self._pause("could not reach the collector", exc_info=True)
            return
        if status >= OK_BELOW:
            self._pause("the collector refused spans", status=status)

    def _post(self, body: bytes) -> int:
        connection = self._connection_type(self._host, timeout=TIMEOUT_S)
        try:
            connection.request("POST", self._path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            answer.read()
        finally:
            connection.close()
        return answer.status

    def _pause(self, message: str, *, exc_info: bool = False, **facts: int) -> None:
        self._silent_until = time.monotonic() + PAUSE_S
        log.warning(message, extra={"action": "trace", **facts}, exc_info=exc_info)


def encode(spans: Sequence[Span], service: str) -> bytes:
    """Spans as OTLP's JSON, on one line; its 64-bit numbers are strings, its ids hexadecimal."""
    resource: dict[str, Value] = {"service.name": service, "process.pid": os.getpid()}
    scope = {"scope": {"name": service}, "spans": [_shown(span) for span in spans]}
    shown = {"resource": {"attributes": _attributes(resource)}, "scopeSpans": [scope]}
    return json.dumps({"resourceSpans": [shown]}, separators=(",", ":")).encode()


def _shown(span: Span) -> dict[str, Any]:
    failed = {} if span.error is None else {"error.type": span.error}
    shown: dict[str, Any] = {
        "traceId": span.trace_id,
        "spanId": span.span_id,
        "name": span.name,
        "kind": int(span.kind),
        "startTimeUnixNano": str(span.started_ns),
        "endTimeUnixNano": str(span.ended_ns),
        "attributes": _attributes({**span.attributes, **failed}),
        "status": {"code": ERROR_STATUS} if failed else {},
    }
    return shown if span.parent_id is None else {**shown, "parentSpanId": span.parent_id}


def _attributes(values: Mapping[str, Value]) -> list[dict[str, Any]]:
    return [{"key": key, "value": _value(value)} for key, value in values.items()]


def _value(value: Value) -> dict[str, Any]:
    if isinstance(value, bool):
        return {"boolValue": value}
    if isinstance(value, int):
        return {"intValue": str(value)}
    return {"doubleValue": value} if isinstance(value, float) else {"stringValue": value}

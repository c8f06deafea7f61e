"""The trace of an export through every process that has a part in it."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.harness import traces
from tests.harness.receivers import receiving
from tests.harness.stacks import Stack, running
from tests.harness.waiting import wait_until

OURS = {"error.type", "http.request.method", "http.response.status_code", "http.route"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack that writes its traces."""
    with running(tmp_path_factory.mktemp("stack") / "data", TRACES="1") as stack:
        yield stack


def test_an_export_is_one_tree(stack: Stack) -> None:
    """Request, enqueue, attempt, pages, parts, email and delivery are one tree of one trace."""
    path, canary = stack.folder / "traces.jsonl", "canary" + uuid4().hex
    with receiving() as receiver:
        person = stack.join(canary)
        person.load(800, body=canary + "x" * 9000)  # more than one part
        person.call("POST", "/v1/webhooks", {"url": f"{receiver.url}?{canary}"}, 201)
        task_id = str(person.call("POST", "/v1/exports", {}, 202)["id"])
        person.wait_for(task_id, "succeeded")
        person.wait_for_email(task_id)
        receiver.wait_for(1)
        wait_until(lambda: traces.named(traces.read(path), "delivery"), "all spans are written")
        wait_until(lambda: attempts_made(traces.read(path)), "the attempt is written")
    spans = traces.read(path)
    (attempt,) = attempts_made(spans)
    tree = [span for span in spans if span.trace_id == attempt.trace_id]
    by_id = {span.span_id: span for span in tree}
    roots = [span for span in tree if not span.parent_span_id]
    assert [span.name for span in roots] == ["POST /v1/exports"]
    assert all(span.parent_span_id in by_id for span in tree if span not in roots)
    parents = {(span.name, by_id[span.parent_span_id].name) for span in tree if span.parent_span_id}
    assert {
        ("enqueue", "POST /v1/exports"),
        ("attempt", "enqueue"),
        ("read page", "attempt"),
        ("upload part", "attempt"),
    } <= parents
    # Whoever looks into the outbox first sends it, and may do so before Redis knows of the attempt.
    above = {"attempt", "enqueue"}
    assert parents & {("email", "attempt"), *(("send", one) for one in above)}
    assert parents & {("delivery", one) for one in above}
    pages = [traces.attributes(span) for span in traces.named(tree, "read page")]
    assert sum(page["carryout.rows"] for page in pages) == 800
    about = traces.attributes(attempt)
    assert about["carryout.task.id"] == task_id
    assert (about["carryout.task.name"], about["carryout.outcome"]) == ("export_posts", "succeeded")
    for span in tree:
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
    nothing_personal(path, spans, canary, person.token or "")


def attempts_made(spans: list[Span]) -> list[Span]:
    """Without those of jobs that found their task claimed: a hint may be given twice."""
    attempts = traces.named(spans, "attempt")
    return [span for span in attempts if "carryout.outcome" in traces.attributes(span)]


def nothing_personal(path: Path, spans: list[Span], canary: str, token: str) -> None:
    """No name, no text, no URL and no token is in a span, whatever it is of."""
    assert canary not in path.read_text()
    assert token not in path.read_text()
    for span in spans:
        for name in traces.attributes(span):
            assert name in OURS or name.startswith("carryout."), name

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from chalicelib.adapters.job_queue import Workers
from chalicelib.db.models import ExportFile, Task
from chalicelib.exports.views import Email, TaskView
from chalicelib.microblog.models import Post
from chalicelib.schemas.serializers import Json, etag, show_post, show_task, show_time

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER, EARLIER = NOW + timedelta(seconds=1), NOW - timedelta(seconds=1)


def show(
    *,
    alive: bool = True,
    prefix: str = "",
    position: int | None = None,
    file: dict[str, Any] | None = None,
    email: str | None = None,
    paused: bool = False,
    suspended: bool = False,
    **facts: Any,
) -> Json:
    """A task as it is shown; an export that was queued just now, but for some facts.

    Args:
        alive: Whether a worker is.
        prefix: Where the API stands.
        position: The task's position in the queue.
        file: What an attempt left in the ledger about its file, if it did.
        email: The state of its email, if there is one.
        paused: Whether its kind is.
        suspended: Whether all workers are.
        **facts: What is unusual about the task.
    """
    usual = {
        "id": "t1",
        "user_id": 1,
        "name": "export_posts",
        "status": "queued",
        "created_at": NOW,
        "queued_at": NOW,
        "due_at": NOW,
        "claim": 0,
        "failures": 0,
        "attempt": 0,
        "max_attempts": 5,
        "percent": 0,
        "done": 0,
        "total": 0,
    }
    view = TaskView(
        Task(**usual | facts),
        paused=paused,
        export=None if file is None else ExportFile(task_id="t1", **file),
        email=None if email is None else Email(email, message_id="m1", sent_at=NOW),
    )
    return show_task(
        view, position=position, workers=Workers(alive, suspended=suspended), now=NOW, prefix=prefix
    )


@pytest.mark.parametrize(
    ("facts", "alive", "waiting_for"),
    [
        ({}, True, "queue"),
        ({}, False, "worker"),
        ({"failures": 1, "due_at": LATER}, True, "retry"),
        ({"failures": 1, "due_at": LATER}, False, "worker"),  # nobody would try again
        ({"failures": 1, "due_at": EARLIER}, True, "queue"),  # its pause is over
        ({"due_at": LATER}, True, "queue"),  # the database's clock is a little ahead
        ({"due_at": LATER, "queued_at": LATER}, True, "time"),
        ({"due_at": LATER, "queued_at": LATER}, False, "time"),
        ({"due_at": NOW, "queued_at": NOW}, True, "queue"),  # its time has come
        ({"due_at": LATER, "queued_at": LATER, "started_at": NOW}, True, "queue"),
        ({"paused": True}, True, "paused"),
        ({"paused": True}, False, "paused"),  # workers would not help
        ({"paused": True, "due_at": LATER, "queued_at": LATER}, True, "time"),
        ({"paused": True, "status": "running"}, True, None),
        ({"suspended": True}, True, "paused"),
        ({"suspended": True}, False, "paused"),
        ({"suspended": True, "status": "running"}, True, None),
        ({"status": "running"}, True, None),
        ({"status": "running"}, False, None),
        ({"status": "cancelling"}, True, None),
        ({"status": "succeeded"}, False, None),
        ({"status": "failed", "failures": 5, "due_at": LATER}, True, None),
        ({"status": "cancelled"}, True, None),
    ],
)
def test_waiting_for(facts: dict[str, Any], *, alive: bool, waiting_for: str | None) -> None:
    """A queued task says what it waits for; no other task waits."""
    assert show(alive=alive, **facts)["waiting_for"] == waiting_for


FILE: dict[str, Any] = {
    "rows": {"posts": 1},
    "size_bytes": 9,
    "sha256": "0" * 64,
    "object_key": "k",
    "expires_at": LATER,
}


@pytest.mark.parametrize(
    ("facts", "there"),
    [
        ({"status": "queued"}, {"cancel"}),
        ({"status": "running"}, {"cancel"}),
        ({"status": "cancelling"}, {"cancel"}),
        ({"status": "failed"}, {"retry"}),
        ({"status": "cancelled"}, {"retry"}),
        ({"status": "succeeded", "file": FILE}, {"download"}),
        ({"status": "succeeded", "file": {**FILE, "expires_at": NOW}}, set()),  # expired
        ({"status": "succeeded", "file": {**FILE, "gone_at": NOW}}, set()),  # deleted
        ({"status": "running", "file": FILE}, {"cancel"}),  # not published
        ({"status": "succeeded", "name": "example", "result": {}}, set()),
        ({"status": "queued", "name": "of_the_past"}, {"cancel"}),  # not registered any more
    ],
)
def test_links(facts: dict[str, Any], there: set[str]) -> None:
    """There is a link to what can be done now, and null for what cannot."""
    links = show(prefix="/api", **facts)["links"]
    assert set(links) == {"self", "cancel", "retry", "download"}
    assert {name for name, link in links.items() if link} == {"self"} | there
    assert all(link.startswith("/api/v1/") for link in links.values() if link)


@pytest.mark.parametrize("status", ["queued", "running", "cancelling", "failed", "cancelled"])
def test_no_result_before_success(status: str) -> None:
    """What is not published has no result, whatever an attempt left in the ledger."""
    shown = show(status=status, percent=99, file=FILE)
    assert shown["result"] is None
    assert shown["progress"]["percent"] == 99


def test_result() -> None:
    """What is published is described whole, each dataset's count once more under its name."""
    shown = show(status="succeeded", file=FILE, email="sent")
    assert shown["result"] == {
        "posts": 1,
        "rows": {"posts": 1},
        "bytes": 9,
        "sha256": "0" * 64,
        "expires_at": "2026-01-02T03:04:06Z",
        "available": True,
        "mail": {"state": "sent", "message_id": "m1", "sent_at": "2026-01-02T03:04:05Z"},
    }


def test_result_without_an_email() -> None:
    """No email is a state, too, and one that waits for the address is still to be sent."""
    none = {"state": "none", "message_id": None, "sent_at": None}
    assert show(status="succeeded", file=FILE)["result"]["mail"] == none
    waiting = show(status="succeeded", file=FILE, email="unconfirmed")["result"]["mail"]
    assert waiting["state"] == "pending"


def test_error() -> None:
    """A failure has a code and a sentence."""
    shown = show(status="failed", error_code="timeout", error_detail="Too long.")
    assert shown["error"] == {"code": "timeout", "detail": "Too long."}


def test_description_of_a_task_of_the_past() -> None:
    """A kind that is gone describes itself by its name."""
    assert show(name="of_the_past")["description"] == "of_the_past"


NEWS: list[dict[str, Any]] = [
    {"status": "running"},
    {"percent": 1},
    {"done": 1},
    {"attempt": 1},
    {"failures": 1, "due_at": LATER},
    {"started_at": NOW},
    {"alive": False},
]


def test_etag_covers_all_but_two() -> None:
    """The same is the same; only a sign of life and a move in the queue are no news."""
    usual = etag(show())
    assert usual.startswith('"')
    assert usual.endswith('"')
    assert etag(show(last_seen_at=NOW, position=3)) == usual
    others = {etag(show(**facts)) for facts in NEWS}
    assert len(others) == len(NEWS)
    assert usual not in others


def test_etag_covers_the_email() -> None:
    """An email that was sent after the file was published is news."""
    tags = {etag(show(status="succeeded", file=FILE, email=state)) for state in ("pending", "sent")}
    assert len(tags) == 2


def test_times() -> None:
    """A fraction has six digits or is left out, whatever zone the moment came in."""
    post = Post(id=1, body="x", timestamp=NOW.replace(microsecond=50))
    assert show_post(post)["timestamp"] == "2026-01-02T03:04:05.000050Z"
    assert show_time(NOW) == "2026-01-02T03:04:05Z"
    assert show_time(None) is None

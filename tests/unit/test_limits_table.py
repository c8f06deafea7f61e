"""The table of limits is whole, and SECURITY.md shows it."""

from app import app
from chalicelib.accounts import rate_limits
from chalicelib.accounts.limits import ALL, LIMITS, table
from chalicelib.accounts.rate_limits import Rate
from infra.servers import connections
from infra.servers.connections import Bounds
from infra.servers.serve import MOST_HELD
from tests.harness.processes import ROOT
from worker.outbox.sender import COMPOSERS

ONLY_REQUESTS = {
    "DELETE /v1/me",
    "DELETE /v1/tokens/current",
    "POST /sign-out",
    # A key that opens nothing costs a look at one row.
    "POST /v1/confirmations",
    "POST /confirm",
    "POST /v1/address-restorations",
    "POST /restore-address",
    # Bounded by how many there may be of what they make, or they change one row of the caller's.
    "POST /v1/posts",
    "DELETE /v1/posts/{post_id}",
    "POST /posts",
    "POST /posts/{post_id}/delete",
    "POST /v1/tasks/{task_id}/cancel",
    "POST /tasks/{task_id}/cancel",
    "DELETE /v1/exports/{task_id}",
    "POST /exports/{task_id}/delete",
}
"""Routes that change something and are counted as requests alone."""

FOLDERS = ("/v1/schedules", "/v1/webhooks", "/schedules", "/webhooks")
"""At most so many schedules and webhooks there are, and each changes one of them."""

ONCE = {"schedule", "webhook_disabled"}
"""Emails that are sent once for what happened, to a confirmed address alone."""


def declared() -> list[tuple[str, str, str]]:
    """Every route: its method, its path, and whom it is for."""
    return [
        *((one.method, one.path, one.who) for one in app.endpoints),
        *((one.method, one.path, one.who) for one in app.pages),
    ]


def test_every_route_is_on_the_table() -> None:
    """Whoever adds a route that changes something says what keeps it from being done too often."""
    routes = {
        f"{method} {path}"
        for method, path, who in declared()
        if method != "GET" and who != "administrator" and not path.startswith(FOLDERS)
    }
    named = {route for one in LIMITS for route in one.routes if route != ALL}
    assert routes <= named | ONLY_REQUESTS
    assert not named & ONLY_REQUESTS
    assert named | ONLY_REQUESTS <= {f"{method} {path}" for method, path, _ in declared()}


def test_every_email_is_on_the_table() -> None:
    """Whoever adds an email says what keeps it from being sent too often."""
    topics = {topic for one in LIMITS for topic in one.topics}
    assert topics <= set(COMPOSERS)
    assert set(COMPOSERS) - topics == ONCE


def test_every_rate_is_on_the_table() -> None:
    """Whoever adds a counter says in the table what it counts."""
    rates = {one.name for one in vars(rate_limits).values() if isinstance(one, Rate)}
    assert rates <= {name for one in LIMITS for name in one.counted}


def test_the_servers_bounds_are_on_the_table() -> None:
    """What a server of one's own allows is what the table says."""
    bounds = Bounds()
    told = {(one.what.partition(" ")[0], one.by.partition(",")[0]): one.most for one in LIMITS}
    assert told["connections", "network"] == f"{bounds.most_of_network} at a time"
    assert told["connections", "all"] == f"{bounds.most:,} at a time"
    assert told["seconds", "connection"] == f"{bounds.patience_s:.0f}"
    assert told["unfinished", "all"] == f"{connections.BODIES_BYTES >> 20} MiB at a time"
    assert told["answers", "all"] == f"{connections.ANSWERS_BYTES >> 20} MiB at a time"
    assert told["held", "all"] == f"{MOST_HELD:,} at a time"


def test_the_document_shows_it() -> None:
    """SECURITY.md has the table as it is in the code."""
    assert table() in (ROOT / "SECURITY.md").read_text("utf-8")

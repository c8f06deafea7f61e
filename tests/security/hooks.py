"""What schemathesis has to know of people: loaded by it, never imported by a test."""

import hashlib
import os
import unicodedata
from typing import Any
from uuid import uuid4

import schemathesis

from tests.harness.people import Person, Remote

LONGEST_WAIT_S = 0.05
LONGEST_TASK_S = 1
SHORTEST_PASSWORD = 8
LAST_ACTS = {
    ("DELETE", "/v1/me"),
    ("POST", "/v1/me/erasure"),
    ("DELETE", "/v1/tokens/current"),
}
"""After these a token is worth nothing, so each gets one of its own."""


def join(url: str) -> str:
    """Sign up and sign in; return the token."""
    return Person.sign_up(Remote(url), uuid4().hex).token or ""


if "CARRYOUT_TOKEN" in os.environ:

    @schemathesis.auth(cache_by_key=lambda case, _context: str(_is_last(case)))
    class Somebody:
        """An administrator, who may call everything; a newcomer where the account ends."""

        def get(self, case: Any, _context: Any) -> str:
            return join(case.operation.base_url) if _is_last(case) else os.environ["CARRYOUT_TOKEN"]

        def set(self, case: Any, data: str, _context: Any) -> None:
            fresh = join(case.operation.base_url) if _is_last(case) else data
            case.headers = {**(case.headers or {}), "Authorization": f"Bearer {fresh}"}


def _is_last(case: Any) -> bool:
    return (case.operation.method.upper(), case.operation.path) in LAST_ACTS


@schemathesis.hook
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Wait shorter than one may, count fewer seconds, and leave S3 alone."""
    kwargs["allow_redirects"] = False
    key = (case.headers or {}).get("Idempotency-Key")
    if key and case.meta.generation.mode.is_positive:
        # With another body the same key is refused, and no schema can say that.
        body = hashlib.sha256(repr(case.body).encode()).hexdigest()
        case.headers["Idempotency-Key"] = key[:100] + body
    if isinstance(case.body, dict) and isinstance(case.body.get("password"), str):
        # No schema can say that a password's characters are counted in another form (NFC).
        password = unicodedata.normalize("NFC", case.body["password"])
        if len(password) < SHORTEST_PASSWORD <= len(case.body["password"]):
            case.body["password"] += "x" * SHORTEST_PASSWORD
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        # Nor can one say which texts are rules, zones, times of the next year, or public URLs.
        valid = {
            "rrule": "FREQ=DAILY",
            "timezone": "UTC",
            "not_before": "2026-01-02T03:04:05Z",
            "url": "https://example.com/hook",
        }
        case.body |= {name: value for name, value in valid.items() if name in case.body}
    if "wait" in (case.query or {}) and _is_number_above(case.query["wait"], LONGEST_WAIT_S, 20):
        case.query["wait"] = LONGEST_WAIT_S
    if case.meta.generation.mode.is_positive and isinstance(case.body, dict):
        _make_choice_fit(case.body.get("params", case.body))
        if isinstance(task := case.body.get("task"), dict):
            _make_choice_fit(task.get("params"))
    if case.operation.path == "/v1/tasks" and isinstance(case.body, dict):
        params = case.body.get("params")
        if isinstance(params, dict) and _is_number_above(params.get("seconds"), LONGEST_TASK_S, 60):
            params["seconds"] = LONGEST_TASK_S


def _make_choice_fit(choice: Any) -> None:
    """Make an archive's period one that ends after its beginning, and its formats those it has.

    No schema can say so.
    """
    if not isinstance(choice, dict):
        return
    if choice.get("from") and choice.get("to"):
        choice["from"], choice["to"] = "2026-01-01T00:00:00Z", "2026-02-01T00:00:00.000001Z"
    datasets = choice.get("datasets")
    if "activitystreams" in choice.get("formats", ()) and datasets and "posts" not in datasets:
        datasets.append("posts")


def _is_number_above(value: Any, least: float, most: float) -> bool:
    try:
        return not isinstance(value, bool) and least < float(value) <= most
    except (TypeError, ValueError):
        return False

"""The page of operators: the queue, the workers, what goes on and what failed."""

from datetime import timedelta

from chalice.app import Response

from chalicelib.adapters.job_queue import QueueError, WorkerInfo
from chalicelib.errors import Forbidden
from chalicelib.operations import queries
from chalicelib.web import actions, answers
from chalicelib.web.api import Call
from chalicelib.web.pages import cards
from chalicelib.web.pages.page_rendering import form, language, render
from chalicelib.web.pages.plots import window

REFRESH_S = 5
"""How often the page brings itself up to date."""

SHOWN = 20
"""How many tasks of a kind are listed."""

PLOTTED = 20_000
"""How many tasks the plots look at: at most the newest so many of a day."""


def admin(call: Call) -> Response:
    """The page, for administrators."""
    _require_administrator(call)
    now = call.now
    with call.wiring.database.read() as session:
        going_on = queries.going_on(session, limit=SHOWN)
        failed = queries.failed(session, limit=SHOWN)
        ended = queries.ended_since(session, now - timedelta(days=1), limit=PLOTTED)
    return render(
        call,
        "admin.html",
        refresh_s=REFRESH_S,
        every_s=REFRESH_S,
        now=now,
        queue=answers.queue_state(call),
        workers=_workers(call),
        going_on=going_on,
        failed=failed,
        by_id={one.task.id: one for one in going_on},
        title=lambda name: cards.title(name, language(call)),
        hour=window(ended, now=now, length=timedelta(hours=1), slices=30),
        day=window(ended, now=now, length=timedelta(days=1), slices=48),
    )


def _workers(call: Call) -> list[WorkerInfo] | None:
    """The workers that are alive; None while Redis does not answer."""
    try:
        return call.wiring.queue.workers()
    except QueueError:
        return None


def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel anybody's task."""
    _require_administrator(call)
    form(call)
    actions.cancel(call, task_id, anybodys=True)
    return call.see_other("/admin")


def submit_retry(call: Call, task_id: str) -> Response:
    """Try anybody's task again."""
    _require_administrator(call)
    form(call)
    actions.retry(call, task_id, anybodys=True)
    return call.see_other("/admin")


def _require_administrator(call: Call) -> None:
    if not call.user.is_admin:
        raise Forbidden

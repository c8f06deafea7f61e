"""The operators' page: the queue, the workers, tasks in progress and tasks that failed."""

from datetime import timedelta

from chalice.app import Response

from chalicelib.adapters.job_queue import QueueError, WorkerInfo
from chalicelib.operations import queries
from chalicelib.tasks.pauses import EVERYTHING
from chalicelib.tasks.registry import TASKS
from chalicelib.web import actions, schedules, status
from chalicelib.web.pages import cards
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.pages.plots import window
from chalicelib.web.request import Call

REFRESH_S = 5
"""How often the page refreshes itself."""

SHOWN = 20
"""How many tasks of a kind are listed."""

PLOTTED = 20_000
"""How many of a day's tasks the plots show: the newest."""


def admin(call: Call) -> Response:
    """The page, for administrators."""
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
        queue=status.queue_state(call),
        kinds=[EVERYTHING, *TASKS],
        workers=_workers(call),
        going_on=going_on,
        failed=failed,
        by_id={one.task.id: one for one in going_on},
        title=lambda name: cards.title(name, language(call)),
        hour=window(ended, now=now, length=timedelta(hours=1), slices=30),
        day=window(ended, now=now, length=timedelta(days=1), slices=48),
    )


def _workers(call: Call) -> list[WorkerInfo] | None:
    """The workers that are alive; None while Redis does not respond."""
    try:
        return call.wiring.queue.workers()
    except QueueError:
        return None


def submit_pause(call: Call) -> Response:
    """Pause a kind of task, or all of them."""
    schedules.pause(call, schedules.paused_kind(call.form.get("name", "")))
    return call.see_other("/admin")


def submit_resume(call: Call) -> Response:
    """Resume a kind of task, or all of them."""
    schedules.resume(call, schedules.paused_kind(call.form.get("name", "")))
    return call.see_other("/admin")


def submit_cancel(call: Call, task_id: str) -> Response:
    """Cancel any user's task."""
    actions.cancel(call, task_id, anybodys=True)
    return call.see_other("/admin")


def submit_retry(call: Call, task_id: str) -> Response:
    """Retry any user's task."""
    actions.retry(call, task_id, anybodys=True)
    return call.see_other("/admin")

"""The operators' page: the queue, the workers, tasks in progress and tasks that failed."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import msgspec
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

SHOWN = 15
"""How many tasks of a kind are listed."""

PLOTTED = 20_000
"""How many of a day's tasks the plots show: the newest."""


SLICES = 30
"""Into how many parts of time a plot is cut; a day is cut into half hours."""


class PlotQuery(msgspec.Struct):
    """A stretch of time to look at alone.

    Attributes:
        until: When it ends, in seconds since 1970; 0 for now.
        span: How long it is, in seconds.
    """

    until: Annotated[int, msgspec.Meta(ge=0, le=2**33)] = 0
    span: Annotated[int, msgspec.Meta(ge=1, le=86_400)] = 3600


def admin(call: Call) -> Response:
    """The page, for administrators."""
    now = _whole(call.now)
    with call.wiring.database.read() as session:
        going_on = queries.going_on(session, limit=SHOWN)
        failed = queries.failed(session, limit=SHOWN)
        ended = queries.ended_between(session, now - timedelta(days=1), now, limit=PLOTTED)
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
        hour=window(ended, now=now, length=timedelta(hours=1), slices=SLICES),
        day=window(ended, now=now, length=timedelta(days=1), slices=48),
    )


def period(call: Call) -> Response:
    """A stretch of time alone: its plots, and the figures behind them."""
    query = call.query(PlotQuery)
    until = datetime.fromtimestamp(query.until, UTC) if query.until else _whole(call.now)
    length = timedelta(seconds=query.span)
    with call.wiring.database.read() as session:
        ended = queries.ended_between(session, until - length, until, limit=PLOTTED)
    shown = window(ended, now=until, length=length, slices=SLICES)
    return render(call, "admin_period.html", window=shown)


def _whole(moment: datetime) -> datetime:
    """The end of this second: so parts of a plot begin and end with whole seconds."""
    return moment.replace(microsecond=0) + timedelta(seconds=1)


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

"""What operators look at beside the overview: each section of `/admin` is a page of its own."""

from collections.abc import Sequence
from typing import Any, Literal

from chalice.app import Response

from chalicelib.accounts.limits import LIMITS
from chalicelib.operations import oversight, stories
from chalicelib.operations.oversight import FAILED_STATES
from chalicelib.outbox import webhooks
from chalicelib.schemas.administration import receiver_of, show_limit, task_of
from chalicelib.schemas.imports import state_of
from chalicelib.schemas.requests import ListQuery
from chalicelib.values.paging import Page
from chalicelib.web import administration
from chalicelib.web.lists import page_of
from chalicelib.web.pages import cards
from chalicelib.web.pages.page_rendering import language, render
from chalicelib.web.request import Call

EVERY_S = 10
"""How often a section refreshes itself, in seconds."""

WAITING = ("pending", "sending", "unconfirmed", "paused")
FAILED = tuple(sorted(FAILED_STATES))
STATES: dict[str, Sequence[str]] = {"all": (), "waiting": WAITING, "failed": FAILED}
"""What the choices of the outbox show."""

SHOWN_REFUSALS = 100


class OutboxChoice(ListQuery):
    """What of the outbox is shown."""

    show: Literal["all", "waiting", "failed"] = "all"


class WebhookChoice(ListQuery):
    """Which webhooks are shown."""

    show: Literal["all", "failing"] = "all"


def outbox(call: Call) -> Response:
    """Emails and deliveries: what waits, what was sent, what failed."""
    query = call.query(OutboxChoice)
    with call.wiring.database.read() as session:
        page = page_of(query)
        found, after = oversight.list_messages(session, page=page, states=STATES[query.show])
    counted = call.wiring.message_counts.value(now=call.now)
    return _render(
        call,
        "admin_outbox.html",
        show=query.show,
        found=found,
        counts=[(*names, number) for names, number in sorted(counted.items())],
        next=after,
    )


def schedules(call: Call) -> Response:
    """Everybody's schedules."""
    with call.wiring.database.read() as session:
        found, after = oversight.list_schedules(session, page=page_of(call.query(ListQuery)))
    return _render(call, "admin_schedules.html", found=found, next=after)


def all_webhooks(call: Call) -> Response:
    """Everybody's webhooks, and the newest deliveries that failed."""
    query = call.query(WebhookChoice)
    with call.wiring.database.read() as session:
        failing = query.show == "failing"
        found, after = oversight.list_webhooks(session, page=page_of(query), failing=failing)
        deliveries, _ = oversight.list_messages(
            session, page=Page(), states=FAILED, topic=webhooks.TOPIC
        )
    return _render(
        call,
        "admin_webhooks.html",
        show=query.show,
        found=found,
        deliveries=deliveries,
        receiver=receiver_of,
        next=after,
    )


def imports(call: Call) -> Response:
    """Everybody's imports."""
    with call.wiring.database.read() as session:
        found, after = oversight.list_imports(session, page=page_of(call.query(ListQuery)))
    shown = [(one, state_of(one.row, now=call.now)) for one in found]
    return _render(call, "admin_imports.html", found=shown, next=after)


def limits(call: Call) -> Response:
    """All limits, and who was refused lately."""
    refusals = administration.known_refusals(call)
    newest = (refusals or [])[:SHOWN_REFUSALS]
    users = {int(one.who) for one in newest if one.limit.endswith(":user") and one.who.isdigit()}
    with call.wiring.database.read() as session:
        names = oversight.names_of(session, users)
    return _render(
        call,
        "admin_limits.html",
        enabled=call.wiring.settings.limits,
        refusals=None if refusals is None else newest,
        names={str(user_id): name for user_id, name in names.items()},
        limits=[show_limit(one, refusals) for one in LIMITS],
    )


def story(call: Call, task_id: str) -> Response:
    """A task's whole story."""
    with call.wiring.database.read() as session:
        told = stories.tell(session, task_id)
    log = stories.log_of(call.wiring.settings.log_file, task_id)
    return _render(
        call,
        "admin_task.html",
        task=told.owned.row,
        username=told.owned.username,
        story=told,
        log=None if log is None else [_line(facts) for facts in log],
        log_query=stories.log_query(task_id),
    )


def _line(facts: dict[str, Any]) -> str:
    """A line of the log for people; the task's id, which is the same in all, is left out."""
    hidden = {"time", "level", "message", "logger", "task_id", "stack", "_aws"}
    head = " ".join(str(facts.get(name, "")) for name in ("time", "level", "message"))
    rest = " ".join(f"{name}={value}" for name, value in facts.items() if name not in hidden)
    return "\n  ".join([f"{head}  {rest}".rstrip(), *map(str, facts.get("stack", ()))])


def _render(call: Call, template: str, **facts: Any) -> Response:
    return render(
        call,
        template,
        refresh_s=EVERY_S,
        every_s=EVERY_S,
        title=lambda name: cards.title(name, language(call)),
        task_of=task_of,
        **facts,
    )


def submit_schedule(call: Call, schedule_id: str, *, enabled: bool) -> Response:
    """Pause or resume anybody's schedule."""
    administration.switch_schedule(call, schedule_id, enabled=enabled)
    return call.see_other("/admin/schedules")


def submit_webhook(call: Call, webhook_id: str, *, enabled: bool) -> Response:
    """Pause or resume anybody's webhook."""
    administration.switch_webhook(call, webhook_id, enabled=enabled)
    return call.see_other("/admin/webhooks")


def submit_redelivery(call: Call, webhook_id: str, number: str) -> Response:
    """Deliver an event once more."""
    administration.redeliver(call, webhook_id, number)
    return call.see_other("/admin/webhooks")

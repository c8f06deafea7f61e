"""What operators look at over the API: everybody's messages, schedules, webhooks and imports."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

import msgspec
from chalice.app import Response

from chalicelib.accounts.limits import LIMITS
from chalicelib.accounts.rate_limits import Refusal
from chalicelib.adapters.job_queue import QueueError
from chalicelib.exports.views import view_task
from chalicelib.operations import oversight, stories
from chalicelib.operations.oversight import Owned
from chalicelib.outbox import webhooks
from chalicelib.outbox.webhooks import WebhookChange
from chalicelib.schemas import administration as schemas
from chalicelib.schemas.requests import ListQuery
from chalicelib.tasks import schedules
from chalicelib.web import lists
from chalicelib.web.request import Call
from chalicelib.web.webhooks import delivery_number


def message_list(call: Call) -> Response:
    """A page of the outbox."""
    query = call.query(schemas.OutboxQuery)
    with call.wiring.database.read() as session:
        found, after = oversight.list_messages(
            session,
            page=lists.page_of(query),
            states=[query.state] if query.state else [],
            topic=query.topic or None,
        )
    return _respond(call, found, after, schemas.show_message)


def schedule_list(call: Call) -> Response:
    """A page of everybody's schedules."""
    with call.wiring.database.read() as session:
        found, after = oversight.list_schedules(session, page=lists.page_of(call.query(ListQuery)))
    return _respond(call, found, after, schemas.show_schedule)


def webhook_list(call: Call) -> Response:
    """A page of everybody's webhooks."""
    query = call.query(schemas.WebhookQuery)
    failing = query.state is not msgspec.UNSET
    with call.wiring.database.read() as session:
        page = lists.page_of(query)
        found, after = oversight.list_webhooks(session, page=page, failing=failing)
    return _respond(call, found, after, schemas.show_webhook)


def import_list(call: Call) -> Response:
    """A page of everybody's imports."""
    with call.wiring.database.read() as session:
        found, after = oversight.list_imports(session, page=lists.page_of(call.query(ListQuery)))
    return _respond(call, found, after, partial(schemas.show_import, now=call.now))


def _respond(
    call: Call, found: Sequence[Owned[Any]], after: str | None, show: Callable[..., Any]
) -> Response:
    items = [show(one.row, one.username) for one in found]
    return lists.list_response(call, items, after=after)


def known_refusals(call: Call) -> list[Refusal] | None:
    """Who was refused within a day, most often first; None while Redis does not respond."""
    try:
        return call.wiring.rate_limiter.refusals()
    except QueueError:
        return None


def limits(call: Call) -> schemas.Limits:
    """All limits, and who was refused within a day."""
    refusals = known_refusals(call)
    return {
        "enabled": call.wiring.settings.limits,
        "items": [schemas.show_limit(one, refusals) for one in LIMITS],
        "refusals": None if refusals is None else [schemas.show_refusal(one) for one in refusals],
    }


def story(call: Call, task_id: str) -> schemas.TaskStory:
    """A task's whole story.

    Raises:
        NotFound: There is no such task.
    """
    with call.wiring.database.read() as session:
        told, view = stories.tell(session, task_id), view_task(session, task_id)
    shown = {
        "task": lists.show(call, view),
        **stories.show_story(told),
        "log": stories.log_of(call.wiring.settings.log_file, task_id),
        "log_query": stories.log_query(task_id),
    }
    return cast("schemas.TaskStory", shown)


def switch_schedule(call: Call, schedule_id: str, *, enabled: bool) -> schemas.OverseenSchedule:
    """Pause or resume anybody's schedule.

    Raises:
        NotFound: There is no such schedule.
        ScheduleEnded: It is to be resumed, and its rule names no time from now on.
    """
    with call.wiring.database.write() as session:
        schedule = schedules.change(session, schedule_id, enabled=enabled)
        names = oversight.names_of(session, [schedule.user_id])
    return schemas.show_schedule(schedule, names[schedule.user_id])


def switch_webhook(call: Call, webhook_id: str, *, enabled: bool) -> schemas.OverseenWebhook:
    """Pause or resume anybody's webhook.

    Raises:
        NotFound: There is no such webhook.
    """
    with call.wiring.database.write() as session:
        change = WebhookChange(enabled=enabled)
        webhook = webhooks.change_webhook(session, webhook_id, change)
        names = oversight.names_of(session, [webhook.user_id])
    return schemas.show_webhook(webhook, names[webhook.user_id])


def redeliver(call: Call, webhook_id: str, number: str) -> schemas.OverseenMessage:
    """Deliver an event to anybody's webhook once more.

    Raises:
        NotFound: There is no such webhook or delivery.
        WebhookDisabled: Nothing is delivered to it now.
        DeliveryInProgress: This delivery is not over.
    """
    number_of = delivery_number(number)
    with call.wiring.database.write() as session:
        delivery = webhooks.redeliver(session, webhook_id, number_of)
        names = oversight.names_of(session, [delivery.user_id])
    return schemas.show_message(delivery, names[delivery.user_id])

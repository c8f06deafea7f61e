"""What users do to their tasks, files and posts, over the API and with the pages' buttons."""

import logging
from datetime import datetime
from typing import Any

from chalicelib.accounts.rate_limits import EMAILS_PER_USER, EXPORTS_PER_USER, TASKS_PER_USER, Use
from chalicelib.adapters.job_queue import Workers
from chalicelib.errors import (
    AddressUnconfirmed,
    ExportGone,
    Fault,
    Invalid,
    NotFound,
    TaskInProgress,
    TooMany,
    Unavailable,
)
from chalicelib.exports import files, removals
from chalicelib.exports.kinds import Export, export_of
from chalicelib.exports.views import TaskView, view_launched, view_task
from chalicelib.logs import metrics
from chalicelib.microblog import posts
from chalicelib.microblog.models import Post
from chalicelib.schemas.requests import NewTask
from chalicelib.tasks import requests as tasks
from chalicelib.tasks.registry import TASKS, TaskKind, kind_of
from chalicelib.tasks.requests import (
    Launched,
    TaskRequest,
    cancel_task,
    find_launched,
    launch_task,
    retry_task,
)
from chalicelib.values.fields import IdempotencyKey, check, flaw, parse_time
from chalicelib.web.request import Call

log = logging.getLogger(__name__)


def launch(
    call: Call, name: str, params: dict[str, Any], *, not_before: datetime | None = None
) -> tuple[TaskView, Workers | None]:
    """Record a task and enqueue a job for it.

    Args:
        call: The request.
        name: A registered kind of task.
        params: Its parameters, valid already, as JSON can hold them.
        not_before: When it may begin; None for at once.

    Returns:
        The task, and how many workers are alive; None if the queue was not asked.

    Raises:
        TaskInProgress, CoolingDown, IdempotencyKeyReused: As `launch_task`.
        TooMany: The user has requested too many exports recently. What creates no task (a key that
            names one, a refusal) costs nothing.
    """
    kind, limiter = TASKS[name], call.wiring.rate_limiter
    request = TaskRequest(
        kind=kind,
        params=params,
        max_attempts=call.wiring.settings.task_max_attempts,
        cooldown_s=_cooldown_s(call, kind),
        idempotency_key=_idempotency_key(call),
        not_before=not_before,
        alone=is_unproven(call),
    )
    uses = _uses(call, kind)
    try:
        limiter.spend(*uses)
    except TooMany:  # what creates no task is answered as ever
        with call.wiring.database.read() as session:
            earlier = find_launched(session, call.user.id, request, now=call.now)
            if earlier is None:
                raise
            return view_task(session, earlier.id), None
    try:
        launched, view = _launch(call, request)
    except BaseException:
        limiter.refund(*uses)
        raise
    if view is not None:
        limiter.refund(*uses)
        return view, None
    counted = metrics({"Requested": (1, "Count")}, task_name=name)
    log.info("requested", extra={"action": "launch", "task_id": launched.task.id, **counted})
    if launched.position is None:  # the reconciler enqueues a job for it when its time has come
        return view_launched(launched), None
    return view_launched(launched), call.wiring.queue.hint(launched.task.id, name)


def _launch(call: Call, request: TaskRequest) -> tuple[Launched, TaskView | None]:
    """Record a task; else, return the one that the request's key names, and how it stands."""
    database, user_id = call.wiring.database, call.user.id
    if (launched := tasks.launch(database, user_id, request, now=call.now)) is not None:
        return launched, None
    with database.pipeline() as session:
        launched = launch_task(session, user_id, request, now=call.now)
        return launched, None if launched.is_new else view_task(session, launched.task.id)


def launch_any(call: Call, new: NewTask) -> tuple[TaskView, Workers | None]:
    """Launch a task of whatever kind; as `launch`.

    Raises:
        Invalid: No kind has this name, the parameters are not valid for it, or the time is too far
            ahead.
    """
    if new.name not in TASKS:
        raise Invalid(Fault("/name", "must be one of " + ", ".join(TASKS)))
    params = stored_params(TASKS[new.name], new.params, at="/params")
    return launch(call, new.name, params, not_before=_not_before(new.not_before, now=call.now))


def _not_before(text: str | None, *, now: datetime) -> datetime | None:
    if text is None:
        return None
    try:
        moment = parse_time(text)
    except ValueError as error:
        raise Invalid(
            Fault("/not_before", "must be a time such as 2026-12-24T18:00:00Z")
        ) from error
    leap_day = now.month == 2 and now.day == 29  # noqa: PLR2004 - 29 February
    if moment > now.replace(year=now.year + 1, day=28 if leap_day else now.day):
        raise Invalid(Fault("/not_before", "must be at most a year ahead"))
    return moment


def stored_params(kind: TaskKind, given: dict[str, Any], *, at: str = "") -> dict[str, Any]:
    """The parameters that a request gives, as a task keeps them.

    Args:
        kind: The kind of task.
        given: The parameters as JSON.
        at: JSON pointer of them within the request's body.

    Raises:
        Invalid: They are not valid for the kind.
    """
    if faults := list(kind.faults(given)):
        raise Invalid(*(Fault(at + one.pointer, one.detail) for one in faults))
    return kind.store(check(given, kind.model, at=at))


def launch_or_find(call: Call, name: str, params: dict[str, Any]) -> str:
    """Launch a task, or find the one of its kind that is in progress; return its id."""
    try:
        view, _ = launch(call, name, params)
    except TaskInProgress as error:
        return error.task_id
    return view.task.id


def _uses(call: Call, kind: TaskKind) -> tuple[Use, ...]:
    """What to launch a task of this kind costs its user."""
    uses: list[Use] = [(TASKS_PER_USER, call.user.id)]
    if isinstance(kind, Export):
        uses.append((EXPORTS_PER_USER, call.user.id))
    return tuple(uses)


def is_unproven(call: Call) -> bool:
    """Whether anybody may have made this account: nobody has confirmed its address."""
    return call.wiring.settings.verify_email and call.user.confirmed_at is None


def _cooldown_s(call: Call, kind: TaskKind) -> int:
    return call.wiring.settings.export_cooldown_s if isinstance(kind, Export) else 0


def _idempotency_key(call: Call) -> str | None:
    key: str | None = call.request.headers.get("idempotency-key")
    if key is not None and flaw(key, IdempotencyKey):
        raise Invalid(detail="Idempotency-Key must be 1 to 255 printable ASCII characters.")
    return key


def cancel(call: Call, task_id: str, *, anybodys: bool = False) -> TaskView:
    """Cancel a task.

    Args:
        call: The request.
        task_id: Which task.
        anybodys: Whether it may be another user's, as for an administrator.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskEnded: It succeeded or failed already.
    """
    owner, lease_s = None if anybodys else call.user.id, call.wiring.settings.lease_s
    database = call.wiring.database
    if tasks.cancel(database, task_id, now=call.now, owner=owner):
        with database.read() as session:
            view = view_task(session, task_id)
    else:
        with database.pipeline() as session:
            cancel_task(session, task_id, lease_s=lease_s, now=call.now, owner=owner)
            view = view_task(session, task_id)
    if view.email is not None:
        call.wiring.outbox_hint.send()
    return view


def retry(call: Call, task_id: str, *, anybodys: bool = False) -> TaskView:
    """Queue a failed or cancelled task again.

    Args:
        call: The request.
        task_id: Which task.
        anybodys: As for `cancel`.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskActive: It is not over.
        TaskSucceeded: There is nothing to try again.
        TaskInProgress: Its user has another one of this kind that is not over.
        CoolingDown: The last success of this kind is too fresh.
        TooMany: The user has requested too many exports recently.
    """
    if anybodys:  # an administrator repairs something
        view = _retry(call, task_id)
    else:  # for its user, to retry is to launch
        with call.wiring.database.read() as session:
            kind = kind_of(view_task(session, task_id, owner=call.user.id).task)
        with call.wiring.rate_limiter.counted(*_uses(call, kind)):
            view = _retry(
                call,
                task_id,
                owner=call.user.id,
                cooldown_s=_cooldown_s(call, kind),
                alone=is_unproven(call),
            )
    call.wiring.queue.hint(view.task.id, view.task.name)
    return view


def _retry(
    call: Call,
    task_id: str,
    *,
    owner: int | None = None,
    cooldown_s: int = 0,
    alone: bool = False,
) -> TaskView:
    database = call.wiring.database
    takes_more = alone or cooldown_s
    if not takes_more and tasks.retry(database, task_id, now=call.now, owner=owner):
        with database.read() as session:
            return view_task(session, task_id)
    about: dict[str, Any] = {"owner": owner, "cooldown_s": cooldown_s, "alone": alone}
    with database.pipeline() as session:
        retry_task(session, task_id, now=call.now, **about)
        session.flush()
        return view_task(session, task_id)


def delete_file(call: Call, task_id: str) -> None:
    """Delete an export's file; the errors are those of `files.remove_file`."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.pipeline() as session:
        files.remove_file(session, task_id, lease_s=lease_s, now=call.now, owner=call.user.id)
    remove_files(call, task_id)


def email_again(call: Call, task_id: str) -> TaskView:
    """Have the email about an export sent again; the errors of `files.email_again`, and more.

    Raises:
        AddressUnconfirmed: First the address is to be confirmed.
        TooMany: Too many emails were requested.
        ExportGone: Also when S3 has lost the file.
        Unavailable: S3 does not respond.
    """
    if is_unproven(call):
        raise AddressUnconfirmed
    call.wiring.rate_limiter.spend((EMAILS_PER_USER, call.user.id))
    with call.wiring.database.read() as session:
        _require_object(call, view_task(session, task_id, owner=call.user.id))
    with call.wiring.database.pipeline() as session:
        files.email_again(session, task_id, now=call.now, owner=call.user.id)
        session.flush()
        view = view_task(session, task_id)
    call.wiring.outbox_hint.send()
    return view


def download(call: Call, task_id: str) -> tuple[str, str]:
    """Sign a URL for an export's file, and note the download in the audit.

    Returns:
        The URL and the `Content-Disposition` that goes with it.

    Raises:
        NotFound, NotReady, NoFile, ExportGone: As `files.require_file`; also when S3 has lost it.
        Unavailable: S3 does not respond.
    """
    with call.wiring.database.read() as session:
        view = view_task(session, task_id, owner=call.user.id)
    key, kind = _require_object(call, view), export_of(view.task)
    if kind is None or view.task.started_at is None:
        raise NotFound
    content = kind.content(call.user.username, view.task.started_at)
    with call.wiring.database.write() as session:
        files.note_download(session, view.task)
    return call.wiring.object_store.sign(key, content), content.disposition


def _require_object(call: Call, view: TaskView) -> str:
    """The key of a published file, after a look whether it is there."""
    from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

    key = files.require_file(view.task, view.export, now=call.now)
    try:
        if call.wiring.object_store.size(key) is None:
            raise ExportGone
    except (BotoCoreError, ClientError) as error:
        log.warning("S3 does not respond", extra={"action": "download"}, exc_info=True)
        raise Unavailable from error
    return key


def remove_files(call: Call, task_id: str | None = None) -> None:
    """Remove a task's files or all of the caller's before the response.

    What fails here is done by the reconciler.
    """
    try:
        removals.execute(call.wiring.database, call.wiring.object_store, call.user.id, task_id)
    except Exception:
        log.warning("could not remove", extra={"action": "remove"}, exc_info=True)


def write_post(call: Call, body: str) -> Post:
    """Write a post.

    Raises:
        QuotaExceeded: The user's posts would take more space than there is.
    """
    quota_bytes = call.wiring.settings.post_quota_bytes
    with call.wiring.database.write() as session:
        return posts.write_post(session, call.user.id, body, now=call.now, quota_bytes=quota_bytes)


def delete_post(call: Call, post_id: str) -> None:
    """Delete one of the caller's posts.

    Raises:
        NotFound: They have no such post.
    """
    if not (post_id.isascii() and post_id.isdigit() and len(post_id) < 19):  # noqa: PLR2004 - 64 bits
        raise NotFound
    with call.wiring.database.write() as session:
        posts.delete_post(session, call.user.id, int(post_id))

"""What people do to their tasks and files, over the API and with the buttons of the pages."""

from sqlalchemy import orm as so

from chalicelib.accounts import accounts
from chalicelib.accounts.rate_limits import MAILS_PER_USER, spend
from chalicelib.db.models import Task
from chalicelib.errors import AddressUnconfirmed, NotFound
from chalicelib.exports import files, removals
from chalicelib.microblog import posts
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.requests import Seen
from chalicelib.web import answers
from chalicelib.web.api import Call


def cancel(call: Call, task_id: str, *, anybodys: bool = False) -> Task:
    """Cancel a task.

    Args:
        call: The request.
        task_id: Which task.
        anybodys: Whether it may be another user's, as for an administrator.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskEnded: It succeeded or failed already.
    """
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        _check_owner(call, session, task_id, anybodys=anybodys)
        task = task_requests.cancel_task(session, task_id, lease_s=lease_s, now=call.now)
    if task.mail_state == "pending":
        answers.ring(call, task)
    return task


def retry(call: Call, task_id: str, *, anybodys: bool = False) -> Seen:
    """Queue a failed or cancelled task again.

    Args:
        call: The request.
        task_id: Which task.
        anybodys: As for `cancel`.

    Raises:
        NotFound: There is no such task, or it is another user's.
        TaskActive: It is not over, or it succeeded.
        TaskInProgress: Its user has another one of this kind that is not over.
    """
    with call.wiring.database.write() as session:
        _check_owner(call, session, task_id, anybodys=anybodys)
        task = task_requests.retry_task(session, task_id, now=call.now)
        seen = task_requests.get_task(session, task.user_id, task_id)
    answers.ring(call, seen.task)
    return seen


def _check_owner(call: Call, session: so.Session, task_id: str, *, anybodys: bool) -> None:
    if not anybodys:
        task_requests.get_task(session, call.user.id, task_id)


def delete_file(call: Call, task_id: str) -> None:
    """Delete an export's file; the errors are those of `files.remove_file`."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        task_requests.get_task(session, call.user.id, task_id)
        prefix = files.remove_file(session, task_id, lease_s=lease_s, now=call.now)
    answers.remove(call, prefix)


def mail_again(call: Call, task_id: str) -> Task:
    """Have an export's mail sent again; the errors are those of `files.mail_again`, and more.

    Raises:
        AddressUnconfirmed: First the address is to be confirmed.
        TooMany: Too many mails were asked for.
        ExportGone: Also when S3 has lost the file.
        Unavailable: S3 does not answer.
    """
    settings = call.wiring.settings
    if settings.verify_email and call.user.confirmed_at is None:
        raise AddressUnconfirmed
    if settings.limits:
        spend(call.wiring.queue.redis, (MAILS_PER_USER, call.user.id))
    with call.wiring.database.read() as session:
        seen = task_requests.get_task(session, call.user.id, task_id)
    answers.require_object(call, files.require_file(seen.task, now=call.now))
    with call.wiring.database.write() as session:
        task_requests.get_task(session, call.user.id, task_id)
        task = files.mail_again(session, task_id, now=call.now)
    answers.ring(call, task)
    return task


def erase(call: Call) -> None:
    """Erase the account of the one who calls, and everything of theirs."""
    lease_s = call.wiring.settings.lease_s
    with call.wiring.database.write() as session:
        accounts.erase(session, call.user.id, lease_s=lease_s, now=call.now)
    answers.remove(call, removals.user_prefix(call.user.id))


def delete_post(call: Call, post_id: str) -> None:
    """Delete a post of the one who calls.

    Raises:
        NotFound: They have no such post.
    """
    if not (post_id.isascii() and post_id.isdigit() and len(post_id) < 19):  # noqa: PLR2004 - 64 bits
        raise NotFound
    with call.wiring.database.write() as session:
        posts.delete_post(session, call.user.id, int(post_id))

"""The emails that SES accepted, and what must be true of them and of the outbox."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from email import message_from_binary_file, policy
from pathlib import Path

from chalicelib.db.models import ExportFile, OutboxMessage, Task
from chalicelib.values.fields import parse_time

OPEN = frozenset({"pending", "sending"})
"""The states of a message of which something is still to come."""

EVENTS = {"sent": "emailed", "failed": "email_failed", "unknown": "email_unknown"}
"""What the audit calls the states that a message about a task may end in."""

MAY_BE_SENT = frozenset({"sent", "unknown"})
"""The states of a message that SES may have accepted."""


@dataclass(frozen=True)
class Email:
    """An email that SES accepted.

    Attributes:
        unique: What tells the message from all others: the local part of its Message-ID.
        message_id: The id that SES gave it.
    """

    unique: str
    message_id: str


def accepted_by_ses(folder: Path) -> list[Email]:
    """Every email, out of the files that the emulator keeps."""
    return [_email(path) for path in folder.glob("*.eml")]


def _email(path: Path) -> Email:
    with path.open("rb") as file:
        message = message_from_binary_file(file, policy=policy.default)
    unique = str(message["Message-ID"]).strip().removeprefix("<").partition("@")[0]
    return Email(unique, path.stem.partition("-")[2])


def ending_of(task: Task) -> str:
    """What an email about a task's present ending is called."""
    moment = task.finished_at or task.created_at
    return f"{task.id}.{task.status}.{moment:%Y%m%d%H%M%S%f}"


def _ending_in(message: OutboxMessage) -> str:
    """The same, of the ending that a message of the outbox is about."""
    finished_at = parse_time(message.payload["finished_at"])
    return f"{message.task_id}.{message.payload['status']}.{finished_at:%Y%m%d%H%M%S%f}"


def export_faults(
    task: Task,
    export: ExportFile | None,
    messages: Collection[OutboxMessage],
    emails: Collection[Email],
    *,
    asked_again: int,
) -> Iterator[str]:
    """What is wrong with the emails about an export: one for each ending, and the truth about it.

    Args:
        task: The task.
        export: Its export.
        messages: What the outbox holds about it.
        emails: The emails about it.
        asked_again: How often, at most, the user asked to have the last email sent once more.
    """
    ending = ending_of(task)
    most = {ending: 1 + asked_again}
    told = Counter(map(_ending_in, messages))
    yield from _count(told, most, "messages in the outbox about one ending")
    yield from _count(Counter(one.unique for one in emails), most, "emails for one ending")
    if not told[ending]:
        yield "no message in the outbox tells of its ending"
    if [one.id for one in messages if _ending_in(one) == ending and _is_named(export, one)] == []:
        yield "its export does not name the message about its ending"
    for one in told | Counter(one.unique for one in emails):
        mine = [message for message in messages if _ending_in(message) == one]
        yield from _states(mine, [email for email in emails if email.unique == one])


def _count(found: Mapping[str, int], most: Mapping[str, int], what: str) -> Iterator[str]:
    for one, count in found.items():
        if count > most.get(one, 1):
            yield f"{count} {what}"


def _is_named(export: ExportFile | None, message: OutboxMessage) -> bool:
    return export is not None and export.email_id == message.id


def _states(messages: Sequence[OutboxMessage], emails: Sequence[Email]) -> Iterator[str]:
    """Compare the messages about one ending with the emails about it."""
    ids = {email.message_id for email in emails}
    sent = [message.message_id for message in messages if message.state == "sent"]
    if sent and not emails:
        yield "no email about its ending"
    elif not ids.issuperset(sent) or len(set(sent)) < len(sent):
        yield "the email that was sent is not that of the ledger"
    possible = sum(message.state in MAY_BE_SENT for message in messages)
    if len(emails) > possible:
        states = [message.state for message in messages]
        yield f"{len(emails)} emails were sent, the messages are called {', '.join(states)}"


def account_faults(messages: Collection[OutboxMessage], emails: Collection[Email]) -> Iterator[str]:
    """What is wrong with the emails about accounts: each is sent at least once, or refused."""
    for message in messages:
        mine = [email for email in emails if email.unique.startswith(f"{message.id}.")]
        name = f"message {message.id} ({message.topic})"
        if message.state not in {"sent", "failed"}:
            yield f"{name} ended as {message.state}"
        if message.state == "sent" and not mine:
            yield f"{name}: lost: it is called sent, and there is no email"
        if message.state == "sent" and message.message_id not in {one.message_id for one in mine}:
            yield f"{name}: the email that was sent is not that of the ledger"
        if len(mine) > message.tries:
            yield f"{name} was tried {message.tries} times, {len(mine)} emails were sent"

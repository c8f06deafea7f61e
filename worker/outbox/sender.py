"""Sends the mail that a task's outcome asks for, through SESv2 and the mail ledger."""

import logging
import random
from datetime import datetime
from functools import cache
from typing import Any, Literal

import sqlalchemy as sa
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
)

from chalicelib.db.models import Task, User
from chalicelib.logs import metrics
from chalicelib.outbox import messages
from chalicelib.outbox.messages import MailHolder
from chalicelib.settings import Settings
from chalicelib.wiring import Wiring
from worker.outbox.export_email import ExportNotice, compose
from worker.transient_errors import THROTTLED

log = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
NEVER_ASKED = EndpointConnectionError, ConnectTimeoutError, NoCredentialsError
"""After these errors SES certainly knows nothing of the mail."""

MAX_PAUSE_S = 300
"""The longest wait before SES is asked again."""


@cache
def ses(endpoint_url: str | None) -> Any:
    """A SESv2 client that asks once: a second try after a lost answer is a second mail."""
    import boto3  # noqa: PLC0415 - slow; see `object_store`
    from botocore.config import Config  # noqa: PLC0415

    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
    )
    return boto3.client("sesv2", endpoint_url=endpoint_url or None, config=config)


def deliver(task_id: str, wiring: Wiring, *, content: bytes | None = None) -> None:
    """Send a task's mail if one is due; the ledger says what became of it.

    Args:
        task_id: Whose mail.
        wiring: Clients and settings.
        content: The file, where the caller has just published it; else it is read from S3.
    """
    lease_s = max(wiring.settings.lease_s, CONNECT_TIMEOUT_S + READ_TIMEOUT_S)
    claimed = messages.claim(wiring.database, task_id, lease_s=lease_s, now=wiring.now())
    if claimed is not None:
        _deliver(*claimed, wiring, content=content)


_USER = sa.select(User.username, User.email, User.language, User.confirmed_at).where(
    User.id == sa.bindparam("of")
)


def _deliver(holder: MailHolder, task: Task, wiring: Wiring, *, content: bytes | None) -> None:
    with wiring.database.read() as session:
        user = session.execute(_USER, {"of": task.user_id}).one_or_none()
    if user is None:
        return
    if wiring.settings.verify_email and user.confirmed_at is None:
        holder.settle("unconfirmed", now=wiring.now())
        return
    try:
        message = _compose(task, user, wiring, content=content)
    except Exception:
        # The storage may be down; a mail that can never be written fails with its last try.
        log.warning("no mail written", extra={"action": "mail", "task_id": task.id}, exc_info=True)
        _postpone(holder, task, wiring)
        return
    try:
        message_id = send(message, user.email, wiring.settings)
    except (BotoCoreError, ClientError) as error:
        state = what_became(error)
        log.warning("mail", extra=_facts(task, state))
        if state == "refused":
            _postpone(holder, task, wiring)
        else:
            holder.settle(state, now=wiring.now())
    else:
        holder.settle("sent", message_id=message_id, now=wiring.now())
        log.info("mail", extra=_facts(task, "sent"))


def _facts(task: Task, state: str) -> dict[str, Any]:
    counted = metrics({"Mails": (1, "Count")}, state=state)
    return {"action": "mail", "task_id": task.id, **counted}


def _postpone(holder: MailHolder, task: Task, wiring: Wiring) -> None:
    pause_s = min(MAX_PAUSE_S, 2**task.mail_tries) * random.uniform(0.5, 1)  # noqa: S311  # nosec B311
    holder.postpone(pause_s=pause_s, now=wiring.now())


def send(message: bytes, address: str, settings: Settings) -> str:
    """Hand a message to SES; return the id that it gave it."""
    answer = ses(settings.aws_endpoint_url).send_email(
        FromEmailAddress=settings.mail_sender,
        Destination={"ToAddresses": [address]},
        Content={"Raw": {"Data": message}},
    )
    return str(answer["MessageId"])


def what_became(error: Exception) -> Literal["refused", "failed", "unknown"]:
    """`refused` for now, `failed` for good, or `unknown`: SES may have taken it."""
    if isinstance(error, ClientError):
        if error.response["Error"]["Code"] in THROTTLED:
            return "refused"
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return "unknown" if status >= 500 else "failed"  # noqa: PLR2004
    return "refused" if isinstance(error, NEVER_ASKED) else "unknown"


def _compose(
    task: Task, user: sa.Row[*tuple[Any, ...]], wiring: Wiring, *, content: bytes | None
) -> bytes:
    settings = wiring.settings
    key = task.object_key or ""
    return compose(
        _notice(task, user, now=wiring.now()),
        sender=settings.mail_sender,
        public_url=settings.public_url,
        max_bytes=settings.mail_attach_max_bytes,
        read_file=lambda: b"".join(wiring.storage.read(key)) if content is None else content,
    )


def _notice(task: Task, user: sa.Row[*tuple[Any, ...]], *, now: datetime) -> ExportNotice:
    return ExportNotice(
        status=task.status,  # type: ignore[arg-type]
        task_id=task.id,
        username=user.username,
        email=user.email,
        language=user.language,
        requested_at=task.created_at,
        exported_at=task.started_at,
        finished_at=task.finished_at or now,
        posts=task.posts or 0,
        size_bytes=task.size_bytes or 0,
        sha256=task.sha256,
        expires_at=task.expires_at,
        error_code=task.error_code,
        error_detail=task.error_detail,
    )

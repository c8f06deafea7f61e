"""Everybody's messages, schedules, webhooks and imports, each with whose it is."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import (
    FAILED_MESSAGES,
    ImportUpload,
    OutboxMessage,
    Schedule,
    Task,
    User,
    Webhook,
)
from chalicelib.imports.uploads import ImportView
from chalicelib.values.paging import Page, cursor

T = TypeVar("T")

FAILED_STATES = frozenset({"failed", "unknown"})
"""Those of messages that did not arrive, as far as anybody knows."""


@dataclass(frozen=True)
class Owned(Generic[T]):
    """Something, and whose it is."""

    row: T
    username: str


Listed = tuple[Sequence[Owned[T]], str | None]
"""A page of a list, the newest first, and the cursor of the next page, if more follow."""


def list_messages(
    session: so.Session,
    *,
    page: Page,
    states: Sequence[str] = (),
    topic: str | None = None,
) -> Listed[OutboxMessage]:
    """Emails and deliveries to webhooks.

    Args:
        session: A session to read with.
        page: Which page.
        states: Only those in one of these states; all, if there is none.
        topic: Only those of this topic.
    """
    where: list[Any] = []
    if states:
        where.append(OutboxMessage.state.in_(states))
    if states and FAILED_STATES.issuperset(states):
        where.append(FAILED_MESSAGES)  # in the index's own words
    if topic is not None:
        where.append(OutboxMessage.topic == topic)
    return _list(session, OutboxMessage, page, *where)


def list_schedules(session: so.Session, *, page: Page) -> Listed[Schedule]:
    """Schedules."""
    return _list(session, Schedule, page)


def list_webhooks(
    session: so.Session, *, page: Page, failing: bool = False, user_id: int | None = None
) -> Listed[Webhook]:
    """Webhooks: of everybody or a user, or only those that fail or are disabled for that."""
    where: list[Any] = []
    if failing:
        where.append(sa.or_(Webhook.failing_since.is_not(None), Webhook.disabled_reason == "gone"))
    if user_id is not None:
        where.append(Webhook.user_id == user_id)
    return _list(session, Webhook, page, *where)


def list_imports(session: so.Session, *, page: Page) -> Listed[ImportView]:
    """Imports, with their tasks."""
    statement = (
        sa.select(ImportUpload, Task, User.username)
        .join(User, User.id == ImportUpload.user_id)
        .outerjoin(Task, Task.id == ImportUpload.task_id)
    )
    rows = session.execute(page.of(statement, ImportUpload.created_at, ImportUpload.id))
    listed = [Owned(ImportView(upload, task), name) for upload, task, name in rows]
    return _cut(page, listed, lambda view: view.upload)


def _list(session: so.Session, kind: Any, page: Page, *where: Any) -> Listed[Any]:
    statement = sa.select(kind, User.username).join(User, User.id == kind.user_id).where(*where)
    rows = session.execute(page.of(statement, kind.created_at, kind.id))
    return _cut(page, [Owned(row[0], row[1]) for row in rows], lambda row: row)


def _cut(page: Page, listed: Sequence[Owned[T]], stored: Callable[[T], Any]) -> Listed[T]:
    found, more = page.cut(listed)
    last = stored(found[-1].row) if more else None
    return found, cursor(last.created_at, last.id) if last else None


def names_of(session: so.Session, user_ids: Collection[int]) -> dict[int, str]:
    """The names of accounts, by their numbers; those that are gone are left out."""
    statement = sa.select(User.id, User.username).where(User.id.in_(user_ids))
    return {row[0]: row[1] for row in session.execute(statement)}

"""The ledger: users, tasks, notifications.

SQL is the truth about every task. Redis only says that there may be something to do.
"""

from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.types import Json, JsonObject, UuidText

NOT_EXPORTED = "not_exported"
"""The key in a table's `info` under which it says why the data of an account goes without it."""

BigId = sa.BigInteger().with_variant(sa.Integer, "sqlite")
"""64 bits on both; only SQLite's INTEGER counts up by itself."""

ACTIVE = ("queued", "running", "cancelling")
"""The states of a task that is not over yet."""

LEASED = ("running", "cancelling")
"""The states of a task on which a worker has a lease."""


QUEUED, PENDING, FAILED = (
    sa.literal_column(f"'{state}'", sa.String) for state in ("queued", "pending", "failed")
)
LEASED_TASKS = sa.text("status IN ('running', 'cancelling')")
OPEN_MESSAGES = sa.text("state IN ('pending', 'sending')")
UPLOADS_TO_EXPIRE = sa.text("upload_gone_at IS NULL")
REPORTS_TO_EXPIRE = sa.text("report_expires_at IS NOT NULL AND report_gone_at IS NULL")
ROWS_TO_DELETE = sa.text("staged AND upload_gone_at IS NOT NULL")
FILES_TO_EXPIRE = sa.text("expires_at IS NOT NULL AND gone_at IS NULL")
DUE_DELIVERIES = sa.text("topic = 'webhook' AND state = 'pending'")
DELIVERIES_ON_THEIR_WAY = sa.text("topic = 'webhook' AND state = 'sending'")
DELIVERIES = sa.text("webhook_id IS NOT NULL")
FAILED_MESSAGES = sa.text("state IN ('failed', 'unknown')")
"""Literals, written in statements exactly as in the partial indexes: SQLite does not use such an
index for a parameter in the place of a state, or for the same condition in other words."""


class Base(so.DeclarativeBase):
    """The schema."""

    # What the database computed (its clock, mostly) comes back with the statement itself.
    __mapper_args__ = {"eager_defaults": True}  # noqa: RUF012 - SQLAlchemy's own form

    metadata = sa.MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UtcDateTime, dict[str, Any]: JsonObject(none_as_null=True)}  # noqa: RUF012 - SQLAlchemy's own form


class User(Base):
    """An account.

    `notification_seq` is the last number given to a notification; it is raised by an UPDATE of
    this row in the transaction that writes the notification, so that numbers become visible in
    their order.
    """

    __tablename__ = "users"
    __table_args__ = (
        sa.Index("uq_users_username", sa.text("lower(username)"), unique=True),
        sa.Index("uq_users_email", sa.text("lower(email)"), unique=True),
        # A number that was once an account's is never another's: it is part of S3 keys.
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    username: so.Mapped[str] = so.mapped_column(sa.String(64))
    email: so.Mapped[str] = so.mapped_column(sa.String(254))
    password_hash: so.Mapped[str] = so.mapped_column(sa.String(255))
    language: so.Mapped[str] = so.mapped_column(sa.String(8))
    is_admin: so.Mapped[bool] = so.mapped_column(default=False)
    created_at: so.Mapped[datetime]
    notification_seq: so.Mapped[int] = so.mapped_column(sa.BigInteger, default=0)
    # Since when the email address is known to be theirs.
    confirmed_at: so.Mapped[datetime | None]


class Token(Base):
    """A bearer token or a page's session; only its SHA-256 is kept."""

    __tablename__ = "tokens"
    __table_args__ = (
        sa.Index("ix_tokens_user_id_created_at_digest", "user_id", "created_at", "digest"),
    )

    digest: so.Mapped[bytes] = so.mapped_column(sa.LargeBinary(32), primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    created_at: so.Mapped[datetime]
    expires_at: so.Mapped[datetime] = so.mapped_column(index=True)


class Task(Base):
    """What a user requested, from the request to its one outcome.

    All writes go through `chalicelib.tasks.transitions`, which checks the claim of a worker that
    writes, so that one that lost the task changes nothing. ARCHITECTURE.md draws the states.
    """

    __tablename__ = "tasks"
    __table_args__ = (
        # One of a kind at a time for each user; both databases know partial unique indexes.
        sa.Index(
            "uq_tasks_in_progress",
            "user_id",
            "name",
            "unique_key",
            unique=True,
            sqlite_where=sa.text("status IN ('queued', 'running', 'cancelling')"),
            postgresql_where=sa.text("status IN ('queued', 'running', 'cancelling')"),
        ),
        sa.Index(
            "ix_tasks_queued",
            "queued_at",
            "id",
            sqlite_where=sa.text("status = 'queued'"),
            postgresql_where=sa.text("status = 'queued'"),
        ),
        sa.Index(
            "ix_tasks_leased",
            "lease_until",
            sqlite_where=LEASED_TASKS,
            postgresql_where=LEASED_TASKS,
        ),
        sa.Index("ix_tasks_user_id_created_at_id", "user_id", "created_at", "id"),
        # What operators look at.
        sa.Index("ix_tasks_created_at_id", "created_at", "id"),
        sa.Index(
            "ix_tasks_finished",
            "finished_at",
            sqlite_where=sa.text("finished_at IS NOT NULL"),
            postgresql_where=sa.text("finished_at IS NOT NULL"),
        ),
        sa.Index(
            "ix_tasks_failed",
            "finished_at",
            sqlite_where=sa.text("status = 'failed'"),
            postgresql_where=sa.text("status = 'failed'"),
        ),
    )

    id: so.Mapped[str] = so.mapped_column(UuidText, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    name: so.Mapped[str] = so.mapped_column(sa.String(64))
    params: so.Mapped[dict[str, Any]]
    status: so.Mapped[str] = so.mapped_column(sa.String(16), default="queued")
    created_at: so.Mapped[datetime]

    # The queue: since when the task waits for a worker, and before when it must not run.
    # `yielded_at` is since when it waits at the end because others had waited for it.
    queued_at: so.Mapped[datetime]
    due_at: so.Mapped[datetime]
    yielded_at: so.Mapped[datetime | None]

    # The schedule that launched it, which may be gone by now.
    schedule_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))

    # What tells two tasks of a kind apart that one user may have in progress at a time: the
    # parameters that the kind names in `unique_by`. Most kinds name none.
    unique_key: so.Mapped[str] = so.mapped_column(sa.String(255), default="")

    # The claim. `claim` rises each time a worker claims the task; `failures` counts the claims
    # that ended in a crash or a transient error; `attempt` is what people see.
    claim: so.Mapped[int] = so.mapped_column(default=0)
    failures: so.Mapped[int] = so.mapped_column(default=0)
    attempt: so.Mapped[int] = so.mapped_column(default=0)
    max_attempts: so.Mapped[int]
    worker: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    lease_until: so.Mapped[datetime | None]
    last_seen_at: so.Mapped[datetime | None]
    started_at: so.Mapped[datetime | None]
    finished_at: so.Mapped[datetime | None]

    # Progress never falls; `checkpoint` is the task's own note of where to go on, and
    # `checkpoint_claim` the claim that moved it last.
    percent: so.Mapped[int] = so.mapped_column(default=0)
    done: so.Mapped[int] = so.mapped_column(sa.BigInteger, default=0)
    total: so.Mapped[int] = so.mapped_column(sa.BigInteger, default=0)
    checkpoint: so.Mapped[dict[str, Any] | None]
    checkpoint_claim: so.Mapped[int | None]

    # The outcome.
    error_code: so.Mapped[str | None] = so.mapped_column(sa.String(64))
    error_detail: so.Mapped[str | None] = so.mapped_column(sa.Text)
    result: so.Mapped[dict[str, Any] | None]


class Schedule(Base):
    """A task that is launched again and again; `chalicelib.tasks.schedules` has the rules.

    Attributes:
        name: The kind of task, and `params` its parameters.
        anchor: Since when the rule counts.
        settled_at: Up to when its runs were launched or skipped, or do not count.
        next_run_at: The first run after that; NULL while disabled, and when the rule has ended.
        last_task_id: The task that it launched last; without a foreign key, or each task that goes
            with an erased account would be looked for here.
        counted_task_id: The task whose failure was counted last.
        skipped: How many runs were skipped.
        failures: How many tasks failed since the last one that succeeded.
    """

    __tablename__ = "schedules"
    __table_args__ = (
        sa.Index("ix_schedules_user_id_created_at_id", "user_id", "created_at", "id"),
        sa.Index(
            "ix_schedules_next_run_at",
            "next_run_at",
            sqlite_where=sa.text("next_run_at IS NOT NULL"),
            postgresql_where=sa.text("next_run_at IS NOT NULL"),
        ),
    )

    id: so.Mapped[str] = so.mapped_column(UuidText, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    name: so.Mapped[str] = so.mapped_column(sa.String(64))
    params: so.Mapped[dict[str, Any]]
    rrule: so.Mapped[str] = so.mapped_column(sa.String(500))
    timezone: so.Mapped[str] = so.mapped_column(sa.String(64))
    created_at: so.Mapped[datetime] = so.mapped_column(index=True)
    anchor: so.Mapped[datetime]
    enabled: so.Mapped[bool] = so.mapped_column(default=True)
    settled_at: so.Mapped[datetime]
    next_run_at: so.Mapped[datetime | None]
    last_task_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))
    counted_task_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))
    skipped: so.Mapped[int] = so.mapped_column(default=0)
    failures: so.Mapped[int] = so.mapped_column(default=0)


class Pause(Base):
    """A kind of task that no worker may claim, or `*` for all of them."""

    __tablename__ = "pauses"

    name: so.Mapped[str] = so.mapped_column(sa.String(64), primary_key=True)
    created_at: so.Mapped[datetime]


class ExportFile(Base):
    """What a task of an export adds to its row: the snapshot it is taken of, and the file.

    Written by the hooks of `chalicelib.exports.kinds` in the transaction that changes the task.

    Attributes:
        snapshot: By dataset, the newest row when the first attempt began; later rows are not in
            the export.
        rows: By dataset, how many rows the file holds.
        gone_at: Since when the file is deleted or expired.
        email_id: The message about the task's present outcome.
    """

    __tablename__ = "exports"
    __table_args__ = (
        sa.Index(
            "ix_exports_expires_at",
            "expires_at",
            sqlite_where=FILES_TO_EXPIRE,
            postgresql_where=FILES_TO_EXPIRE,
        ),
        {"info": {NOT_EXPORTED: "the files of exports, which people have downloaded or can"}},
    )

    task_id: so.Mapped[str] = so.mapped_column(
        sa.ForeignKey("tasks.id", ondelete="CASCADE"), primary_key=True
    )
    snapshot: so.Mapped[dict[str, Any] | None]
    object_key: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    rows: so.Mapped[dict[str, Any] | None]
    size_bytes: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    sha256: so.Mapped[str | None] = so.mapped_column(sa.String(64))
    expires_at: so.Mapped[datetime | None]
    gone_at: so.Mapped[datetime | None]
    # No foreign key: each message that goes with an erased account would be looked for here.
    email_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))


class ImportUpload(Base):
    """A file that a user uploads, and what became of it; `chalicelib.imports` writes it.

    Attributes:
        number: What its staged rows are filed under.
        id: What people and the API call it.
        task_id: The task that imports it; NULL until it is started, and for the command line's.
        filename: What its user calls it, for people; never part of a key.
        size_bytes: How large it is in the bucket; NULL until somebody looked.
        etag: Which content was started: another one uploaded later is not read.
        expires_at: Until when it can be started.
        upload_gone_at: Since when it is over: imported, failed, cancelled or expired. The file is
            removed.
        staged: Whether there may be staged rows, which are deleted when it is over.
        format: What its content was told to be; with `read`, `imported`, `skipped` and `rejected`
            NULL until it is imported.
        report_key: Where the report of rejected posts is.
    """

    __tablename__ = "imports"
    __table_args__ = (
        sa.Index("ix_imports_user_id_created_at_id", "user_id", "created_at", "id"),
        sa.Index("ix_imports_created_at_id", "created_at", "id"),  # what operators look at
        sa.Index(
            "ix_imports_expires_at",
            "expires_at",
            sqlite_where=UPLOADS_TO_EXPIRE,
            postgresql_where=UPLOADS_TO_EXPIRE,
        ),
        sa.Index(
            "ix_imports_report_expires_at",
            "report_expires_at",
            sqlite_where=REPORTS_TO_EXPIRE,
            postgresql_where=REPORTS_TO_EXPIRE,
        ),
        sa.Index(
            "ix_imports_upload_gone_at",
            "upload_gone_at",
            sqlite_where=ROWS_TO_DELETE,
            postgresql_where=ROWS_TO_DELETE,
        ),
        {
            # Staged rows are filed under a number, so it is never used again.
            "sqlite_autoincrement": True,
            "info": {NOT_EXPORTED: "uploads; what became of them is the result of their tasks"},
        },
    )

    number: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    id: so.Mapped[str] = so.mapped_column(sa.String(36), unique=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    task_id: so.Mapped[str | None] = so.mapped_column(
        sa.ForeignKey("tasks.id", ondelete="CASCADE"), unique=True
    )
    filename: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    size_bytes: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    etag: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    created_at: so.Mapped[datetime]
    expires_at: so.Mapped[datetime]
    upload_gone_at: so.Mapped[datetime | None]
    staged: so.Mapped[bool] = so.mapped_column(default=False)
    format: so.Mapped[str | None] = so.mapped_column(sa.String(32))
    read: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    imported: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    skipped: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    rejected: so.Mapped[int | None] = so.mapped_column(sa.BigInteger)
    report_key: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    report_expires_at: so.Mapped[datetime | None]
    report_gone_at: so.Mapped[datetime | None]


class ImportRow(Base):
    """A row of a file that is being imported: nobody sees it before all of them are published.

    Nothing refers to `imports`: to look the number up for each of a million rows would take as
    long as to store them. A trigger of `imports` deletes what an erased account has left here.

    Attributes:
        number: The import's.
        timestamp: The key begins with it, so that rows are published in its order unsorted.
        position: Where it stands in the file, from 1.
    """

    __tablename__ = "import_rows"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form

    number: so.Mapped[int] = so.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    timestamp: so.Mapped[datetime] = so.mapped_column(primary_key=True)
    position: so.Mapped[int] = so.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False
    )
    body: so.Mapped[str] = so.mapped_column(sa.Text)


class ImportRejection(Base):
    """What of a file is not imported, and why; deleted with the staged rows."""

    __tablename__ = "import_rejections"
    __table_args__ = {"sqlite_with_rowid": False}  # noqa: RUF012 - SQLAlchemy's own form

    number: so.Mapped[int] = so.mapped_column(sa.BigInteger, primary_key=True, autoincrement=False)
    position: so.Mapped[int] = so.mapped_column(
        sa.BigInteger, primary_key=True, autoincrement=False
    )
    reason: so.Mapped[str] = so.mapped_column(sa.String(255))


class OutboxMessage(Base):
    """Something to tell the world once; `chalicelib.outbox.messages` has the states.

    Attributes:
        topic: What it is about: `export`, `confirm`, `reset` and `moved` about an account,
            `webhook_disabled`; or `webhook`: a delivery to one, which is no email.
        payload: All that its text needs, as JSON.
        address: Where it goes; NULL until it is sent where that is the user's address of then.
        webhook_id: The webhook that it is delivered to; NULL for an email, as what follows.
        number: The number of the delivery among those of its webhook, from 1.
        status_code: What the receiver answered last, as an HTTP status.
        error_code: Why the last try failed, where no status tells.
        tried_at: When it was tried last.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        sa.Index(
            "ix_outbox_due_at",
            "due_at",
            sqlite_where=OPEN_MESSAGES,
            postgresql_where=OPEN_MESSAGES,
        ),
        sa.Index(
            "ix_outbox_due_deliveries",
            "due_at",
            sqlite_where=DUE_DELIVERIES,
            postgresql_where=DUE_DELIVERIES,
        ),
        sa.Index(
            "ix_outbox_deliveries_on_their_way",
            "user_id",
            "webhook_id",
            sqlite_where=DELIVERIES_ON_THEIR_WAY,
            postgresql_where=DELIVERIES_ON_THEIR_WAY,
        ),
        sa.Index(
            "uq_outbox_webhook_id_number",
            "webhook_id",
            "number",
            unique=True,
            sqlite_where=DELIVERIES,
            postgresql_where=DELIVERIES,
        ),
        sa.Index(
            "ix_outbox_deliveries_created_at",
            "created_at",
            sqlite_where=DELIVERIES,
            postgresql_where=DELIVERIES,
        ),
        sa.Index("ix_outbox_user_id_created_at_id", "user_id", "created_at", "id"),
        # What operators look at.
        sa.Index("ix_outbox_created_at_id", "created_at", "id"),
        sa.Index(
            "ix_outbox_failed",
            "created_at",
            "id",
            sqlite_where=FAILED_MESSAGES,
            postgresql_where=FAILED_MESSAGES,
        ),
    )

    id: so.Mapped[str] = so.mapped_column(UuidText, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    task_id: so.Mapped[str | None] = so.mapped_column(
        sa.ForeignKey("tasks.id", ondelete="CASCADE"), index=True
    )
    topic: so.Mapped[str] = so.mapped_column(sa.String(32))
    payload: so.Mapped[dict[str, Any]]
    address: so.Mapped[str | None] = so.mapped_column(sa.String(254))
    state: so.Mapped[str] = so.mapped_column(sa.String(16), default="pending")
    claim: so.Mapped[int] = so.mapped_column(default=0)
    tries: so.Mapped[int] = so.mapped_column(default=0)
    created_at: so.Mapped[datetime]
    due_at: so.Mapped[datetime]
    lease_until: so.Mapped[datetime | None]
    message_id: so.Mapped[str | None] = so.mapped_column(sa.String(255))
    sent_at: so.Mapped[datetime | None]
    # No foreign key: who deletes a webhook deletes its deliveries.
    webhook_id: so.Mapped[str | None] = so.mapped_column(UuidText)
    number: so.Mapped[int | None]
    status_code: so.Mapped[int | None]
    error_code: so.Mapped[str | None] = so.mapped_column(sa.String(32))
    tried_at: so.Mapped[datetime | None]


class Webhook(Base):
    """Where a user wants to be told that tasks have ended.

    The database's own trigger puts a delivery into the outbox for each enabled webhook of the user,
    in the statement that ends a task; so no way to end one can forget it, and none takes longer.

    Attributes:
        events: Which endings: `task.succeeded`, `task.failed`, `task.cancelled`.
        secret: What deliveries are signed with. Shown once, and needed for as long as it lasts.
        disabled_reason: `paused` by its user, `gone` (the receiver said 410) or `failing` (for a
            day); NULL while it is enabled.
        failing_since: When the first try failed since the last success.
        deliveries: How many there were, which is the number of the last one.
    """

    __tablename__ = "webhooks"
    __table_args__ = (
        sa.Index("ix_webhooks_user_id_created_at_id", "user_id", "created_at", "id"),
        sa.Index("ix_webhooks_created_at", "created_at"),
    )

    id: so.Mapped[str] = so.mapped_column(UuidText, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    url: so.Mapped[str] = so.mapped_column(sa.String(2048))
    events: so.Mapped[list[str]] = so.mapped_column(Json())
    secret: so.Mapped[str] = so.mapped_column(sa.String(64))
    enabled: so.Mapped[bool] = so.mapped_column(default=True)
    disabled_reason: so.Mapped[str | None] = so.mapped_column(sa.String(16))
    failing_since: so.Mapped[datetime | None]
    created_at: so.Mapped[datetime]
    deliveries: so.Mapped[int] = so.mapped_column(default=0)


class Notification(Base):
    """The newest news about one subject; a task's is replaced, never added to."""

    __tablename__ = "notifications"
    __table_args__ = (sa.Index("uq_notifications_user_id_seq", "user_id", "seq", unique=True),)

    user_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    name: so.Mapped[str] = so.mapped_column(sa.String(64), primary_key=True)
    subject: so.Mapped[str] = so.mapped_column(sa.String(36), primary_key=True)
    seq: so.Mapped[int] = so.mapped_column(sa.BigInteger)
    timestamp: so.Mapped[datetime]
    data: so.Mapped[dict[str, Any]]


class IdempotencyKey(Base):
    """What a client called a request, so that the same request again is the same task."""

    __tablename__ = "idempotency_keys"
    __table_args__ = {"info": {NOT_EXPORTED: "what a client called its requests of today"}}  # noqa: RUF012 - SQLAlchemy's own form

    user_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), primary_key=True
    )
    key: so.Mapped[str] = so.mapped_column(sa.String(255), primary_key=True)
    fingerprint: so.Mapped[str] = so.mapped_column(sa.String(64))
    task_id: so.Mapped[str] = so.mapped_column(sa.String(36))
    created_at: so.Mapped[datetime] = so.mapped_column(index=True)


class LinkKey(Base):
    """What a link in an email opens, once; only the SHA-256 of its secret is kept."""

    __tablename__ = "link_keys"
    __table_args__ = {"info": {NOT_EXPORTED: "secrets of links that work for minutes"}}  # noqa: RUF012 - SQLAlchemy's own form

    digest: so.Mapped[bytes] = so.mapped_column(sa.LargeBinary(32), primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey("users.id", ondelete="CASCADE"), index=True
    )
    kind: so.Mapped[str] = so.mapped_column(sa.String(16))
    address: so.Mapped[str] = so.mapped_column(sa.String(254))
    expires_at: so.Mapped[datetime] = so.mapped_column(index=True)


class FailedLogin(Base):
    """A wrong password, by the digest of the account or address, while Redis could not count it."""

    __tablename__ = "failed_logins"

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    subject: so.Mapped[str] = so.mapped_column(sa.String(96), index=True)
    at: so.Mapped[datetime]


class CountedEmail(Base):
    """An email about an account, by the digest of whom it reached or who caused it.

    Without the user: to erase an account and to sign up again must not begin to count anew.
    """

    __tablename__ = "counted_emails"

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    subject: so.Mapped[str] = so.mapped_column(sa.String(96), index=True)
    at: so.Mapped[datetime]


class AuditEntry(Base):
    """Something that happened, for good: triggers write it, and nobody can change it.

    Holds numbers only, so that it may outlive the account that it is about.
    """

    __tablename__ = "audit"
    __table_args__ = (
        sa.Index("ix_audit_user_id_id", "user_id", "id"),
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    at: so.Mapped[datetime]
    event: so.Mapped[str] = so.mapped_column(sa.String(16))
    user_id: so.Mapped[int] = so.mapped_column(sa.BigInteger)
    task_id: so.Mapped[str | None] = so.mapped_column(sa.String(36), index=True)


class LedgerProbe(Base):
    """One row that is written to see whether the ledger can be."""

    __tablename__ = "ledger_probe"

    id: so.Mapped[int] = so.mapped_column(primary_key=True)
    at: so.Mapped[datetime]


class Removal(Base):
    """A request to remove a user's files from the bucket, but for those that a task still needs.

    Written in the transaction that makes the objects worthless and executed afterwards, then once
    more when the lease of the last worker that may still write there is over. It outlives the
    account, so it refers to nothing.

    Attributes:
        task_id: Only this task's files.
        import_id: Only this import's upload; with neither, all of the user's files.
    """

    __tablename__ = "removals"
    __table_args__ = {"info": {NOT_EXPORTED: "which files go; gone itself when they are"}}  # noqa: RUF012 - SQLAlchemy's own form

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.BigInteger)
    task_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))
    import_id: so.Mapped[str | None] = so.mapped_column(sa.String(36))
    due_at: so.Mapped[datetime] = so.mapped_column(index=True)

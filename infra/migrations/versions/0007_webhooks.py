"""Webhooks, and the trigger that puts a delivery into the outbox when a task ends."""

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.types import Json

revision = "0007"
down_revision = "0006"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

INDEXES = (
    ("ix_outbox_due_deliveries", ("due_at",), "topic = 'webhook' AND state = 'pending'"),
    (
        "ix_outbox_deliveries_on_their_way",
        ("user_id", "webhook_id"),
        "topic = 'webhook' AND state = 'sending'",
    ),
    ("uq_outbox_webhook_id_number", ("webhook_id", "number"), "webhook_id IS NOT NULL"),
    ("ix_outbox_deliveries_created_at", ("created_at",), "webhook_id IS NOT NULL"),
)

COLUMNS = (
    "id", "user_id", "name", "params", "status", "created_at", "queued_at", "due_at", "claim",
    "failures", "attempt", "max_attempts", "last_seen_at", "started_at", "finished_at", "percent",
    "done", "total", "error_code", "error_detail", "result",
)  # fmt: skip
"""What a delivery keeps of the task as it ends; a retry may change the row before it is sent."""

JSON_COLUMNS = {"params", "result"}

ENDED = "NEW.status <> OLD.status AND NEW.status IN ('succeeded', 'failed', 'cancelled')"

# Name, when, on which table, under which condition, and what is written into the audit. Deliveries
# have no task in the outbox, so that those who send its email leave them alone; the audit has it.
AUDITED = (
    ("webhook_created", "AFTER INSERT", "webhooks", "1 = 1", "'webhook_created'", "NEW", "NULL"),
    (
        "webhook_changed",
        "AFTER UPDATE OF enabled",
        "webhooks",
        "NEW.enabled <> OLD.enabled",
        "CASE WHEN NEW.enabled THEN 'webhook_enabled' ELSE 'webhook_disabled' END",
        "NEW",
        "NULL",
    ),
    ("webhook_deleted", "AFTER DELETE", "webhooks", "1 = 1", "'webhook_deleted'", "OLD", "NULL"),
    (
        "delivery",
        "AFTER UPDATE OF state",
        "outbox",
        ("NEW.topic = 'webhook' AND NEW.state <> OLD.state AND NEW.state IN ('sent', 'failed')"),
        "CASE NEW.state WHEN 'sent' THEN 'delivered' ELSE 'not_delivered' END",
        "NEW",
        "{task_id}",
    ),
)
TASK_ID = {
    "sqlite": "json_extract(NEW.payload, '$.task.id')",
    "postgresql": "NEW.payload -> 'task' ->> 'id'",
}


def upgrade() -> None:
    """Create the table, what a delivery adds to the outbox, and the triggers."""
    _create_webhooks()
    # No foreign key: SQLite could only add it by copying the table. Who deletes a webhook deletes
    # its deliveries.
    op.add_column("outbox", sa.Column("webhook_id", sa.String(length=36), nullable=True))
    op.add_column("outbox", sa.Column("number", sa.Integer(), nullable=True))
    op.add_column("outbox", sa.Column("status_code", sa.Integer(), nullable=True))
    op.add_column("outbox", sa.Column("error_code", sa.String(length=32), nullable=True))
    op.add_column("outbox", sa.Column("tried_at", UtcDateTime(), nullable=True))
    for name, columns, condition in INDEXES:
        where = sa.text(condition)
        op.create_index(
            name,
            "outbox",
            list(columns),
            unique=name.startswith("uq_"),
            sqlite_where=where,
            postgresql_where=where,
        )
    if op.get_bind().dialect.name == "postgresql":
        _create_triggers_on_postgresql()
    else:
        _create_triggers_on_sqlite()


def _create_webhooks() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("url", sa.String(length=2048), nullable=False),
        sa.Column("events", Json(), nullable=False),
        sa.Column("secret", sa.String(length=64), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("disabled_reason", sa.String(length=16), nullable=True),
        sa.Column("failing_since", UtcDateTime(), nullable=True),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("deliveries", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_webhooks_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_webhooks"),
    )
    op.create_index(
        "ix_webhooks_user_id_created_at_id", "webhooks", ["user_id", "created_at", "id"]
    )
    op.create_index("ix_webhooks_created_at", "webhooks", ["created_at"])


def downgrade() -> None:
    """Drop all of it, and the deliveries, which older code would take for emails."""
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    names = [(f"audit_{name}", table) for name, _, table, *_ in AUDITED]
    for name, table in [("deliver", "tasks"), *names]:
        op.execute(f"DROP TRIGGER {name}" + (f" ON {table}" if on_postgresql else ""))
        if on_postgresql:
            op.execute(f"DROP FUNCTION {name}()")
    op.execute("DELETE FROM outbox WHERE topic IN ('webhook', 'webhook_disabled')")
    for name, *_ in INDEXES:
        op.drop_index(name, "outbox")
    for name in ("webhook_id", "number", "status_code", "error_code", "tried_at"):
        op.drop_column("outbox", name)
    op.drop_table("webhooks")


def _create_triggers_on_sqlite() -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    facts = ", ".join(
        f"'{name}', " + (f"json(NEW.{name})" if name in JSON_COLUMNS else f"NEW.{name}")
        for name in COLUMNS
    )
    wanted = (
        "user_id = NEW.user_id AND enabled AND instr(events, '\"task.' || NEW.status || '\"') > 0"
    )
    op.execute(
        _literally(
            f"CREATE TRIGGER deliver AFTER UPDATE OF status ON tasks WHEN {ENDED} BEGIN "
            f"UPDATE webhooks SET deliveries = deliveries + 1 WHERE {wanted}; "
            "INSERT INTO outbox (id, user_id, topic, payload, state, claim, tries, created_at,"
            " due_at, webhook_id, number) "
            f"SELECT {_sqlite_uuid()}, user_id, 'webhook',"
            f" json_object('type', 'task.' || NEW.status, 'task', json_object({facts})),"
            f" 'pending', 0, 0, {now}, {now}, id, deliveries FROM webhooks WHERE {wanted}; END"
        )
    )
    for name, when, table, condition, event, row, task_id in AUDITED:
        about = task_id.format(task_id=TASK_ID["sqlite"])
        op.execute(
            _literally(
                f"CREATE TRIGGER audit_{name} {when} ON {table} WHEN {condition} BEGIN "
                "INSERT INTO audit (at, event, user_id, task_id) "
                f"VALUES ({now}, {event}, {row}.user_id, {about}); END"
            )
        )


def _sqlite_uuid() -> str:
    """A random UUID (version 4) as an expression, a new one for each row."""
    digits = "hex(randomblob({}))".format
    return (
        f"lower({digits(4)} || '-' || {digits(2)} || '-4' || substr({digits(2)}, 2) || '-8' ||"
        f" substr({digits(2)}, 2) || '-' || {digits(6)})"
    )


def _create_triggers_on_postgresql() -> None:
    facts = ", ".join(f"'{name}', NEW.{name}" for name in COLUMNS)
    wanted = (
        "user_id = NEW.user_id AND enabled"
        " AND position('\"task.' || NEW.status || '\"' in events::text) > 0"
    )
    # A function's own time zone, not the session's: times are kept as text here.
    op.execute(
        _literally(
            "CREATE FUNCTION deliver() RETURNS trigger LANGUAGE plpgsql SET timezone = 'UTC' AS $$"
            " BEGIN "
            f"UPDATE webhooks SET deliveries = deliveries + 1 WHERE {wanted}; "
            "IF FOUND THEN "
            "INSERT INTO outbox (id, user_id, topic, payload, state, claim, tries, created_at,"
            " due_at, webhook_id, number) "
            "SELECT gen_random_uuid()::text, user_id, 'webhook',"
            " json_build_object('type', 'task.' || NEW.status, 'task',"
            f" json_build_object({facts})),"
            " 'pending', 0, 0, clock_timestamp(), clock_timestamp(), id, deliveries"
            f" FROM webhooks WHERE {wanted}; END IF; RETURN NULL; END $$"
        )
    )
    op.execute(
        "CREATE TRIGGER deliver AFTER UPDATE OF status ON tasks FOR EACH ROW "
        f"WHEN ({ENDED}) EXECUTE FUNCTION deliver()"
    )
    for name, when, table, condition, event, row, task_id in AUDITED:
        about = task_id.format(task_id=TASK_ID["postgresql"])
        op.execute(
            _literally(
                f"CREATE FUNCTION audit_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                "INSERT INTO audit (at, event, user_id, task_id) "
                f"VALUES (clock_timestamp(), {event}, {row}.user_id, {about}); RETURN NULL; END $$"
            )
        )
        op.execute(
            f"CREATE TRIGGER audit_{name} {when} ON {table} FOR EACH ROW "
            f"WHEN ({condition}) EXECUTE FUNCTION audit_{name}()"
        )


def _literally(statement: str) -> sa.TextClause:
    """A statement in which a colon names no parameter."""
    return sa.text(statement.replace(":", "\\:"))

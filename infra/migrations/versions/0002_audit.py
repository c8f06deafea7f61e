"""The audit: what happened to every task, written by the database itself.

Triggers, so that no code path can forget an entry, none costs a round trip, and nobody can change
or delete one afterwards.
"""

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime

revision = "0002"
down_revision = "0001"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

STATUS_EVENT = """
CASE NEW.status
  WHEN 'running' THEN 'started'
  WHEN 'queued' THEN CASE WHEN OLD.finished_at IS NULL THEN 'returned' ELSE 'requested' END
  ELSE NEW.status
END
"""
EMAIL_EVENT = """
CASE NEW.state
  WHEN 'sent' THEN 'emailed' WHEN 'failed' THEN 'email_failed' ELSE 'email_unknown'
END
"""
GONE_EVENT = "CASE WHEN NEW.expires_at <= NEW.gone_at THEN 'expired' ELSE 'deleted' END"
OWNER = "(SELECT user_id FROM tasks WHERE id = NEW.task_id)"

# Name, when, on which table, under which condition, and what is written.
TRIGGERS = (
    ("requested", "AFTER INSERT", "tasks", "1 = 1", "'requested'", "NEW.user_id", "NEW.id"),
    (
        "status",
        "AFTER UPDATE OF status",
        "tasks",
        "NEW.status <> OLD.status",
        STATUS_EVENT,
        "NEW.user_id",
        "NEW.id",
    ),
    (
        "published",
        "AFTER UPDATE OF sha256",
        "exports",
        "NEW.sha256 IS NOT NULL AND OLD.sha256 IS NULL",
        "'published'",
        OWNER,
        "NEW.task_id",
    ),
    (
        "gone",
        "AFTER UPDATE OF gone_at",
        "exports",
        "NEW.gone_at IS NOT NULL AND OLD.gone_at IS NULL",
        GONE_EVENT,
        OWNER,
        "NEW.task_id",
    ),
    (
        "email",
        "AFTER UPDATE OF state",
        "outbox",
        (
            "NEW.task_id IS NOT NULL AND NEW.state <> OLD.state"
            " AND NEW.state IN ('sent', 'failed', 'unknown')"
        ),
        EMAIL_EVENT,
        "NEW.user_id",
        "NEW.task_id",
    ),
    ("erased", "AFTER DELETE", "users", "1 = 1", "'erased'", "OLD.id", "NULL"),
)


def upgrade() -> None:
    """Create the table and its triggers."""
    op.create_table(
        "audit",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.Column("event", sa.String(length=16), nullable=False),
        sa.Column("user_id", sa.BigInteger(), nullable=False),
        sa.Column("task_id", sa.String(length=36), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_audit"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_audit_task_id", "audit", ["task_id"])
    if op.get_bind().dialect.name == "postgresql":
        _create_on_postgresql()
    else:
        _create_on_sqlite()


def _create_on_sqlite() -> None:
    now = "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    for name, when, table, condition, event, user_id, task_id in TRIGGERS:
        op.execute(
            f"CREATE TRIGGER audit_{name} {when} ON {table} WHEN {condition} BEGIN "
            f"INSERT INTO audit (at, event, user_id, task_id) "
            f"VALUES ({now}, {event}, {user_id}, {task_id}); END"
        )
    for change in ("UPDATE", "DELETE"):
        op.execute(
            f"CREATE TRIGGER audit_no_{change.lower()} BEFORE {change} ON audit BEGIN "
            "SELECT RAISE(ABORT, 'the audit is append-only'); END"
        )


def _create_on_postgresql() -> None:
    for name, when, table, condition, event, user_id, task_id in TRIGGERS:
        op.execute(
            f"CREATE FUNCTION audit_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            f"INSERT INTO audit (at, event, user_id, task_id) "
            f"VALUES (clock_timestamp(), {event}, {user_id}, {task_id}); RETURN NULL; END $$"
        )
        op.execute(
            f"CREATE TRIGGER audit_{name} {when} ON {table} FOR EACH ROW "
            f"WHEN ({condition}) EXECUTE FUNCTION audit_{name}()"
        )
    op.execute(
        "CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
        "RAISE EXCEPTION 'the audit is append-only'; END $$"
    )
    op.execute(
        "CREATE TRIGGER audit_refuse BEFORE UPDATE OR DELETE ON audit "
        "FOR EACH ROW EXECUTE FUNCTION audit_refuse()"
    )


def downgrade() -> None:
    """Drop the triggers and the table."""
    postgresql = op.get_bind().dialect.name == "postgresql"
    for name, _, table, *_ in TRIGGERS:
        op.execute(f"DROP TRIGGER audit_{name}" + (f" ON {table}" if postgresql else ""))
        if postgresql:
            op.execute(f"DROP FUNCTION audit_{name}()")
    op.drop_table("audit")
    if postgresql:
        op.execute("DROP FUNCTION audit_refuse()")

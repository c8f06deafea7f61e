"""Schedules, and what operators pause."""

from typing import Any

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime

revision = "0006"
down_revision = "0005"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
RUNNING = sa.text("next_run_at IS NOT NULL")

# Name, when, on which table, under which condition, what is written, and about whom.
TRIGGERS = (
    ("scheduled", "AFTER INSERT", "schedules", "1 = 1", "'scheduled'", "NEW.user_id"),
    (
        "schedule_rule",
        "AFTER UPDATE OF name, params, rrule, timezone, anchor",
        "schedules",
        "NEW.anchor <> OLD.anchor OR NEW.name <> OLD.name",
        "'schedule_changed'",
        "NEW.user_id",
    ),
    (
        "schedule_switch",
        "AFTER UPDATE OF enabled",
        "schedules",
        "NEW.enabled <> OLD.enabled",
        "CASE WHEN NEW.enabled THEN 'schedule_on' ELSE 'schedule_off' END",
        "NEW.user_id",
    ),
    ("unscheduled", "AFTER DELETE", "schedules", "1 = 1", "'unscheduled'", "OLD.user_id"),
)


def upgrade() -> None:
    """Create the tables and their triggers, and name the schedule of a task."""
    op.create_table(
        "schedules",
        sa.Column("id", sa.String(length=36), nullable=False),
        sa.Column("user_id", BIG_ID, nullable=False),
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("params", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("rrule", sa.String(length=500), nullable=False),
        sa.Column("timezone", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("anchor", UtcDateTime(), nullable=False),
        sa.Column("enabled", sa.Boolean(), nullable=False),
        sa.Column("settled_at", UtcDateTime(), nullable=False),
        sa.Column("next_run_at", UtcDateTime(), nullable=True),
        sa.Column("last_task_id", sa.String(length=36), nullable=True),
        sa.Column("counted_task_id", sa.String(length=36), nullable=True),
        sa.Column("skipped", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["user_id"], ["users.id"], name="fk_schedules_user_id_users", ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("id", name="pk_schedules"),
    )
    op.create_index(
        "ix_schedules_user_id_created_at_id", "schedules", ["user_id", "created_at", "id"]
    )
    op.create_index("ix_schedules_created_at", "schedules", ["created_at"])
    where: dict[str, Any] = {"sqlite_where": RUNNING, "postgresql_where": RUNNING}
    op.create_index("ix_schedules_next_run_at", "schedules", ["next_run_at"], **where)
    op.create_table(
        "pauses",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_pauses"),
    )
    op.add_column("tasks", sa.Column("schedule_id", sa.String(length=36), nullable=True))
    _create_triggers()


def _create_triggers() -> None:
    postgresql = op.get_bind().dialect.name == "postgresql"
    now = "clock_timestamp()" if postgresql else "strftime('%Y-%m-%d %H:%M:%f', 'now') || '000'"
    for name, when, table, condition, event, user_id in TRIGGERS:
        insert = f"INSERT INTO audit (at, event, user_id) VALUES ({now}, {event}, {user_id});"
        if postgresql:
            op.execute(
                f"CREATE FUNCTION audit_{name}() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
                f"{insert} RETURN NULL; END $$"
            )
            op.execute(
                f"CREATE TRIGGER audit_{name} {when} ON {table} FOR EACH ROW "
                f"WHEN ({condition}) EXECUTE FUNCTION audit_{name}()"
            )
        else:
            op.execute(
                f"CREATE TRIGGER audit_{name} {when} ON {table} WHEN {condition} BEGIN {insert} END"
            )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("tasks", "schedule_id")
    op.drop_table("pauses")
    op.drop_table("schedules")
    if op.get_bind().dialect.name == "postgresql":
        for name, *_ in TRIGGERS:
            op.execute(f"DROP FUNCTION audit_{name}()")

"""Indexes for what operators look at, so that it costs the same however many tasks there are."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

PARTIAL = {"ix_tasks_finished": "finished_at IS NOT NULL", "ix_tasks_failed": "status = 'failed'"}


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_tasks_created_at_id", "tasks", ["created_at", "id"])
    for name, condition in PARTIAL.items():
        where = sa.text(condition)
        op.create_index(name, "tasks", ["finished_at"], sqlite_where=where, postgresql_where=where)


def downgrade() -> None:
    """Drop them."""
    for name in (*PARTIAL, "ix_tasks_created_at_id"):
        op.drop_index(name, "tasks")

"""What operators look at: the newest messages and imports of everybody, and what failed."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"

FAILED = sa.text("state IN ('failed', 'unknown')")


def upgrade() -> None:
    """Create the indexes."""
    op.create_index("ix_outbox_created_at_id", "outbox", ["created_at", "id"])
    op.create_index("ix_imports_created_at_id", "imports", ["created_at", "id"])
    op.create_index(
        "ix_outbox_failed",
        "outbox",
        ["created_at", "id"],
        sqlite_where=FAILED,
        postgresql_where=FAILED,
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_index("ix_outbox_failed", "outbox")
    op.drop_index("ix_imports_created_at_id", "imports")
    op.drop_index("ix_outbox_created_at_id", "outbox")

"""Time-slices, attempts that move a checkpoint, and a row by which the ledger proves itself."""

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime

revision = "0008"
down_revision = "0007"


def upgrade() -> None:
    """Add what old code neither reads nor needs."""
    op.add_column("tasks", sa.Column("yielded_at", UtcDateTime(), nullable=True))
    op.add_column("tasks", sa.Column("checkpoint_claim", sa.Integer(), nullable=True))
    op.create_table(
        "ledger_probe",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_ledger_probe"),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("ledger_probe")
    op.drop_column("tasks", "checkpoint_claim")
    op.drop_column("tasks", "yielded_at")

"""Emails about accounts, counted by whom they reach and who causes them."""

import sqlalchemy as sa
from alembic import op

from chalicelib.db.engine import UtcDateTime

revision = "0009"
down_revision = "0008"

BIG_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "counted_emails",
        sa.Column("id", BIG_ID, nullable=False),
        sa.Column("subject", sa.String(length=96), nullable=False),
        sa.Column("at", UtcDateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_counted_emails"),
    )
    op.create_index("ix_counted_emails_subject", "counted_emails", ["subject"])


def downgrade() -> None:
    """Drop it."""
    op.drop_table("counted_emails")

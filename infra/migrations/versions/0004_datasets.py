"""Indexes by which all that is kept about a user is read in order."""

from alembic import op

revision = "0004"
down_revision = "0003"

NEW = (
    ("ix_tokens_user_id_created_at_digest", "tokens", ["user_id", "created_at", "digest"]),
    ("ix_outbox_user_id_created_at_id", "outbox", ["user_id", "created_at", "id"]),
    ("ix_audit_user_id_id", "audit", ["user_id", "id"]),
)
OLD = (
    ("ix_tokens_user_id", "tokens", ["user_id"]),
    ("ix_outbox_user_id", "outbox", ["user_id"]),
    ("ix_notifications_user_id_seq", "notifications", ["user_id", "seq"]),
)
"""What the new ones do as well."""


def upgrade() -> None:
    """Create the new ones and drop the old ones; code of before does not notice."""
    for name, table, columns in NEW:
        op.create_index(name, table, columns)
    # Numbers were always different, by the lock under which they are raised; now it is said.
    op.create_index(
        "uq_notifications_user_id_seq", "notifications", ["user_id", "seq"], unique=True
    )
    for name, table, _ in OLD:
        op.drop_index(name, table)


def downgrade() -> None:
    """Go back to the old ones."""
    for name, table, columns in OLD:
        op.create_index(name, table, columns)
    op.drop_index("uq_notifications_user_id_seq", "notifications")
    for name, table, _ in NEW:
        op.drop_index(name, table)

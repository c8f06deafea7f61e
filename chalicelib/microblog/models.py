"""The tables of this application."""

from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.models import Base, BigId


class Post(Base):
    """What a user wrote: 1 to 10,000 characters, kept code point for code point."""

    __tablename__ = "posts"
    __table_args__ = (
        sa.Index("ix_posts_user_id_timestamp_id", "user_id", "timestamp", "id"),
        # An export leaves out what was added later by its number, so numbers are never reused.
        {"sqlite_autoincrement": True},
    )

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    body: so.Mapped[str] = so.mapped_column(sa.Text)
    timestamp: so.Mapped[datetime]

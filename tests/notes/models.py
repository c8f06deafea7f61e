"""Notes, with a column of every kind that an application is likely to have."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.models import User
from chalicelib.db.types import ExactDecimal, Json


class Base(so.DeclarativeBase):
    """A schema of its own, so that these tables are in no other test; an application has `Base`."""

    metadata = sa.MetaData()


class Note(Base):
    __tablename__ = "notes"
    __table_args__ = (sa.Index("ix_notes_user_id_id", "user_id", "id"),)

    id: so.Mapped[UUID] = so.mapped_column(sa.Uuid, primary_key=True, default=uuid4)
    user_id: so.Mapped[int] = so.mapped_column(
        sa.ForeignKey(User.__table__.c.id, ondelete="CASCADE")
    )
    text: so.Mapped[str | None] = so.mapped_column(sa.Text)
    price: so.Mapped[Decimal] = so.mapped_column(ExactDecimal(12, 2))
    is_done: so.Mapped[bool]
    tags: so.Mapped[Any] = so.mapped_column(Json)
    day: so.Mapped[date]
    created_at: so.Mapped[datetime] = so.mapped_column(UtcDateTime, index=True)

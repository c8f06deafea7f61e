"""Rows with a word of their own in every column, in every table there is."""

import base64
import secrets
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from itertools import count
from typing import Any
from uuid import uuid4

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import Base
from chalicelib.exports.datasets import Dataset

SETTLED: Mapping[tuple[str, str], Any] = {
    ("tasks", "status"): "succeeded",
    ("outbox", "state"): "sent",
    ("outbox", "webhook_id"): None,
    ("users", "language"): "en",
}
"""Where a word would make the row one that is not exported, or no row at all."""


_numbers = count(7)


class Plantation:
    """Plants a row of two users in every table, and remembers what an export of one may hold.

    Args:
        database: Where.
        datasets: What is exported of a row; all of its other columns hold what must not leave.
    """

    def __init__(self, database: Database, datasets: tuple[Dataset, ...]) -> None:
        self.shown: dict[str, str] = {}
        self.hidden: dict[str, str] = {}
        self._exported = {
            (one.table.name, field.column.name) for one in datasets for field in one.columns
        }
        with database.write() as session:
            self.susan = self._plant(session, "susan")
            self.david = self._plant(session, "david")

    def _plant(self, session: Any, whose: str) -> int:
        """A row of each table for one user; return their number."""
        known: dict[str, Any] = {}
        # First what others refer to, also without a foreign key.
        tables = Base.metadata.sorted_tables
        for table in sorted(tables, key=lambda one: one.name not in {"users", "tasks"}):
            values = {
                one.name: known[self._reference(one)]
                if self._reference(one) in known
                else self._value(one, whose)
                for one in table.columns
                if not self._counts_up(one)
            }
            primary = session.execute(sa.insert(table).values(values)).inserted_primary_key
            if table.name == "users":
                known["user_id"] = primary[0]
            elif table.name == "tasks":
                known["task_id"] = primary[0]
        return int(known["user_id"])

    @staticmethod
    def _reference(column: sa.Column[Any]) -> str:
        """What a column refers to: a user or a task, with or without a foreign key."""
        keys = {key.column.table.name for key in column.foreign_keys}
        if "users" in keys or column.name == "user_id":
            return "user_id"
        return "task_id" if "tasks" in keys or column.name == "task_id" else ""

    @staticmethod
    def _counts_up(column: sa.Column[Any]) -> bool:
        return column is column.table.autoincrement_column and not column.foreign_keys

    def _value(self, column: sa.Column[Any], whose: str) -> Any:
        place = (column.table.name, column.name)
        if place in SETTLED:
            return SETTLED[place]
        word, value = _word_for(column)
        if word:
            may_leave = whose == "susan" and place in self._exported
            (self.shown if may_leave else self.hidden)[f"{whose}: {'.'.join(place)}"] = word
        return f"{value}@example.com" if place == ("users", "email") else value


def _word_for(column: sa.Column[Any]) -> tuple[str, Any]:
    """A word that is nowhere else, empty where the type has none; and the value with it."""
    kind, unique = column.type, uuid4()
    known: list[tuple[Any, tuple[str, Any]]] = [
        (sa.LargeBinary, ((raw := secrets.token_bytes(32)).hex(), raw)),
        (sa.JSON, (unique.hex, {"word": unique.hex})),
        (sa.Uuid, (str(unique), unique)),
        (sa.Boolean, ("", False)),
        ((sa.Integer, sa.Numeric), ("", next(_numbers))),
        (sa.Date, ("", date(2026, 1, 2))),
    ]
    found = [word for types, word in known if isinstance(kind, types)]
    if found:
        return found[0]
    length = _text_of(kind)
    if length is None:
        return "", datetime.now(UTC)
    word = str(unique) if length == len(str(unique)) else unique.hex[:length]
    return word, word


def _text_of(kind: Any) -> int | None:
    """How long the text of a type may be; None when it holds no text."""
    inner = getattr(kind, "impl_instance", kind)
    return (inner.length or 64) if isinstance(inner, sa.String) else None


def spellings(word: str) -> Iterator[bytes]:
    """How a word may be written: as it is, or bytes in base64."""
    yield word.encode()
    try:
        raw = bytes.fromhex(word)
    except ValueError:
        return
    yield raw
    yield base64.b64encode(raw).rstrip(b"=")
    yield base64.urlsafe_b64encode(raw).rstrip(b"=")

"""Notes as a document: the same bytes out of both databases, from any cursor on."""

import json
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from io import BytesIO
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.types import to_json
from chalicelib.values.fields import format_time
from tests.conftest import both_databases
from tests.harness.ledgers import make_user
from tests.notes.datasets import NOTES
from tests.notes.models import Base, Note
from worker.export import document, pages
from worker.export.document import Document
from worker.export.pages import Source
from worker.export.verify import verify

pytestmark = both_databases

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TEXTS = [None, "", 'ünï \u2028 \U0001f600 \\ " \x07', "x" * 10_000]
TAGS = [None, [], {"a": [1, 1.5, None, True]}, "é", 12345678901234567890, -0.5, [["\0"]]]


def note(number: int) -> Note:
    """A note of which no other has the number; neither its order nor its time is the number's."""
    return Note(
        id=UUID(int=number * 2**121 % (2**128 - 59)),
        text=TEXTS[number % len(TEXTS)],
        price=Decimal(number * 997 - 50_000).scaleb(-2),
        is_done=bool(number % 3),
        tags=TAGS[number % len(TAGS)],
        day=date(1, 1, 1) + timedelta(days=number * 7919),
        created_at=AT + timedelta(microseconds=number * 250_000),
    )


def line(one: Note) -> bytes:
    """A note's line of the document, as orjson writes it."""
    shown = {
        "id": one.id,
        "text": one.text,
        "price": str(one.price),
        "is_done": one.is_done,
        "tags": orjson.Fragment(to_json(one.tags)),
        "day": one.day,
        "created_at": format_time(one.created_at),
    }
    return orjson.dumps(shown)


@pytest.fixture
def user_id(database: Database, create_tables: Callable[[sa.MetaData], None]) -> int:
    """Somebody who keeps notes, beside somebody else who does."""
    create_tables(Base.metadata)
    user_id, other_id = make_user(database), make_user(database, "david")
    with database.write() as session:
        for number in range(100):
            owner = user_id if number % 5 else other_id
            session.add(note(number))
            list(session.new)[-1].user_id = owner
    return user_id


def expected(user_id: int) -> list[bytes]:
    """The lines of a user's notes, in their order."""
    assert user_id
    mine = [note(number) for number in range(100) if number % 5]
    return [line(one) for one in sorted(mine, key=lambda one: one.id)]


def test_the_document(database: Database, user_id: int) -> None:
    """Both databases write the same bytes, and `verify` finds them intact."""
    with database.read() as session:
        snapshot = session.scalar(sa.select(NOTES.snapshot_query()))
    assert snapshot == note(99).created_at
    written = Document(Source(database, NOTES, user_id, snapshot), "susan", AT)
    assert written.count() == 80
    with closing(written.pieces(None, {"notes": 0})) as pieces:
        body = b"".join(data for piece in pieces for data in piece.data)
    whole = written.head() + body + written.tail({"notes": 80})
    lines = b",\n".join(expected(user_id))
    head = document.head("notes", "susan", AT)
    assert whole == head + b"\n" + lines + document.tail(80)
    assert json.loads(whole)["count"] == 80
    for datasets in ([NOTES], []):
        verdict = verify(BytesIO(whole), datasets)
        assert (verdict.faults, verdict.name, verdict.rows) == ((), "notes", 80)


@pytest.mark.parametrize("page_rows", [1, 7, 80])
def test_any_cursor_is_one_to_go_on(
    database: Database, user_id: int, page_rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages of any size are the same lines, and after each cursor the rest follows."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", page_rows)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", page_rows)
    source = Source(database, NOTES, user_id, note(99).created_at)
    with closing(source.pages(None)) as read:
        found = list(read)
    lines = expected(user_id)
    assert b",\n".join(page.lines for page in found) == b",\n".join(lines)
    seen = 0
    for page in found[:-1]:
        seen += page.rows
        assert page.cursor is not None
        checkpoint = json.loads(json.dumps(NOTES.cursor_to_json(page.cursor)))
        with closing(source.pages(NOTES.cursor_from_json(checkpoint))) as rest:
            assert b",\n".join(one.lines for one in rest) == b",\n".join(lines[seen:])


def test_what_comes_later_is_left_out(database: Database, user_id: int) -> None:
    """The snapshot is a time here, and rows after it stay out, wherever their key sorts them."""
    source = Source(database, NOTES, user_id, note(50).created_at)
    mine = sorted((note(number) for number in range(51) if number % 5), key=lambda one: one.id)
    with closing(source.pages(None)) as read:
        found = b",\n".join(page.lines for page in read)
    assert found == b",\n".join(map(line, mine))
    assert source.count() == len(mine)

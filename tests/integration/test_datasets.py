"""Rows of every type, sorted by every key: the same bytes in the same order on both databases."""

import json
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, date, datetime
from decimal import Decimal
from io import BytesIO
from itertools import count
from typing import Any
from uuid import UUID

import orjson
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chalicelib.db.engine import Database, UtcDateTime
from chalicelib.db.types import ExactDecimal, Json, SortableText, to_json
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.estimates import Estimate, estimate
from chalicelib.values.fields import format_time
from tests.conftest import both_databases
from worker.export import document, pages
from worker.export.pages import RowTooLargeError, Source
from worker.export.verify import verify

pytestmark = both_databases

AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
TYPES: dict[str, sa.types.TypeEngine[Any]] = {
    "text": sa.Text(),
    "short": sa.String(20),
    "letter": sa.Enum("a", 'b"', name="letter"),
    "small": sa.SmallInteger(),
    "whole": sa.BigInteger(),
    "flag": sa.Boolean(),
    "time": UtcDateTime(),
    "day": sa.Date(),
    "uuid": sa.Uuid(),
    "price": ExactDecimal(18, 2),
    "points": ExactDecimal(18, 0),
    "data": Json(none_as_null=True),
}
METADATA = sa.MetaData()
THINGS = sa.Table(
    "things",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("user_id", sa.BigInteger, nullable=False),
    *(sa.Column(name, known, nullable=False) for name, known in TYPES.items()),
    *(sa.Column(f"maybe_{name}", known) for name, known in TYPES.items()),
    sa.Index("ix_things", "user_id", "id"),
)
ALL = Dataset(
    "things",
    title="Things",
    owner=THINGS.c.user_id,
    key=(THINGS.c.id,),
    snapshot=THINGS.c.id,
    fields={column.name: column for column in THINGS.c if column.name != "user_id"},
)
NUMBERS = count(1)
CreateTables = Callable[[sa.MetaData], None]

TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))
AWKWARD = st.sampled_from(
    [
        *("", "'", '"', "\\", "%s", ":x", "{}", "\n", ",\n", "null", "\\u0000", "\ufeff", "\u2028"),
        *("\x01\x1f\x7f\x80", "\U0010ffff", "é", "e\u0301", "\ufffe\uffff", " \t ", "/</script>"),
        *("x" * 10_000, "\U0001f600" * 10_000, "\x01" * 10_000),
    ]
)
FLOATS = st.floats(allow_nan=False, allow_infinity=False)
JSONS = st.recursive(
    st.none() | st.booleans() | st.integers() | FLOATS | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)  # fmt: skip
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "text": TEXTS | AWKWARD,
    "short": TEXTS.map(lambda text: text[:20]),
    "letter": st.sampled_from(["a", 'b"']),
    "small": st.integers(-(2**15), 2**15 - 1),
    "whole": st.integers(-(2**63), 2**63 - 1),
    "flag": st.booleans(),
    "time": st.datetimes(timezones=st.just(UTC)) | st.just(AT),
    "day": st.dates(),
    "uuid": st.uuids(),
    "price": st.integers(-(10**18) + 1, 10**18 - 1).map(lambda cents: Decimal(cents).scaleb(-2)),
    "points": st.integers(-(10**18) + 1, 10**18 - 1).map(Decimal),
    "data": JSONS.filter(lambda value: value is not None),
}  # fmt: skip
ROWS = st.fixed_dictionaries(
    {name: VALUES[name] for name in TYPES}
    | {f"maybe_{name}": st.none() | VALUES[name] for name in TYPES}
)


@pytest.fixture
def things(database: Database, create_tables: CreateTables) -> Database:
    create_tables(METADATA)
    return database


def exported(database: Database, dataset: Dataset, user_id: int) -> bytes:
    with database.read() as session:
        snapshot = session.scalar(sa.select(dataset.snapshot_query()))
    written = document.Document(Source(database, dataset, user_id, snapshot), "susan", AT)
    with closing(written.pieces(None, {dataset.name: 0})) as pieces:
        found = list(pieces)
    rows = {dataset.name: sum(piece.rows[dataset.name] for piece in found)}
    body = b"".join(data for piece in found for data in piece.data)
    return written.head() + body + written.tail(rows)


def by_orjson(row: dict[str, Any]) -> bytes:
    def shown(name: str, value: Any) -> Any:
        if value is None:
            return None
        if name.endswith("data"):
            return orjson.Fragment(to_json(value).encode())
        if isinstance(value, datetime):
            return format_time(value)
        return str(value) if isinstance(value, Decimal) else value

    names = [name for name in (*ALL.fields, *row) if name in row]
    return orjson.dumps({name: shown(name, row[name]) for name in names})


def write(database: Database, rows: Sequence[dict[str, Any]]) -> tuple[int, list[dict[str, Any]]]:
    """Keep rows; return their new owner's number, and the rows with theirs."""
    user_id = next(NUMBERS)
    kept = [{"id": next(NUMBERS), **row} for row in rows]
    if kept:
        with database.write() as session:
            session.execute(sa.insert(THINGS), [{**row, "user_id": user_id} for row in kept])
    return user_id, kept


@settings(max_examples=25, suppress_health_check=[*HealthCheck])
@given(st.lists(ROWS, max_size=4))
def test_what_orjson_would_write(things: Database, rows: list[dict[str, Any]]) -> None:
    """The databases write a row of any types byte for byte as orjson does; it is found intact."""
    user_id, kept = write(things, rows)
    lines = [by_orjson(row) for row in kept]
    body = b"\n" + b",\n".join(lines) if lines else b""
    expected = document.head("things", "susan", AT) + body + document.tail(len(lines))
    found = exported(things, ALL, user_id)
    assert found == expected
    assert found.count(b"\n") == len(lines) + 2
    assert verify(BytesIO(found), [ALL]).faults == ()
    assert verify(BytesIO(json.dumps(json.loads(found)).encode()), [ALL]).faults == ()
    assert verify(BytesIO(found), []).faults == ()
    told = estimate(things, user_id, "susan", [ALL])
    assert told == [Estimate(len(rows), len(found) + len(".123456"))]  # of the time of the export
    for row, line in zip(kept, json.loads(found)["things"], strict=True):
        assert line["data"] == row["data"]


def test_json_that_others_wrote(things: Database) -> None:
    """JSON comes as its text has it, on one line, whoever wrote it."""
    user_id, _ = write(things, [simple(1)])
    text = '{\n  "a": [1.50,\r\n 1e400, "\\n\\u0000", 12345678901234567890]\n}'
    with things.write() as session:
        set_it = sa.text("UPDATE things SET data = :text, maybe_data = '  7.10 '")
        if things.engine.dialect.name == "postgresql":
            set_it = sa.text("UPDATE things SET data = CAST(:text AS json), maybe_data = '  7.10 '")
        session.execute(set_it, {"text": text})
    found = exported(things, ALL, user_id)
    assert b'"data":' + text.replace("\n", "").replace("\r", "").encode() + b"," in found
    assert b'"maybe_data":  7.10 }' in found
    assert verify(BytesIO(found), [ALL]).faults == ()


def simple(number: int, **changed: Any) -> dict[str, Any]:
    row = {
        "text": str(number),
        "short": "",
        "letter": "a",
        "small": 0,
        "whole": number,
        "flag": True,
        "time": AT,
        "day": AT.date(),
        "uuid": UUID(int=number),
        "price": Decimal("0.00"),
        "points": Decimal(0),
        "data": {},
    }
    return row | {f"maybe_{name}": None for name in TYPES} | changed


@pytest.mark.parametrize(
    "bad", [1.5, "1", *map(Decimal, ("NaN", "Infinity", "0.001", "10000000000000000"))], ids=repr
)
def test_decimals_are_never_rounded(things: Database, bad: Any) -> None:
    """What would have to be rounded, or is no number, is refused."""
    with pytest.raises(sa.exc.StatementError, match="expected"), things.write() as session:
        session.execute(sa.insert(THINGS), {**simple(1), "id": 1, "user_id": 1, "price": bad})


@pytest.mark.parametrize("bad", [float("nan"), [float("-inf")]])
def test_json_holds_json(things: Database, bad: Any) -> None:
    """What is no JSON does not get into a column of it."""
    with pytest.raises((sa.exc.StatementError, ValueError)), things.write() as session:
        session.execute(sa.insert(THINGS), {**simple(1), "id": 1, "user_id": 1, "data": bad})


def test_decimals_in_sql(things: Database) -> None:
    """Order, comparison, sums and products with whole numbers are the same on both databases."""
    prices = [Decimal(text) for text in ("10.00", "-0.05", "9.99", "0.00", "-0.00", "100.10")]
    write(things, [simple(number, price=price) for number, price in enumerate(prices)])
    price = THINGS.c.price
    with things.read() as session:
        assert session.scalars(sa.select(price).order_by(price)).all() == sorted(prices)
        over = sa.select(price).where(price > Decimal("9.99")).order_by(price)
        assert session.scalars(over).all() == [Decimal("10.00"), Decimal("100.10")]
        assert session.scalar(sa.select(sa.func.sum(price))) == sum(prices)
        assert session.scalar(sa.select(sa.func.sum(price)).where(price > 1000)) is None
        doubled = sa.select(price * 2, price * THINGS.c.whole, price + 1).where(price > 100)
        assert session.execute(doubled).one() == (
            Decimal("200.20"), Decimal("500.50"), Decimal("101.10"),
        )  # fmt: skip
    for factor in (Decimal("1.5"), 0.5):
        with pytest.raises(TypeError, match="compute it in Python"):
            _ = price * factor
    with pytest.raises(TypeError, match="compute it in Python"):
        _ = price / 2


WORDS = ["", "A", "B", "Z", "a", "a b", "aB", "a\u0301", "á", "b", "z", "~", "é", "안", "\uffff"]
PRICES = ["-9999999999999999.99", "-10.00", "-9.99", "-0.01", "0.00", "0.01", "9.99", "10.00"]
KEYS: dict[str, tuple[sa.types.TypeEngine[Any], list[Any]]] = {
    "text": (SortableText(20), [*WORDS, "\U0001f600", "\U0010ffff"]),
    "whole": (sa.BigInteger(), [-(2**63), -10, -9, -1, 0, 1, 2, 10, 2**63 - 1]),
    "time": (
        UtcDateTime(),
        [
            *(AT, AT.replace(microsecond=1), AT.replace(microsecond=100_000), AT.replace(second=6)),
            datetime(1, 1, 1, tzinfo=UTC),
            datetime(9999, 12, 31, 23, 59, 59, 999999, tzinfo=UTC),
        ],
    ),
    "day": (sa.Date(), [date(1, 1, 1), date(999, 12, 31), date(2026, 1, 2), date(9999, 12, 31)]),
    "uuid": (sa.Uuid(), [UUID(int=one) for one in (0, 1, 2**64, 2**127 - 1, 2**127, 2**128 - 1)]),
    "price": (ExactDecimal(18, 2), [*map(Decimal, PRICES)]),
}


def sorted_table(kinds: Sequence[str]) -> tuple[sa.Table, Dataset]:
    """A table that is sorted by columns of some types, and its dataset."""
    name = "by_" + "_".join(kinds)
    metadata = sa.MetaData()
    columns = [sa.Column(f"k_{kind}", KEYS[kind][0], nullable=False) for kind in kinds]
    made = sa.Table(
        name,
        metadata,
        sa.Column("seq", sa.Integer, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        *columns,
        sa.UniqueConstraint("user_id", *(column.name for column in columns)),
    )
    dataset = Dataset(
        name,
        title=name,
        owner=made.c.user_id,
        key=[made.c.user_id, *(made.c[column.name] for column in columns)],
        snapshot=made.c.seq,
        fields={column.name: made.c[column.name] for column in columns},
    )
    return made, dataset


@pytest.mark.parametrize(
    "kinds", [*([kind] for kind in KEYS), ["text", "price"], ["day", "uuid", "whole"]], ids="-".join
)
@pytest.mark.parametrize("page_rows", [1, 4])
def test_any_key(
    database: Database,
    create_tables: CreateTables,
    kinds: list[str],
    page_rows: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Rows come in the order of their key, and go on after any, on both databases alike."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", page_rows)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", page_rows)
    made, dataset = sorted_table(kinds)
    create_tables(made.metadata)
    keys: list[tuple[Any, ...]] = [()]
    for kind in kinds:
        values = sorted(KEYS[kind][1])[:: len(kinds)]
        keys = [(*key, value) for key in keys for value in values]
    names = [f"k_{kind}" for kind in kinds]
    rows = [dict(zip(names, key, strict=True)) | {"user_id": 7} for key in keys]
    with database.write() as session:
        session.execute(sa.insert(made), sorted(rows, key=lambda row: hash(str(row))))
    source = Source(database, dataset, 7, len(rows))
    assert source.count() == len(rows)
    expected = [by_orjson({name: row[name] for name in names}) for row in rows]
    with closing(source.pages(None)) as read:
        found = list(read)
    assert b",\n".join(page.lines for page in found).split(b",\n") == expected
    seen = 0
    for page in found:
        seen += page.rows
        if page.cursor is None:
            assert page is found[-1]
            break
        checkpoint = json.dumps(dataset.cursor_to_json(page.cursor))
        cursor = dataset.cursor_from_json(json.loads(checkpoint))
        assert cursor == page.cursor == (7, *keys[seen - 1])
        with closing(source.pages(cursor)) as rest:
            assert [line for one in rest for line in one.lines.split(b",\n")] == expected[seen:]
    whole = exported(database, dataset, 7)
    assert verify(BytesIO(whole), [dataset]).faults == ()
    lines = whole.split(b"\n")
    lines[1], lines[2] = lines[2], lines[1]
    assert len(verify(BytesIO(b"\n".join(lines)), [dataset]).faults) == 1


def test_pages_are_read_by_the_index(
    database: Database, create_tables: CreateTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No page is sorted anew, whatever the language that the database sorts other texts by."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", 50)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", 50)
    made, dataset = sorted_table(["text"])
    create_tables(made.metadata)
    rows = [{"user_id": 7, "k_text": f"é{number}"} for number in range(1000)]
    with database.write() as session:
        session.execute(sa.insert(made), rows)
    words = "EXPLAIN" if database.engine.dialect.name == "postgresql" else "EXPLAIN QUERY PLAN"
    plans: list[str] = []

    def explain(_: object, cursor: Any, statement: str, parameters: Any, *_more: object) -> None:
        if f"FROM {made.name}" in statement:
            plan = cursor.connection.execute(f"{words} {statement}", parameters).fetchall()
            plans.append("\n".join(str(row[-1]) for row in plan))

    sa.event.listen(database.engine, "before_cursor_execute", explain)
    with closing(Source(database, dataset, 7, 1000).pages(None)) as read:
        assert sum(page.rows for page in read) == 1000
    sa.event.remove(database.engine, "before_cursor_execute", explain)
    assert len(plans) > 20
    assert [plan for plan in plans[1:] if "Sort" in plan or "B-TREE" in plan] == []


def test_nothing_before_the_first_row(things: Database) -> None:
    """A snapshot of nothing has nothing in it, whatever comes later."""
    with things.read() as session:
        assert session.scalar(sa.select(ALL.snapshot_query())) is None
    user_id, _ = write(things, [simple(1)])
    source = Source(things, ALL, user_id, None)
    assert (list(source.pages(None)), source.count()) == ([], 0)


@pytest.mark.parametrize("wide", ["text", "maybe_text", "data", "maybe_data"])
def test_all_that_is_wide_counts(
    things: Database, wide: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory is flat and no row is too large unseen, whichever column people write much into."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", 8)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", 100)
    monkeypatch.setattr(pages, "MAX_PAGE_BYTES", 20_000)
    monkeypatch.setattr(pages, "KEPT_BYTES", 10_000)
    monkeypatch.setattr(pages, "PAGE_BYTES", 5_000)
    rows = [simple(number) for number in range(30)]
    rows += [simple(number, **{wide: "x" * 6000}) for number in range(30, 40)]
    user_id, kept = write(things, rows)
    source = Source(things, ALL, user_id, 2**31 - 1)
    with closing(source.pages(None)) as read:
        found = list(read)
    assert b",\n".join(page.lines for page in found) == b",\n".join(map(by_orjson, kept))
    assert max(len(page.lines) for page in found) <= pages.KEPT_BYTES
    for large in ("x" * 20_000, "\x01" * 5_000):  # the text, or what JSON makes of it
        user_id, _ = write(things, [simple(1), simple(2, **{wide: large}), simple(3)])
        with pytest.raises(RowTooLargeError):
            list(Source(things, ALL, user_id, 2**31 - 1).pages(None))

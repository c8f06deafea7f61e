"""What a dataset may be, and what is refused where it is declared."""

import subprocess
import sys
from dataclasses import replace
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
import sqlalchemy as sa
from sqlalchemy import orm as so
from sqlalchemy.dialects import postgresql

from chalicelib.db.engine import UtcDateTime
from chalicelib.db.types import ExactDecimal, Json, SortableText
from chalicelib.errors import DeclarationError
from chalicelib.exports import archive
from chalicelib.exports.archive import Archive, archive_kind
from chalicelib.exports.datasets import Activity, Dataset, Kind
from chalicelib.exports.kinds import Export
from chalicelib.microblog.datasets import POSTS
from chalicelib.microblog.models import Post

ROOT = Path(__file__).parents[2]


def table(*columns: sa.Column[Any], indexes: tuple[tuple[str, ...], ...] = ()) -> sa.Table:
    """A table of orders, with some more columns."""
    return sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        *columns,
        *(sa.Index(None, *names) for names in (("user_id", "id"), *indexes)),
    )


def declare(orders: sa.Table, **changed: Any) -> Dataset:
    given: dict[str, Any] = {
        "name": "orders",
        "title": "Orders",
        "owner": orders.c.user_id,
        "key": (orders.c.id,),
        "snapshot": orders.c.id,
        "fields": {"id": orders.c.id},
    }
    given |= changed
    return Dataset(given.pop("name"), **given)


KINDS = [
    (sa.Text(), Kind.TEXT),
    (sa.String(5), Kind.TEXT),
    (sa.Unicode(5), Kind.TEXT),
    (SortableText(5), Kind.TEXT),
    (sa.Enum("a", "b", name="letter"), Kind.ENUM),
    (sa.SmallInteger(), Kind.INTEGER),
    (sa.Integer(), Kind.INTEGER),
    (sa.BigInteger().with_variant(sa.Integer, "sqlite"), Kind.INTEGER),
    (sa.Boolean(), Kind.BOOLEAN),
    (UtcDateTime(), Kind.TIME),
    (sa.Date(), Kind.DATE),
    (sa.Uuid(), Kind.UUID),
    (ExactDecimal(10, 2), Kind.DECIMAL),
    (Json(), Kind.JSON),
]


@pytest.mark.parametrize(("known", "kind"), KINDS, ids=repr)
def test_kinds(known: sa.types.TypeEngine[Any], kind: Kind) -> None:
    """Each of these types is exported, nullable or not."""
    for nullable in (False, True):
        orders = table(sa.Column("what", known, nullable=nullable))
        (field,) = declare(orders, fields={"it": orders.c.what}).columns
        assert (field.name, field.kind, field.nullable) == ("it", kind, nullable)


@pytest.mark.parametrize(
    ("unknown", "reason"),
    [
        (sa.Float(), "use chalicelib.db.types.ExactDecimal"),
        (sa.Double(), "use chalicelib.db.types.ExactDecimal"),
        (sa.Numeric(10, 2), "SQLite rounds it; use chalicelib.db.types.ExactDecimal"),
        (sa.LargeBinary(), "JSON has no bytes; keep them as text (base64), or leave"),
        (sa.JSON(), "use chalicelib.db.types.Json"),
        (postgresql.JSONB(), "use chalicelib.db.types.Json"),
        (Json().with_variant(postgresql.JSONB(), "postgresql"), "use chalicelib.db.types.Json"),
        (sa.DateTime(), "SQLite forgets its zone; use chalicelib.db.engine.UtcDateTime"),
        (sa.DateTime(timezone=True), "use chalicelib.db.engine.UtcDateTime"),
        (sa.Time(), "keep it as text"),
        (sa.Interval(), "keep it as a whole number of a unit that the name tells"),
        (sa.CHAR(5), "PostgreSQL pads it with spaces; use sqlalchemy.String"),
        (sa.NCHAR(5), "PostgreSQL pads it with spaces; use sqlalchemy.String"),
        (sa.UUID(), "SQLite takes it for a number; use sqlalchemy.Uuid()"),
        (sa.Uuid(native_uuid=False), "use sqlalchemy.Uuid()"),
        (sa.Uuid(as_uuid=False), "use sqlalchemy.Uuid()"),
        (sa.ARRAY(sa.Integer), "SQLite has no arrays; use chalicelib.db.types.Json"),
        (sa.PickleType(), "is not the same on SQLite and PostgreSQL"),
        (sa.Integer().with_variant(sa.String(), "sqlite"), "is not the same on SQLite and"),
        (sa.String().with_variant(postgresql.CITEXT(), "postgresql"), "is not the same on"),
        (postgresql.INET().with_variant(sa.String(), "sqlite"), "is not the same on SQLite"),
    ],
    ids=repr,
)
def test_types_that_are_not_portable(unknown: sa.types.TypeEngine[Any], reason: str) -> None:
    """A type that the databases would write differently is refused; what to use is said."""
    orders = table(sa.Column("what", unknown))
    with pytest.raises(DeclarationError, match="dataset 'orders': what") as refusal:
        declare(orders, fields={"it": orders.c.what})
    assert reason in refusal.value.detail


@pytest.mark.parametrize(
    ("changed", "complaint"),
    [
        ({"name": "Orders"}, "its name must be lower-case letters"),
        ({"name": "my orders"}, "its name must be lower-case letters"),
        ({"name": ""}, "its name must be lower-case letters"),
        ({"name": "orders\n"}, "its name must be lower-case letters"),
        *(({"name": name}, "none of version, user, exported_at, count") for name in
          ("version", "user", "exported_at", "count")),
        ({"fields": {}}, "it needs at least one field"),
        ({"key": ()}, "it needs at least one field, and a key"),
        ({"fields": {"the id": "id"}}, "the id: a field's name must be letters"),
        ({"fields": {'x"y': "id"}}, "a field's name must be letters"),
        ({"fields": {"": "id"}}, "a field's name must be letters"),
        ({"accepts": {"body": str}}, "`accepts` names body, which it has no field for"),
        ({"owner": Post.user_id}, "id must be columns of posts"),
        ({"key": (Post.id,)}, "id must be columns of orders"),
        ({"snapshot": Post.timestamp}, "timestamp must be columns of orders"),
        ({"fields": {"body": Post.body}}, "body must be columns of orders"),
        ({"owner": "name"}, "name must hold the number of a user"),
        ({"key": ("status", "id")}, "status must not be nullable"),
        ({"snapshot": "status"}, "status must not be nullable"),
        ({"key": ("paid", "id")}, "rows cannot be sorted by paid: it holds boolean"),
        ({"key": ("letter", "id")}, "rows cannot be sorted by letter: it holds enum"),
        ({"key": ("data", "id")}, "rows cannot be sorted by data: it holds json"),
        ({"key": ("weight", "id")}, "weight (Float()) cannot be exported"),
        ({"key": ("name", "id")}, "declare it as chalicelib.db.types.SortableText"),
        ({"key": ("day",)}, "its key must be unique; end it with the primary key"),
        ({"key": ("day", "id")}, "orders needs an index that begins with (user_id, day, id)"),
        ({"snapshot": "day"}, "orders needs an index that begins with (day)"),
        ({"time": "day"}, "day must be a time (chalicelib.db.engine.UtcDateTime)"),
    ],
)  # fmt: skip
def test_bad_declarations(changed: dict[str, Any], complaint: str) -> None:
    """What would fail in a worker, or lose rows in silence, is refused at once."""
    orders = table(
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("status", SortableText(9)),
        sa.Column("paid", sa.Boolean, nullable=False),
        sa.Column("letter", sa.Enum("a", "b", name="letter"), nullable=False),
        sa.Column("data", Json, nullable=False),
        sa.Column("weight", sa.Float, nullable=False),
        sa.Column("day", sa.Date, nullable=False),
    )

    def column(name: Any) -> Any:
        return orders.c[name] if isinstance(name, str) else name

    for part in ("owner", "snapshot", "time"):
        if part in changed:
            changed = changed | {part: column(changed[part])}
    if "key" in changed:
        changed = changed | {"key": [column(one) for one in changed["key"]]}
    if "fields" in changed:
        fields = {name: column(one) for name, one in changed["fields"].items()}
        changed = changed | {"fields": fields}
    with pytest.raises(DeclarationError) as refusal:
        declare(orders, **changed)
    assert complaint in refusal.value.detail


@pytest.mark.parametrize("name", ["id", "nothing"])
def test_activities_are_a_text_and_a_time(name: str) -> None:
    """Fields that hold something else, or are none, cannot be told as a note."""
    orders = table()
    with pytest.raises(DeclarationError) as refusal:
        declare(orders, activity=Activity(orders.c.id, content=name, published=name))
    for kind in ("text", "time"):
        assert f"`activity` needs a field {name} that holds {kind}" in refusal.value.detail


def test_every_complaint_is_told() -> None:
    """Who declares a dataset learns of all that is wrong with it at once."""
    orders = table(sa.Column("weight", sa.Float))
    with pytest.raises(DeclarationError) as refusal:
        declare(orders, name="count", fields={"weight": orders.c.weight, "a b": orders.c.id})
    assert refusal.value.detail.count("dataset 'count': ") == 3


@pytest.mark.parametrize(
    ("kwargs", "is_enough"),
    [
        ({}, True),
        ({"unique": True}, True),
        ({"sqlite_where": sa.text("id > 5"), "postgresql_where": sa.text("id > 5")}, False),
    ],
    ids=["plain", "unique", "partial"],
)
def test_indexes(kwargs: dict[str, Any], *, is_enough: bool) -> None:
    """An index of the owner and the key is needed, all of it; more columns may follow."""
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
        sa.Column("paid", sa.Boolean),
    )
    sa.Index("ix", orders.c.user_id, orders.c.id, orders.c.paid, **kwargs)
    if is_enough:
        declare(orders)
        return
    with pytest.raises(DeclarationError, match=r"needs an index that begins with \(user_id, id\)"):
        declare(orders)


def test_an_index_of_an_expression_is_none() -> None:
    """What is sorted by an expression helps no page."""
    orders = sa.Table(
        "orders",
        sa.MetaData(),
        sa.Column("id", sa.BigInteger, primary_key=True),
        sa.Column("user_id", sa.BigInteger, nullable=False),
    )
    sa.Index("ix", orders.c.user_id, orders.c.id.desc())
    with pytest.raises(DeclarationError, match="needs an index"):
        declare(orders)


def test_a_primary_key_that_begins_with_the_owner() -> None:
    """A table of which each row belongs to a user by its key needs no index more."""
    settings = sa.Table(
        "settings",
        sa.MetaData(),
        sa.Column("user_id", sa.BigInteger, primary_key=True),
        sa.Column("name", SortableText(9), primary_key=True),
        sa.Column("seq", sa.BigInteger, nullable=False, index=True),
    )
    declared = declare_settings(settings)
    assert declared.key_columns == (settings.c.user_id, settings.c.name)


def declare_settings(settings: sa.Table) -> Dataset:
    """A dataset whose owner is part of its key."""
    return Dataset(
        "settings",
        title="Settings",
        owner=settings.c.user_id,
        key=(settings.c.user_id, settings.c.name),
        snapshot=settings.c.seq,
        fields={"name": settings.c.name},
    )


def test_a_declaration_is_frozen() -> None:
    """Nothing that a declaration was made of changes it later."""
    orders = table()
    fields = {"id": orders.c.id}
    declared = declare(orders, fields=fields, key=[orders.c.id])
    fields.clear()
    assert list(declared.fields) == ["id"]
    assert declared.key == (orders.c.id,)
    with pytest.raises(AttributeError):
        declared.name = "others"  # type: ignore[misc]
    with pytest.raises(TypeError):
        declared.fields["x"] = orders.c.id  # type: ignore[index]


def test_a_model_need_not_be_configured() -> None:
    """A dataset may be declared while another model, which its own refers to, is still to come."""

    class Base(so.DeclarativeBase):
        metadata = sa.MetaData()

    class Order(Base):
        __tablename__ = "orders"
        __table_args__ = (sa.Index("ix", "user_id", "number"),)
        number: so.Mapped[int] = so.mapped_column("number", primary_key=True)
        user_id: so.Mapped[int]
        lines: so.Mapped[list["Later"]] = so.relationship()  # type: ignore[name-defined] # noqa: F821

    declared = Dataset(
        "orders",
        title="Orders",
        owner=Order.user_id,
        key=(Order.number,),
        snapshot=Order.number,
        fields={"number": Order.number},
    )
    assert declared.table is Order.__table__


@pytest.mark.parametrize(
    ("known", "value", "json"),
    [
        (sa.BigInteger(), 2**62, 2**62),
        (SortableText(), "a\u2028", "a\u2028"),
        (UtcDateTime(), datetime(1, 2, 3, 4, 5, 6, 600, tzinfo=UTC), "0001-02-03T04:05:06.000600Z"),
        (sa.Date(), date(999, 1, 2), "0999-01-02"),
        (sa.Uuid(), UUID(int=7), "00000000-0000-0000-0000-000000000007"),
        (ExactDecimal(9, 3), Decimal("-12.340"), "-12.340"),
    ],
    ids=repr,
)
def test_cursors_and_snapshots(known: Any, value: Any, json: Any) -> None:
    """Keys and snapshots go through JSON and come back."""
    orders = table(
        sa.Column("what", known, nullable=False), indexes=(("user_id", "what", "id"), ("what",))
    )
    declared = declare(orders, key=(orders.c.what, orders.c.id), snapshot=orders.c.what)
    assert declared.cursor_to_json((value, 5)) == [json, 5]
    assert declared.cursor_from_json([json, 5]) == (value, 5)
    assert declared.snapshot_to_json(value) == json
    assert declared.snapshot_from_json(json) == value
    assert declared.snapshot_to_json(None) is declared.snapshot_from_json(None) is None


def test_what_sorts_alike() -> None:
    """PostgreSQL sorts such a text by its bytes, in whatever language its database is."""
    declared = {
        name: SortableText(9).compile(dialect=sa.create_mock_engine(url, print).dialect)
        for name, url in (("postgresql", "postgresql+psycopg://"), ("sqlite", "sqlite://"))
    }
    assert declared == {"postgresql": 'VARCHAR(9) COLLATE "C"', "sqlite": "VARCHAR(9)"}


def test_posts() -> None:
    """Posts are a dataset like any other."""
    assert [field.name for field in POSTS.columns] == ["body", "timestamp"]
    assert POSTS.table is Post.__table__


@pytest.mark.parametrize("datasets", [(), (POSTS, POSTS)], ids=["none", "two"])
def test_an_export_of_one_dataset(datasets: tuple[Dataset, ...]) -> None:
    """The function that writes one dataset is not given none, or two."""
    with pytest.raises(DeclarationError, match=r"export_posts: .+ writes one dataset"):
        Export(name="export_posts", title="", filename="posts.json", datasets=datasets)


@pytest.mark.parametrize(
    ("other", "complaint"),
    [(POSTS, "two datasets have one name"), (replace(POSTS, name="toots"), "told as activities")],
)
def test_an_archive_of_what_excludes_each_other(other: Dataset, complaint: str) -> None:
    """Each has a file of its own, and there is one outbox."""
    with pytest.raises(DeclarationError, match=complaint):
        Archive(name="export_archive", title="", datasets=(POSTS, other))


def test_an_application_without_an_archive(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks for what nobody declares is told so."""
    monkeypatch.setattr(archive, "TASKS", {})
    with pytest.raises(LookupError, match="Archive"):
        archive_kind()


@pytest.mark.parametrize(("precision", "scale"), [(0, 0), (19, 2), (4, 5), (4, -1)])
def test_decimals_that_cannot_be(precision: int, scale: int) -> None:
    """There are at most as many digits as both databases hold exactly."""
    with pytest.raises(ValueError, match="1 to 18 digits"):
        ExactDecimal(precision, scale)


def test_declaring_imports_nothing_slow() -> None:
    """A function that starts on Lambda declares the datasets, too."""
    script = (
        "import sys, chalicelib.microblog.datasets;"
        "print({'psycopg', 'orjson', 'boto3', 'alembic'} & set(sys.modules))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "set()\n"

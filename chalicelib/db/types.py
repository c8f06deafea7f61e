"""Column types that mean the same on SQLite and on PostgreSQL.

Text, whole numbers, booleans and dates already do; times are `db.engine.UtcDateTime`, UUIDs
`sqlalchemy.Uuid`. The types here are for what SQLAlchemy's own types store differently on the two:
an export must write the same bytes, in the same order, out of either.
"""

import json
from decimal import Context, Decimal
from typing import Any

import sqlalchemy as sa
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql import operators

MAX_DIGITS = 18
"""How many digits always fit the 64 bits that SQLite has for a whole number."""

# Wide enough for every product of two such numbers, whatever the process's own context is.
_EXACT = Context(prec=2 * MAX_DIGITS + 2)


class ExactDecimal(sa.types.TypeDecorator[Decimal]):
    """A decimal number that is never rounded: money, mostly.

    NUMERIC on PostgreSQL. SQLite has no such type, and SQLAlchemy's Numeric stores binary floats
    there; this stores the whole number of the smallest unit (12.30 as 1230), so that order,
    comparison, sums, and products with whole numbers are those of PostgreSQL. Compute averages
    and products of decimals in Python.

    Args:
        precision: How many digits there are in all, at most 18.
        scale: How many of them stand after the point.
    """

    impl = sa.Numeric
    cache_ok = True

    def __init__(self, precision: int, scale: int) -> None:
        if not 0 <= scale <= precision <= MAX_DIGITS or not precision:
            raise ValueError(f"expected 1 to {MAX_DIGITS} digits, and a scale within them")
        super().__init__(precision, scale)
        self.precision = precision
        self.scale = scale

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """NUMERIC where it is exact, else a whole number."""
        if dialect.name == "sqlite":
            return dialect.type_descriptor(sa.BigInteger())
        return dialect.type_descriptor(sa.Numeric(self.precision, self.scale))

    def process_bind_param(self, value: Decimal | int | None, dialect: sa.Dialect) -> Any:
        """Refuse what would have to be rounded.

        Raises:
            ValueError: The number is a float, not finite, or has more digits than the column.
        """
        if value is None:
            return None
        if not isinstance(value, Decimal | int):
            raise ValueError(f"expected a Decimal, got {type(value).__name__}")  # noqa: TRY004 - as for other bad values
        given = Decimal(value)
        if not given.is_finite() or abs(given) >= Decimal(10) ** (self.precision - self.scale):
            raise ValueError(
                f"expected at most {self.precision - self.scale} digits before the point"
            )
        units = given.scaleb(self.scale, context=_EXACT)
        if units != units.to_integral_value():
            raise ValueError(f"expected at most {self.scale} digits after the point")
        return int(units) if dialect.name == "sqlite" else self._from_units(int(units))

    def process_result_value(self, value: Any, dialect: sa.Dialect) -> Decimal | None:
        """Put the point back."""
        if value is None:
            return None
        return self._from_units(value) if dialect.name == "sqlite" else Decimal(value)

    def coerce_compared_value(self, op: Any, value: object) -> sa.types.TypeEngine[Any]:
        """A factor must not be counted in units, as a summand must.

        Raises:
            TypeError: SQLite's whole numbers cannot be multiplied by this, or divided.
        """
        if op not in {operators.mul, operators.truediv, operators.floordiv, operators.mod}:
            return self
        if op is operators.mul and isinstance(value, int):
            return sa.BigInteger()
        raise TypeError("only whole numbers multiply an ExactDecimal in SQL; compute it in Python")

    def _from_units(self, units: int) -> Decimal:
        return Decimal(units).scaleb(-self.scale, context=_EXACT)


class Json(sa.JSON):
    """A JSON value: `json` on PostgreSQL, which keeps the text as it is, and text on SQLite.

    SQLAlchemy's own JSON declares a column that SQLite takes for a numeric one: it would store
    the JSON number 12345678901234567890 as the float 1.23456789012346e+19.
    """

    cache_ok = True


class JsonObject(sa.JSON):
    """A JSON object: of a text that begins with `{` SQLite makes no number, as it may of others.

    So the column is declared as SQLAlchemy's own is.
    """

    cache_ok = True


@compiles(Json, "sqlite")
def _sqlite_json(_element: Json, _compiler: Any, **_kwargs: Any) -> str:
    return "TEXT"


class SortableText(sa.types.TypeDecorator[str]):
    """A text by which rows are sorted and compared: by code point, on both databases.

    PostgreSQL sorts by the rules of its database's language otherwise, and an index helps only
    statements that sort by the same rules; so the rule belongs to the column.

    Args:
        length: How many characters it holds at most.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: sa.Dialect) -> sa.types.TypeEngine[Any]:
        """Plain text on SQLite, which compares bytes anyway."""
        collation = "C" if dialect.name == "postgresql" else None
        return dialect.type_descriptor(sa.String(self.length, collation=collation))


class UuidText(sa.types.TypeDecorator[str]):
    """A UUID as text, in its 36 characters: the id of a task, of a job, of a message.

    Rows can be sorted by it. The hyphens are at the same places in all of them and every language
    sorts digits before letters, so each database sorts them by code point without being told.
    """

    impl = sa.String
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(36)


def to_json(value: Any) -> str:
    """Write a value as every column of JSON holds it: short, and the same on both databases.

    Raises:
        ValueError: A number is not finite; SQLite would take it, and no reader of JSON would.
        TypeError: There is no JSON for a value.
    """
    return json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))

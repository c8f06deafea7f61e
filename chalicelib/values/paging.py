"""Pages of a list, and the cursors between them."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Any, TypeVar

import sqlalchemy as sa
from sqlalchemy import orm as so

from chalicelib.errors import Fault, Invalid
from chalicelib.values.fields import Cursor, flaw

T = TypeVar("T")
S = TypeVar("S", bound=sa.Select[*tuple[Any, ...]])

DEFAULT_LIMIT = 20
MAX_LIMIT = 100

PAGE_BYTES = 1 << 20
"""How large the items of a page become, if it has more than one: Lambda answers with 6 MB at most,
and a server has as many answers in memory as clients take at a time."""

_BEGINNING = datetime.min.replace(tzinfo=UTC)
_END = datetime.max.replace(tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class Page:
    """Where a page of a list begins and how long it is.

    Attributes:
        limit: How many items at most.
        before: Time and id of the last item of the page before; None on the first page.
    """

    limit: int = DEFAULT_LIMIT
    before: tuple[datetime, Any] | None = None

    def of(self, statement: S, *key: so.InstrumentedAttribute[Any]) -> S:
        """The rows of this page and one more, the newest first.

        Args:
            statement: Finds all of them, in any order.
            key: The columns that order them: the time, and what tells rows of one moment apart.
        """
        if self.before is not None:
            statement = statement.where(sa.tuple_(*key) < self.before)
        return statement.order_by(*[column.desc() for column in key]).limit(self.limit + 1)

    def cut(
        self, found: Sequence[T], *, size: Callable[[T], int] | None = None
    ) -> tuple[Sequence[T], bool]:
        """The items of this page out of one more than it may hold, and whether others follow.

        Args:
            found: What `of` has found.
            size: How many bytes an item takes, where a hundred of them could be too many.
        """
        kept = found[: self.limit]
        if size is not None:
            fitting = sum(total <= PAGE_BYTES for total in accumulate(map(size, kept)))
            kept = kept[: max(1, fitting)]
        return kept, len(found) > len(kept)


def cursor(timestamp: datetime, item_id: object) -> str:
    """Name the place after an item; the client sends it with the next request."""
    return f"{(timestamp - _BEGINNING) // _MICROSECOND}_{item_id}"


def parse_cursor(text: str) -> tuple[datetime, str]:
    """Take a cursor apart; a moment after the end of time is the end of time.

    Raises:
        Invalid: It is none of ours.
    """
    if detail := flaw(text, Cursor):
        raise Invalid(Fault("?cursor", detail))
    microseconds, _, item_id = text.partition("_")
    latest = (_END - _BEGINNING) // _MICROSECOND
    return _BEGINNING + min(int(microseconds), latest) * _MICROSECOND, item_id

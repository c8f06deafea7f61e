from datetime import UTC, datetime

import pytest

from chalicelib.errors import Invalid
from chalicelib.values.paging import PAGE_BYTES, Page, cursor, parse_cursor

MOMENT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    "moment", [MOMENT, MOMENT.replace(microsecond=1), datetime.min.replace(tzinfo=UTC)]
)
@pytest.mark.parametrize("item_id", ["1", "9" * 18, "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"])
def test_there_and_back(moment: datetime, item_id: str) -> None:
    """A cursor names its place, and needs no escaping in an address."""
    text = cursor(moment, item_id)
    assert parse_cursor(text) == (moment, item_id)
    assert text.replace("-", "").replace("_", "").isalnum()


@pytest.mark.parametrize(
    ("sizes", "kept"),
    [
        ([1, 1, 1, 1], 3),
        ([PAGE_BYTES // 3] * 4, 3),
        ([PAGE_BYTES // 2] * 4, 2),
        ([PAGE_BYTES, 1], 1),
        ([PAGE_BYTES + 1, 1], 1),
        ([PAGE_BYTES + 1], 1),
        ([], 0),
    ],
)
def test_a_page_has_room_for_so_much(sizes: list[int], kept: int) -> None:
    """It ends before it is too large, but has an item if there is any; the others follow."""
    items, more = Page(limit=3).cut(sizes, size=int)
    assert list(items) == sizes[:kept]
    assert more == (len(sizes) > kept)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "=",
        "\u00e9",
        "\ud800",
        "AAAA",
        "_" * 10_000,
        cursor(MOMENT, 1)[:-2],
        cursor(MOMENT, 1) + "\n",
        "1" * 19 + "_1",
        "\u0661_1",  # a digit elsewhere
        cursor(MOMENT, "\0"),
        "-1_1",
    ],
)
def test_what_is_no_cursor(text: str) -> None:
    """Anything else is refused, by the parameter's name."""
    with pytest.raises(Invalid) as caught:
        parse_cursor(text)
    assert [fault.pointer for fault in caught.value.faults] == ["?cursor"]


def test_after_the_end_of_time() -> None:
    """A moment that no clock shows is the last one, so that the form alone says what is valid."""
    assert parse_cursor("9" * 18 + "_1")[0] == datetime.max.replace(tzinfo=UTC)

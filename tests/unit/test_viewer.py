"""The files of the viewer: what they hold, where they end, and what the index says of them."""

import hashlib
import json
import re
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chalicelib.db.engine import Database
from chalicelib.microblog.datasets import POSTS
from tests.conftest import both_databases
from tests.harness.archives import AT, Posts
from tests.harness.ledgers import START, make_user, write_posts
from worker.export import pages
from worker.export.archive.archive import About
from worker.export.archive.members import Block, Whole
from worker.export.pages import Source
from worker.export.viewer import data, frames, index, periods
from worker.export.viewer.data import Contents, Layout
from worker.export.viewer.files import STATIC, media_type, static_files
from worker.export.viewer.section import Data, sections

ABOUT = About("susan", AT)
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def read(page: str) -> Any:
    """What a page sends: the JSON in it, which a browser takes for text."""
    head, tail = frames.HEAD.decode(), frames.TAIL.decode()
    assert page.startswith(head)
    assert page.endswith(tail)
    text = page.removeprefix(head).removesuffix(tail)
    assert "<" not in text
    return json.loads(text)


def members(blocks: Sequence[Block]) -> dict[str, str]:
    """What each member of a run of blocks holds; the last one of each says that it ends."""
    found: dict[str, bytes] = {}
    for block in blocks:
        found[block.member.path] = found.get(block.member.path, b"") + block.data
    ends = [block.member.path for block in blocks if block.last]
    assert ends == list(found)
    return {path: content.decode() for path, content in found.items()}


def section(bodies: Sequence[str], *, page_rows: int = 3) -> Data:
    source = cast("Source", Posts(tuple(bodies), page_rows=page_rows))
    return Data(ABOUT, "es", [source])


@given(st.lists(TEXTS, min_size=1, max_size=12))
def test_pages_hold_what_was_written(bodies: list[str]) -> None:
    """Whatever it is, it comes back."""
    found = members(list(section(bodies).blocks()))
    rows = read(found["viewer/data/posts-0001.html"])
    assert [row["body"] for row in rows] == bodies


def test_a_row_is_a_line() -> None:
    """So that the viewer reads one without the others."""
    found = members(list(section(["one", "<two\r\n>"]).blocks()))
    text = found["viewer/data/posts-0001.html"].removeprefix(frames.HEAD.decode())
    first, *rows, last = text.removesuffix(frames.TAIL.decode()).split("\n")
    assert (first, last) == ("[", "]")
    assert [json.loads(row.removesuffix(","))["body"] for row in rows] == ["one", "<two\r\n>"]


def test_pages_run_their_own_script_alone() -> None:
    """Their policy names the one script in them, which follows the text."""
    page = (
        frames.HEAD + frames.escaped(b'"</script><script>run()</script>"') + frames.TAIL
    ).decode()
    text, script = re.findall(r"<script([^>]*)>(.*?)</script>", page, re.DOTALL)
    assert text == (
        ' id="json" type="application/json"',
        r'"\u003c/script>\u003cscript>run()\u003c/script>"',
    )
    digest = b64encode(hashlib.sha256(script[1].encode()).digest()).decode()
    assert f"default-src 'none'; script-src 'sha256-{digest}'" in page


def test_index() -> None:
    """It tells whose data it is, and of each dataset what a page must know before it has a row."""
    found = members(list(section(["one", "two"]).blocks()))
    facts = read(found[index.NAME])
    assert list(found)[-1] == index.NAME
    (posts,) = facts.pop("datasets")
    assert facts == {
        "version": 1,
        "user": "susan",
        "language": "es",
        "exported_at": "2026-01-02T03:04:05Z",
        "from": None,
        "to": None,
    }
    assert posts["fields"] == [["body", "text"], ["timestamp", "time"]]
    assert (posts["time"], posts["prose"]) == ("timestamp", "body")
    assert (posts["files"], posts["chronological"]) == ([2], True)
    assert list(posts["titles"]) == ["en", "es", "ko"]


def test_an_empty_dataset_has_no_file() -> None:
    """The index alone says that there is nothing."""
    found = members(list(section([]).blocks()))
    assert list(found) == [index.NAME]
    assert read(found[index.NAME])["datasets"][0]["files"] == []


def test_files_end_and_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """A file ends when it is full; after some files the next ones hold twice as much."""
    monkeypatch.setattr(data, "FILE_BYTES", 800)
    monkeypatch.setattr(data, "FILES_PER_SIZE", 2)
    blocks = list(section(["x" * 100] * 60).blocks())
    found = members(blocks)
    (posts,) = read(found[index.NAME])["datasets"]
    assert posts["files"] == [6, 6, 12, 12, 21, 3]
    held = [len(read(page)) for path, page in found.items() if path != index.NAME]
    assert held == posts["files"]


@pytest.mark.parametrize("rows", [0, 1, 3, 7, 60])
def test_goes_on_anywhere(rows: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After each block that has a cursor the rest is the same, from the cursor's JSON alone."""
    monkeypatch.setattr(data, "FILE_BYTES", 500)
    source = cast("Source", Posts(tuple(f"{number} " * 30 for number in range(rows))))
    whole = Data(ABOUT, "en", [source, source])
    blocks = list(whole.blocks())
    cursors = [json.dumps(block.cursor) for block in blocks]
    for number, cursor in enumerate(cursors[:-1]):
        rest = list(whole.blocks(json.loads(cursor)))
        assert [(one.data, one.last, json.dumps(one.cursor)) for one in rest] == [
            (one.data, one.last, cursor)
            for one, cursor in zip(blocks[number + 1 :], cursors[number + 1 :], strict=True)
        ]


@both_databases
def test_months_of_real_pages(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rows are counted for the month of their time in UTC, also when a page has many months."""
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", 7)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", 7)
    user_id = make_user(database)
    for number in range(40):
        at = START.replace(day=31, hour=23, minute=59) + timedelta(minutes=number * 2000)
        write_posts(database, user_id, ["post"], at=at)
    source = Source(database, POSTS, user_id, 10**9)
    found = members(list(Data(ABOUT, "en", [source]).blocks()))
    facts = read(found[index.NAME])["datasets"][0]
    rows = read(found["viewer/data/posts-0001.html"])
    expected: dict[str, int] = {}
    for row in rows:
        expected[row["timestamp"][:7]] = expected.get(row["timestamp"][:7], 0) + 1
    assert facts["periods"] == [list(one) for one in expected.items()]
    assert len(expected) == 3
    assert sum(facts["files"]) == 40


def test_times_that_are_far_apart() -> None:
    """There are never more periods than a checkpoint should hold, however many months there are."""
    months = [(f"{year:04}-{month:02}", 1) for year in range(1, 10_000) for month in (1, 7)]
    counts = periods.add({}, months)
    assert len(counts) == 1000  # decades
    assert sum(counts.values()) == len(months)
    assert counts["202"] == 20
    assert [one < other for one, other in pairwise(counts)] == [True] * 999


@given(st.sets(st.integers(1, 9999), min_size=1, max_size=300), st.data())
def test_counting_does_not_depend_on_pages(years: set[int], given_data: st.DataObject) -> None:
    """What is counted at once makes no difference; nor does a checkpoint in between."""
    months = [(f"{year:04}-01", 1) for year in sorted(years)]
    cut = given_data.draw(st.integers(0, len(months)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(periods, "MOST", 100)
        at_once = periods.add({}, months)
        first = json.loads(json.dumps(periods.add({}, months[:cut])))
        assert periods.add(first, months[cut:]) == at_once


def test_contents_survive_a_checkpoint() -> None:
    """And are a copy, which does not change with what is written next."""
    contents = Contents([3, 4], {"2026-01": 7})
    kept = contents.to_json()
    contents.files.append(5)
    assert Contents.from_json(json.loads(json.dumps(kept))) == Contents([3, 4], {"2026-01": 7})


def test_layout_of_posts() -> None:
    """Posts are shown as what people wrote, by the month of their time."""
    layout = Layout(POSTS)
    assert (layout.time, layout.prose, layout.is_chronological) == ("timestamp", "body", True)


def test_page_names_its_only_script() -> None:
    """The policy in the page is of the script in the page, and allows no other one by itself."""
    page = (STATIC / "index.html").read_text()
    (script,) = re.findall(r"<script>(.*?)</script>", page, re.DOTALL)
    digest = b64encode(hashlib.sha256(script.encode()).digest()).decode()
    (policy,) = re.findall(r'Content-Security-Policy" content="([^"]*)"', page)
    rules = dict(rule.split(" ", 1) for rule in policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["frame-src"] == "file:"
    assert rules["script-src"] == f"'sha256-{digest}' 'strict-dynamic'"
    assert "unsafe" not in policy
    assert "*" not in policy


def test_page_loads_every_script() -> None:
    """Each file of the folder is loaded by name, and each of them is packed."""
    page = (STATIC / "index.html").read_text()
    (names,) = re.findall(r'const names = "([a-z ]+)"', page)
    assert sorted(names.split()) == sorted(path.stem for path in STATIC.glob("*.js"))
    packed = [one.member for one in sections(ABOUT, "en", []) if isinstance(one, Whole)]
    assert packed[0].path == "index.html"
    assert [one.path for one in packed] == [path for path, _ in static_files()]
    assert {one.media_type for one in packed} == {"text/html", "text/css", "text/javascript"}
    assert len(packed) == len(list(STATIC.iterdir()))
    assert media_type("viewer/data/posts-0001.html") == "text/html"


def test_no_address_of_anybody() -> None:
    """No file asks the network for anything."""
    for _, path in static_files():
        text = path.read_text().replace("http://www.w3.org/2000/svg", "")
        assert re.findall(r"https?:|//[a-z]+\.[a-z]", text) == []
        assert not re.search(r"innerHTML|insertAdjacentHTML|document\.write|eval\(", text)

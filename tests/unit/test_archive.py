"""The archive without a database: its container, and that it goes on from any cursor."""

import csv
import hashlib
import io
import json
import shutil
import subprocess
import zipfile
import zlib
from collections.abc import Generator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.harness.archives import AT, writer, written
from worker.export.archive import archive
from worker.export.archive.archive import About, ArchiveWriter
from worker.export.archive.container import deflated
from worker.export.archive.members import Block, Member
from worker.export.formats.activity_streams import html
from worker.export.publication import add

TOOLS = {
    "unzip": ["unzip", "-tqq"],
    "7z": ["7z", "t", "-bso0", "-bsp0"],
    "bsdtar": ["bsdtar", "-tf"],
}
"""What other people open archives with; each reads all of it."""

PACKED = "0b43fb0f4a630206ce2e6eac1503bc7f85532742ca2fec4d162fc401863af50a"
"""The SHA-256 of what some text is compressed to."""

BODIES = [f"{number}: ünï \U0001f600\n\n=1+1" for number in range(20)]


def accepted(path: Path) -> None:
    """Every tool of this machine reads the archive without a complaint, and so does Python."""
    for name, command in TOOLS.items():
        if shutil.which(name):
            done = subprocess.run([*command, path], capture_output=True, text=True, check=False)
            assert (done.returncode, done.stderr) == (0, ""), (name, done.stdout)
    with zipfile.ZipFile(path) as found:
        assert found.testzip() is None


@pytest.mark.parametrize("count", [0, 1, 3, 4, 20])
def test_every_tool_accepts_it(tmp_path: Path, count: int) -> None:
    """An archive of no posts, of one page and of many."""
    path = tmp_path / "archive.zip"
    path.write_bytes(written(writer(BODIES[:count])))
    accepted(path)


class ManyMembers:
    """A section of more members than 16 bits can count."""

    sources = ()
    count = 70_000

    def blocks(self, cursor: Any = None) -> Generator[Block]:
        """Each holds its own number."""
        for number in range(cursor or 0, self.count):
            at = number + 1 if number + 1 < self.count else None
            member = Member(f"viewer/data/{number}.js", "text/javascript")
            yield Block(member, b"%d" % number, last=True, cursor=at)


def test_more_members_than_16_bits(tmp_path: Path) -> None:
    """70,001 members need ZIP64's end of the archive, and every tool finds them all."""
    path = tmp_path / "archive.zip"
    path.write_bytes(written(ArchiveWriter(About("susan", AT), [], [ManyMembers()])))
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == 70_001
        assert found.read("viewer/data/69999.js") == b"69999"
    accepted(path)


@pytest.mark.parametrize("count", [0, 3, 4, 20])
def test_goes_on_from_any_cursor(count: int) -> None:
    """After each piece with a cursor, a new writer writes the rest of the very same bytes."""
    whole = written(writer(BODIES[:count]))
    first, before, cursors = writer(BODIES[:count]), b"", 0
    rows = dict.fromkeys(first.datasets, 0)
    with closing(first.pieces(None, rows)) as pieces:
        for piece in pieces:
            before += b"".join(piece.data)
            add(rows, piece.rows)
            if piece.cursor is not None:
                checkpoint = json.loads(json.dumps({"cursor": piece.cursor(), "rows": rows}))
                rest = written(writer(BODIES[:count]), checkpoint["cursor"], checkpoint["rows"])
                assert before + rest == whole
                cursors += 1
    assert cursors > count


def test_pieces_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a large member the pieces hold more blocks each, so that the manifest stays small."""
    monkeypatch.setattr(archive, "PIECES_PER_SIZE", 2)
    monkeypatch.setattr(archive, "MAX_PIECE_BLOCKS", 4)
    found = zipfile.ZipFile(io.BytesIO(written(writer(["x"] * 60, formats=("json",)))))
    _, posts = json.loads(found.read("manifest.json"))["members"]
    assert len(posts["pieces"]) == 2 + 2 + 4  # of 1, 2 and 4 blocks: 20 blocks
    assert sum(size for size, _ in posts["pieces"]) == posts["bytes"]


def test_nothing_reads_a_clock() -> None:
    """The same rows make the same bytes, in which the time is that of the export."""
    assert written(writer(BODIES)) == written(writer(BODIES))
    found = zipfile.ZipFile(io.BytesIO(written(writer(BODIES))))
    assert {one.date_time for one in found.infolist()} == {(2026, 1, 2, 3, 4, 4)}
    assert {one.external_attr >> 16 for one in found.infolist()} == {0o100644}


def test_compressed_alike_everywhere() -> None:
    """Every machine and version compresses to these bytes: attempts may be in different places."""
    lines = b"".join(b"%d: every %d words\n" % (at, at * at % 977) for at in range(40_000))
    packed = deflated(lines, last=False) + deflated(lines[::-1], last=True)
    assert zlib.decompress(packed, -zlib.MAX_WBITS) == lines + lines[::-1]
    assert hashlib.sha256(packed).hexdigest() == PACKED


@pytest.mark.parametrize("year", [1, 1979, 1980, 2039, 2107])
def test_any_year(year: int, tmp_path: Path) -> None:
    """Whatever the clock says, the archive can be read."""
    path, at = tmp_path / "archive.zip", datetime(year, 6, 1, tzinfo=UTC)
    path.write_bytes(written(ArchiveWriter(About("susan", at), [], [])))
    accepted(path)


def test_what_a_spreadsheet_gets() -> None:
    """A cell that may be a formula begins with an apostrophe; quotes and line breaks survive."""
    bodies = [*"=+-@", "\ttab", "\rreturn", 'a "b", c\r\nd', " =1", "", "'=1"]
    found = zipfile.ZipFile(io.BytesIO(written(writer(bodies))))
    text = found.read("spreadsheets/posts.csv").decode()
    assert text.startswith("body,timestamp\r\n'=,2026-01-02T03:04:05Z\r\n'+,")
    cells = [row[0] for row in csv.reader(io.StringIO(text, newline=""))][1:]
    quoted = [f"'{body}" if body[:1] in {*"=+-@\t\r"} - {""} else body for body in bodies]
    assert cells == quoted


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a", "<p>a</p>"),
        ("<b>&amp;", "<p>&lt;b&gt;&amp;amp;</p>"),
        ("a\nb\n\nc", "<p>a<br>b</p><p>c</p>"),
        ("a\n\n\nb", "<p>a</p><p><br>b</p>"),
        ("\r", "<p>&#13;</p>"),
    ],
)
def test_html_of_a_note(text: str, expected: str) -> None:
    """Text becomes paragraphs and line breaks, and nothing in it becomes markup."""
    assert html(text) == expected


def test_activities() -> None:
    """An outbox of public notes by one actor, each with an address of its own."""
    found = zipfile.ZipFile(io.BytesIO(written(writer(["<hello>", "world"]))))
    actor = json.loads(found.read("activitypub/actor.json"))
    outbox = json.loads(found.read("activitypub/outbox.json"))
    assert (actor["type"], outbox["type"]) == ("Person", "OrderedCollection")
    first, _ = outbox["orderedItems"]
    assert (first["type"], first["actor"]) == ("Create", actor["id"])
    note = first["object"]
    assert (note["type"], note["attributedTo"]) == ("Note", actor["id"])
    assert note["content"] == "<p>&lt;hello&gt;</p>"
    assert note["to"] == first["to"] == ["https://www.w3.org/ns/activitystreams#Public"]
    ids = [one["id"] for one in outbox["orderedItems"]]
    ids += [one["object"]["id"] for one in outbox["orderedItems"]]
    assert len(set(ids)) == 4

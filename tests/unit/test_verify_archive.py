"""`verify` of archives: what is damaged is named, and what is whole is never called damaged."""

import hashlib
import io
import json
import random
import tracemalloc
import zipfile
from collections.abc import Callable
from typing import Any

import pytest

from chalicelib.microblog.datasets import POSTS
from tests.harness.archives import writer, written
from worker.export.archive.verification import Verdict, is_archive, verify

BODIES = [f"{number}: ünï \U0001f600\n\n=1+1 " + "x" * number for number in range(20)]
WHOLE = written(writer(BODIES))
Files = dict[str, bytes]


def check(data: bytes) -> Verdict:
    return verify(io.BytesIO(data), [POSTS])


def files() -> Files:
    """The members of an archive, in their order."""
    found = zipfile.ZipFile(io.BytesIO(WHOLE))
    return {name: found.read(name) for name in found.namelist()}


def packed(members: Files, **options: Any) -> bytes:
    """An archive of these members that another program writes."""
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", **{"compression": zipfile.ZIP_DEFLATED, **options}) as out:
        for name, content in members.items():
            out.writestr(name, content)
    return data.getvalue()


@pytest.mark.parametrize("count", [0, 1, 3, 4, 20])
def test_a_right_archive(count: int) -> None:
    """Its rows, members, size and digest are told, and there are no faults."""
    data = written(writer(BODIES[:count]))
    assert is_archive(data[:4])
    assert check(data) == Verdict(
        rows={"posts": count},
        members=7,
        bytes=len(data),
        sha256=hashlib.sha256(data).hexdigest(),
        faults=(),
    )


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_packed_again(method: int) -> None:
    """The same files in an archive that another program wrote are as right."""
    assert check(packed(files(), compression=method)).faults == ()


def test_any_byte() -> None:
    """Whichever byte is another one, it is told, but for what no reader goes by."""
    chance = random.Random(1)
    directory = WHOLE.index(b"PK\x01\x02")
    unseen = 0
    for _ in range(300):
        at = chance.randrange(directory)
        damaged = WHOLE[:at] + bytes([WHOLE[at] ^ (1 << chance.randrange(8))]) + WHOLE[at + 1 :]
        unseen += check(damaged).faults == ()
    # The version needed and the extra fields of a local header: nobody goes by them there.
    assert unseen < 30


@pytest.mark.parametrize("left", [0.0, 0.2, 0.5, 0.9, 0.999])
def test_cut_off(left: float) -> None:
    """What is cut off anywhere has no end, and that is said."""
    (fault,) = check(WHOLE[: int(len(WHOLE) * left)]).faults
    assert "the end of the archive is missing" in fault


def test_longer_or_shifted() -> None:
    """What stands before, between or after the members is told."""
    assert check(WHOLE + b"x").faults
    assert check(b"x" + WHOLE).faults
    between = WHOLE.index(b"PK\x03\x04", 4)
    assert check(WHOLE[:between] + b"x" + WHOLE[between:]).faults


def swapped(members: Files) -> None:
    one, other = "data/posts.json", "data/posts.ndjson"
    members[one], members[other] = members[other], members[one]


def another_post(members: Files) -> None:
    members["data/posts.json"] = members["data/posts.json"].replace(b"xx", b"xy", 1)


def one_less(members: Files) -> None:
    lines = members["data/posts.ndjson"].splitlines(keepends=True)
    members["data/posts.ndjson"] = b"".join(lines[1:])


def no_table(members: Files) -> None:
    members["spreadsheets/posts.csv"] = b'body,timestamp\r\n"open'


def left_out(members: Files) -> None:
    del members["activitypub/actor.json"]


def added(members: Files) -> None:
    manifest = members.pop("manifest.json")
    members["more.txt"] = b""
    members["manifest.json"] = manifest


def no_manifest(members: Files) -> None:
    del members["manifest.json"]


def manifest_first(members: Files) -> None:
    manifest = members.pop("manifest.json")
    rest = {**members}
    members.clear()
    members.update({"manifest.json": manifest, **rest})


def other_order(members: Files) -> None:
    readme = members.pop("README.txt")
    rest = {**members}
    manifest = rest.pop("manifest.json")
    members.clear()
    members.update({**rest, "README.txt": readme, "manifest.json": manifest})


def edited(**changes: Any) -> Callable[[Files], None]:
    def edit(members: Files) -> None:
        manifest = json.loads(members["manifest.json"])
        members["manifest.json"] = json.dumps({**manifest, **changes}).encode()

    return edit


def edited_member(**changes: Any) -> Callable[[Files], None]:
    def edit(members: Files) -> None:
        manifest = json.loads(members["manifest.json"])
        manifest["members"][1] |= changes
        members["manifest.json"] = json.dumps(manifest).encode()

    return edit


@pytest.mark.parametrize(
    ("damage", "fault"),
    [
        (swapped, "data/posts.json: piece 1 is not what manifest.json says"),
        (another_post, "data/posts.json: piece 1 is not what manifest.json says"),
        (one_less, "data/posts.ndjson: it has 19 rows, not 20"),
        (no_table, "spreadsheets/posts.csv: it is no CSV"),
        (left_out, "activitypub/actor.json: it is missing"),
        (added, "more.txt: it is not in manifest.json"),
        (no_manifest, "manifest.json is missing"),
        (manifest_first, "manifest.json is not the last member"),
        (other_order, "the members do not stand in the order of manifest.json"),
        (edited(user="david"), "data/posts.json: its user is not that of manifest.json"),
        (edited(exported_at="2026-01-02T03:04:06Z"), "its exported_at is not that of"),
        (edited(exported_at="today"), "manifest.json: exported_at must be a time"),
        (edited(version=2), "manifest.json: version is not 1"),
        (edited(members=[]), "README.txt: it is not in manifest.json"),
        (edited(datasets=[{"name": "posts", "rows": 21}]), "posts has 20 rows, not 21"),
        (edited(user=None), "manifest.json: Expected `str`, got `null`"),
        (edited_member(rows=21), "data/posts.json: it has 20 rows, not 21"),
        (edited_member(bytes=5), "data/posts.json: it has "),
        (edited_member(pieces=[]), "data/posts.json: its pieces in manifest.json are not all of"),
        (edited_member(pieces=[[1, "0" * 64]]), "piece 1 is not what manifest.json says"),
        (edited_member(pieces=[[1 << 40, "0" * 64]]), "or other pieces than manifest.json says"),
        (edited_member(path="posts.json"), "posts.json: it is missing, and manifest.json lists it"),
    ],
)
def test_damage_is_named(damage: Callable[[Files], None], fault: str) -> None:
    """In an archive whose container is right, each kind of damage has its sentence."""
    members = files()
    damage(members)
    faults = check(packed(members)).faults
    assert any(fault in one for one in faults), faults


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        (b"{}", "not valid JSON"),
        (b"\n", "not valid JSON"),
        (b"[]\n", "row 1: not an object"),
        (b'{"body":\n"x"}\n', "not valid JSON"),
        (b'{"body":"x","timestamp":"2026-01-02T03:04:05Z"}\n\n', "not valid JSON"),
        (b'{"body":"x","timestamp":"today"}\n', "row 1: timestamp"),
    ],
)
def test_lines_are_checked(lines: bytes, fault: str) -> None:
    """A line of NDJSON must be what a row of the document must be, on one line."""
    faults = check(packed({**files(), "data/posts.ndjson": lines})).faults
    assert any(one.startswith(f"data/posts.ndjson: {fault}") for one in faults), faults


@pytest.mark.parametrize("garbage", [b"", b"PK\x05\x06", b"PK\x03\x04", b"PK\x05\x06" + b"\0" * 18])
def test_no_archive(garbage: bytes) -> None:
    """What is none makes for faults, never for an exception."""
    assert check(garbage).faults


def test_flat_memory() -> None:
    """However much a member holds, little of it is in memory."""
    data = written(writer(["x" * 9000] * 4000, formats=("json", "ndjson", "csv")))
    tracemalloc.start()
    try:
        assert check(data).faults == ()
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()

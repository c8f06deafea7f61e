"""What somebody may upload to bring a worker down, each read by a process of its own.

The process has imported all that a worker has, so that its memory is a worker's.
"""

import gzip
import json
import struct
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.harness.imports import HEAD, activity, as_outbox, note, own_post
from tests.harness.processes import ROOT, run

MIB = 1024 * 1024
READ = """
import sys, time
import worker.runner
from chalicelib.errors import ImportRefused
from worker.importing.opening import open_import
from worker.importing.reading import Limits
from tests.bench.machine import peak_mib
began, rows, bad, code = time.process_time(), 0, 0, "read"
with open(sys.argv[1], "rb") as file:
    try:
        for batch in open_import(file, Limits(), None):
            rows, bad = rows + len(batch.rows), bad + len(batch.rejected)
    except ImportRefused as refused:
        code = refused.code
seconds = time.process_time() - began
print(code, rows, bad, seconds, peak_mib())
"""

Make = Callable[[Path], object]


def repeated(before: bytes, piece: bytes, times: int, after: bytes = b"") -> Make:
    """Makes a file of a piece many times."""

    def make(path: Path) -> None:
        with path.open("wb") as file:
            file.write(before)
            many = min(times, MIB // len(piece) + 1)
            for _ in range(times // many):
                file.write(piece * many)
            file.write(piece * (times % many) + after)

    return make


def bytes_of(data: Callable[[], bytes]) -> Make:
    return lambda path: path.write_bytes(data())


def zipped(name: str, piece: bytes, times: int) -> Make:
    def make(path: Path) -> None:
        with (
            zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive,
            archive.open(name, "w", force_zip64=True) as member,
        ):
            for _ in range(times):
                member.write(piece)

    return make


def gzipped_zeros(path: Path) -> None:
    with gzip.open(path, "wb") as file:
        for _ in range(400):
            file.write(bytes(MIB))


def million_members() -> bytes:
    """A directory of a million files, and an end that admits to one."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"a.json") * 1_000_000
    local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 0, 0, 0, 0, 6, 0) + b"a.json"
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(local), 0)
    return local + directory + end


def million_headers() -> bytes:
    """A tar file of a million empty files."""
    block = bytearray(512)
    block[:6], block[100:108], block[124:136] = b"a.json", b"0000644\0", b"00000000000\0"
    block[156:157], block[257:265] = b"0", b"ustar\00000"
    block[148:156] = b"%06o\0 " % (sum(block) + 8 * 32)
    packer = zlib.compressobj(1, zlib.DEFLATED, 31)
    return b"".join([*(packer.compress(bytes(block) * 1000) for _ in range(1000)), packer.flush()])


def as_item(text: bytes) -> Make:
    """Makes an export that has this between two posts."""
    row = json.dumps(own_post("a"), separators=(",", ":")).encode()
    return repeated(HEAD.encode() + b"\n" + row + b",\n", text, 1, b",\n" + row + b"\n]}")


TEXT = b'{"body":"%b","timestamp":"2022-11-05T10:00:00Z"}'

BOMBS: dict[str, tuple[Make, str]] = {
    "deep": (repeated(b"", b"[", 10_000), "unknown_format"),
    "deep in an export": (as_item(b"[" * 10_000 + b"]" * 10_000), "malformed"),
    "deep objects": (as_item(b'{"a":' * 900 + b"1" + b"}" * 900), "read"),
    "deep in a line": (repeated(TEXT % b"x" + b'\n{"body":', b"[", 100_000, b"\n"), "read"),
    "deep in an outbox": (
        bytes_of(lambda: as_outbox(activity(note("x"))).replace(b'"x"', b"[" * 10_000)),
        "malformed",
    ),
    "long number": (as_item(b"1" * MIB), "read"),
    "longer number": (as_item(b"1" * 8 * MIB), "malformed"),
    "long number in an entry": (
        as_item(TEXT[:-1] % b"x" + b',"n":' + b"1" * (MIB - 200) + b"}"), "read",
    ),
    "many digits": (as_item(b'{"body":' + b"9" * 500_000 + b"}"), "read"),
    "long string": (repeated(HEAD.encode() + b'"', b"x", 100 * MIB, b'"]}'), "malformed"),
    "long name": (repeated(b'{"', b"x", 100 * MIB, b'":1}'), "unknown_format"),
    "long line": (repeated(TEXT % b"x" + b"\n", b"x", 300 * MIB), "read"),
    "blank lines": (repeated(TEXT % b"x" + b"\n", b"\n", 4 * MIB), "read"),
    "bad lines": (repeated(TEXT % b"x" + b"\n", b"x\n", 300_000), "too_many_rejected"),
    "wide": (as_item(b"[" + b"[]," * (MIB // 3 - 10) + b"[]]"), "read"),
    "many members": (
        as_item(b"{" + b",".join(b'"%d":[]' % n for n in range(90_000)) + b"}"), "read",
    ),
    "escapes": (as_item(TEXT % (rb"\ud83d\ude00" * 80_000)), "read"),
    "surrogates": (as_item(TEXT % (rb"\ud800" * 100_000)), "read"),
    "markup": (
        bytes_of(lambda: as_outbox(activity(note("<a><ul><li>" * 80_000)), activity(note("a")))),
        "read",
    ),
    "gzip of zeros": (gzipped_zeros, "ratio"),
    "zeros in a zip": (zipped("outbox.json", bytes(MIB), 250), "ratio"),
    "spaces in a zip": (zipped("data/posts.json", b" " * MIB, 250), "ratio"),
    "zeros in another file": (zipped("picture.png", bytes(MIB), 250), "ratio"),
    "million members": (bytes_of(million_members), "too_many_members"),
    "million headers": (bytes_of(million_headers), "too_many_members"),
    "zip in a zip": (
        zipped("lib.zip", b"PK\3\4" + bytes(range(256)), 1), "nested_archive",
    ),
}  # fmt: skip


@pytest.mark.parametrize("bomb", BOMBS)
def test_bombs(bomb: str, tmp_path: Path) -> None:
    """Each is refused or read within 10 s of processor time and 200 MiB, and says why."""
    make, code = BOMBS[bomb]
    path = tmp_path / "upload"
    make(path)
    done = run(sys.executable, "-c", READ, str(path), cwd=ROOT)
    path.unlink()
    found, rows, _bad, seconds, mib = done.stdout.split()

    assert found == code
    assert int(rows) > 0 or code != "read"
    assert float(seconds) < 10
    assert float(mib) < 200

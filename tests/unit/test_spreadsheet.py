"""The tables of an archive in a real spreadsheet: LibreOffice without a window."""

import csv
import io
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.harness.archives import writer, written

pytestmark = [
    pytest.mark.skipif(
        not shutil.which("soffice"),
        reason="LibreOffice is missing: apt-get install libreoffice-calc",
    ),
    pytest.mark.timeout(600),
]

STARTS_WITHIN_S = 250

AS_TEXT = "CSV:44,34,76,1,1/2/2/2"
"""A comma, the quotation mark, UTF-8, from the first line on, both columns as text."""

TO_CSV = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,false"

FORMULAS = [
    *("=1+1", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", " =1", '"=1"', ";=1", ",=1"),
    '=HYPERLINK("https://example.com/?"&A1)', "=cmd|' /C calc'!A0", "\u00a0=1", "＝1+1", "DDE|x!y",
]  # fmt: skip
"""What a spreadsheet calculates, or could."""

BODIES = [
    *FORMULAS,
    *("00123", "1e5", "1,234.50", "2026-01-02", "1/2", "12 %", "TRUE", "null", "0x1F", "-", "'x"),
    *("a\nb", "a\r\nb", "a\rb", 'say "hi", twice; or\tnot', "  spaces  ", "x" * 9000),
    *("한국어 😀", "مرحبا", "\u2028line", "https://example.com", "١٢٣", "12\u200b3"),
]


@pytest.fixture
def convert(tmp_path: Path) -> Callable[..., Path]:
    """Converts a file into a folder of its own, and returns the new file."""

    def convert(path: Path, to: str, *options: str) -> Path:
        out = tmp_path / f"{path.stem}-{to[:4]}"
        profile = f"-env:UserInstallation={(tmp_path / 'profile').as_uri()}"
        command = ["soffice", "--headless", profile, *options]
        command += ["--convert-to", to, "--outdir", str(out), str(path)]
        subprocess.run(command, check=True, capture_output=True, timeout=STARTS_WITHIN_S)
        (made,) = out.iterdir()
        return made

    return convert


def table(path: Path, bodies: Sequence[str]) -> Path:
    """The table of posts with these bodies, out of an archive."""
    archive = zipfile.ZipFile(io.BytesIO(written(writer(bodies, formats=("csv",)))))
    path.write_bytes(archive.read("spreadsheets/posts.csv"))
    return path


def read(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_bytes().decode(), newline="")))


def is_calculated(workbook: Path) -> bool:
    """Whether a cell of a workbook holds a formula."""
    with zipfile.ZipFile(workbook) as found:
        sheets = [name for name in found.namelist() if name.startswith("xl/worksheets/sheet")]
        assert len(sheets) == 1
        return b"<f>" in found.read(sheets[0]) or b"<f " in found.read(sheets[0])


def test_every_cell_comes_back(tmp_path: Path, convert: Callable[..., Path]) -> None:
    """To a workbook and back, with columns of text: only line breaks become those of a cell."""
    path = table(tmp_path / "posts.csv", BODIES)
    workbook = convert(path, "xlsx", f"--infilter={AS_TEXT}")
    assert not is_calculated(workbook)
    rows, found = read(path), read(convert(workbook, TO_CSV))
    expected = [[cell.replace("\r\n", "\n").replace("\r", "\n") for cell in row] for row in rows]
    assert found == expected


def test_nothing_is_calculated(tmp_path: Path, convert: Callable[..., Path]) -> None:
    """Who opens a table without a choice gets numbers where there are some, and no formula."""
    path = table(tmp_path / "posts.csv", FORMULAS)
    assert not is_calculated(convert(path, "xlsx"))
    unguarded = tmp_path / "unguarded.csv"
    unguarded.write_text("body\n=1+1\n")
    assert is_calculated(convert(unguarded, "xlsx"))

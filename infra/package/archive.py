"""Byte-code and zip, the same bytes whenever and wherever the same files are packed."""

import re
import zipfile
from pathlib import Path

from infra.package.program import run

TASK_ROOT = "/var/task"
"""Where Lambda unpacks the zip; tracebacks name files by it."""

UNCOMPILED = (
    *("_distutils_hack", "packaging", "pip", "setuptools", "wheel", "pycparser"),  # install, build
    *("blessed", "dotenv", "editor", "inquirer", "jinxed", "readchar", "runs", "wcwidth", "xmod"),
    *("alembic", "ijson", "mako", "waitress", "yaml", "zlib_ng"),  # elsewhere
)
"""What Chalice's command line and the worker import and the API does not: its sources will do. They
are here because requirements.txt asks for them; with byte-code they would be a quarter of the zip.
"""

OLDEST = (1980, 1, 1, 0, 0, 0)
"""The first moment that a zip can name."""

READABLE = 0o100644 << 16
"""A regular file that everybody may read."""


def compile_all(folder: Path, python: Path) -> None:
    """Put byte-code beside every module that the API may import.

    Lambda cannot keep its own: without it, every cold start would compile everything anew. It is
    loaded unchecked: by time it would look stale, since the zip's times say nothing.

    Args:
        folder: What becomes the package.
        python: The program of the runtime's own Python; another's byte-code would be ignored.
    """
    left_out = rf"^{re.escape(str(folder))}/({'|'.join(UNCOMPILED)})(/|\.py$)"
    run(
        [
            *(str(python), "-m", "compileall", "-q", "-f", "--invalidation-mode", "unchecked-hash"),
            *("-s", str(folder), "-p", TASK_ROOT, "-x", left_out, str(folder)),
        ],
        variables={"PYTHONHASHSEED": "0"},
    )


def write(folder: Path, path: Path) -> None:
    """Pack a folder's files, by name, without times and owners."""
    names = sorted(one.relative_to(folder).as_posix() for one in folder.rglob("*") if one.is_file())
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name in names:
            entry = zipfile.ZipInfo(name, OLDEST)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # Unix, also when packed elsewhere
            entry.external_attr = READABLE
            archive.writestr(entry, (folder / name).read_bytes())

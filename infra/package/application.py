"""The application's own files: what the API and the sweep run on, and nothing of the worker's."""

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

ROOT = Path(__file__).parents[2]

SOURCES = frozenset({".po", ".pyc"})
"""Files under `chalicelib` that others are made of, or that are made of others."""


def files() -> Iterator[tuple[PurePosixPath, Path]]:
    """Each file's name in the package, and where it is."""
    yield PurePosixPath("app.py"), ROOT / "app.py"
    for path in sorted((ROOT / "chalicelib").rglob("*")):
        if path.is_file() and path.suffix not in SOURCES and not path.name.startswith("."):
            yield PurePosixPath(path.relative_to(ROOT).as_posix()), path


def copy_into(folder: Path) -> None:
    """Copy the application's files into the folder that becomes the package."""
    for name, path in files():
        copy = folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

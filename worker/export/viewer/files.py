"""The files of the viewer that are the same in every archive."""

from pathlib import Path

STATIC = Path(__file__).parent / "static"

HOME = "index.html"
"""The page that people open; the only file of the viewer beside its folder."""

FOLDER = "viewer"

MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def static_files() -> list[tuple[str, Path]]:
    """Each file's name in the archive, and where it is; the page that people open comes first."""
    found = sorted(path for path in STATIC.iterdir() if path.suffix in MEDIA_TYPES)
    named = [(f"{FOLDER}/{path.name}", path) for path in found if path.name != HOME]
    return [(HOME, STATIC / HOME), *named]


def media_type(path: str) -> str:
    """What a file of the viewer is."""
    return MEDIA_TYPES[Path(path).suffix]

"""The files that pages load: a style sheet, a script, an icon.

Their names carry a hash of their content, so that a browser may keep them for ever.
"""

import hashlib
from functools import cache
from pathlib import Path

from chalice.app import Response

from chalicelib.errors import NotFound

STATIC = Path(__file__).parents[1] / "static"

MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}


@cache
def names() -> dict[str, str]:
    """What each file is called in an address: `app.css` is `app.1f3870be27.css`, say."""
    files = [file for file in STATIC.iterdir() if file.suffix in MEDIA_TYPES]
    digests = {file: hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    return {file.name: f"{file.stem}.{digests[file][:10]}{file.suffix}" for file in files}


def serve(name: str) -> Response:
    """A file, by the name that carries its hash.

    Raises:
        NotFound: There is none, or no longer with this content.
    """
    own = {hashed: plain for plain, hashed in names().items()}.get(name)
    if own is None:
        raise NotFound
    file = STATIC / own
    headers = {
        "Content-Type": MEDIA_TYPES[file.suffix],
        "Cache-Control": "public, max-age=31536000, immutable",
        "X-Content-Type-Options": "nosniff",
    }
    return Response(file.read_text(encoding="utf-8"), headers, 200)

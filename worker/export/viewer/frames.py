"""JSON as a page that says it to the page that shows it in a frame.

A page from a disk may not read files, but it may show them in frames, and a frame may send what it
holds. A frame can be taken away again, with all that it needed; what a script once held, a browser
keeps until it has little memory left.

The JSON is the text of an element that nothing runs. `<` is escaped in it, for it begins all that
could end the element. The one script that the page's policy allows sends the text.
"""

import hashlib
from base64 import b64encode

_SCRIPT = b'parent.postMessage(document.getElementById("json").textContent, "*")'

_POLICY = b"default-src 'none'; script-src 'sha256-%b'" % b64encode(
    hashlib.sha256(_SCRIPT).digest()
)

HEAD = (
    b'<!doctype html>\n<meta charset="utf-8">\n<title>Carryout</title>\n'
    b'<meta http-equiv="Content-Security-Policy" content="%b">\n'
    b'<script id="json" type="application/json">' % _POLICY
)
"""What stands before the JSON."""

TAIL = b"</script>\n<script>%b</script>\n" % _SCRIPT
"""What stands after the JSON."""


def escaped(json: bytes) -> bytes:
    """JSON as it stands in such a page: the same JSON, where `<` is written as an escape."""
    return json.replace(b"<", rb"\u003c")

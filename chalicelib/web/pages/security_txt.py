"""`/.well-known/security.txt`: where to report a weakness (RFC 9116)."""

from datetime import timedelta
from email.utils import parseaddr

from chalice.app import Response

from chalicelib.values.languages import LANGUAGES
from chalicelib.web.request import Call

GOOD_FOR = timedelta(days=180)
"""How far ahead the file says that it expires; RFC 9116 recommends less than a year."""


def security_txt(call: Call) -> Response:
    """The file, for the application as it is deployed."""
    settings = call.wiring.settings
    contact = settings.security_contact or f"mailto:{parseaddr(settings.mail_sender)[1]}"
    expires = (call.now + GOOD_FOR).replace(hour=0, minute=0, second=0, microsecond=0)
    lines = [
        f"Contact: {contact}",
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}",
        f"Preferred-Languages: {', '.join(LANGUAGES)}",
    ]
    if settings.is_https:  # the only scheme that a URL in here may have
        lines.append(f"Canonical: {settings.public_url}/.well-known/security.txt")
    headers = {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "max-age=86400"}
    return Response("".join(f"{line}\n" for line in lines), headers)

"""A page that shows the emails of the embedded stack.

What is in an email is not trusted: everything is escaped, the HTML part is shown in a frame without
scripts and without an origin, and attachments are only ever downloaded.
"""

from collections.abc import Iterable
from email import message_from_bytes, policy
from email.message import EmailMessage, MIMEPart
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jinja2 import Environment

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'self'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

HEADERS_SHOWN = ("From", "To", "Reply-To", "Subject", "Date", "Message-ID")

PAGES = Environment(autoescape=True)

HEAD = """<!doctype html><html lang="en"><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>
  body { font: 16px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem;
         color-scheme: light dark }
  table { border-collapse: collapse } th, td { text-align: left; padding: .2rem 1rem .2rem 0 }
  pre { white-space: pre-wrap; overflow-wrap: anywhere } iframe { width: 100%; height: 30rem;
        border: 1px solid; background: white }
</style>"""

LIST = PAGES.from_string(
    HEAD
    + """<meta http-equiv="refresh" content="5"><title>Mailbox</title><h1>Mailbox</h1>
{% if emails %}<table><tr><th>To<th>Subject<th>Date</tr>
{% for name, mail in emails %}<tr><td>{{ mail.To }}<td><a href="/{{ name }}">{{ mail.Subject or
"(no subject)" }}</a><td>{{ mail.Date }}</tr>{% endfor %}</table>
{% else %}<p>No emails yet.{% endif %}"""
)

MAIL = PAGES.from_string(
    HEAD
    + """<title>{{ headers.Subject }}</title><p><a href="/">Mailbox</a>
<h1>{{ headers.Subject or "(no subject)" }}</h1>
<table>{% for name, value in headers.items() %}<tr><th>{{ name }}<td>{{ value }}</tr>{% endfor %}
</table>
{% if files %}<h2>Attachments</h2><ul>{% for file in files %}
<li><a href="/{{ name }}/{{ loop.index0 }}">{{ file.name }}</a> ({{ file.type }},
{{ file.bytes }} bytes){% endfor %}</ul>{% endif %}
<h2>Text</h2><pre>{{ text | urlize(target="_blank", rel="noopener") }}</pre>
{% if html %}<h2>HTML</h2><iframe title="HTML part"
sandbox="allow-popups allow-popups-to-escape-sandbox"
srcdoc="{{ '<base target=_blank>' ~ html }}"></iframe>{% endif %}
<p><a href="/{{ name }}/source">Source</a>"""
)


class Mailbox:
    """WSGI application over a folder of `.eml` files: `/`, `/NAME`, `/NAME/source`, `/NAME/N`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Answer one request (PEP 3333)."""
        status, headers, body = self._answer(environ["PATH_INFO"].strip("/"))
        headers = {**SECURITY, **headers, "Content-Length": str(len(body))}
        start_response(f"{status} {status.phrase}", list(headers.items()))
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [body]

    def _answer(self, path: str) -> tuple[HTTPStatus, dict[str, str], bytes]:
        name, _, part = path.partition("/")
        if not name:
            return _page(LIST.render(emails=self._list()))
        if name not in {mail.name for mail in self._paths()}:
            return _page("This email doesn't exist.", HTTPStatus.NOT_FOUND)
        source = (self._folder / name).read_bytes()
        mail = message_from_bytes(source, policy=policy.default)
        if not part:
            return _page(_show(name, mail))
        if part == "source":
            return _download("mail.eml", source)
        files = list(mail.iter_attachments())
        if not (part.isascii() and part.isdigit() and int(part) < len(files)):
            return _page("This attachment doesn't exist.", HTTPStatus.NOT_FOUND)
        return _download(_file_name(files[int(part)]), _content(files[int(part)]))

    def _paths(self) -> list[Path]:
        return sorted(self._folder.glob("[!.]*.eml"), reverse=True)

    def _list(self) -> list[tuple[str, EmailMessage]]:
        return [
            (path.name, message_from_bytes(path.read_bytes(), policy=policy.default))
            for path in self._paths()
        ]


def text_of(mail: EmailMessage, kind: str = "plain") -> str:
    """The text of an email's first body of a kind (`plain` or `html`), or nothing."""
    part = mail.get_body((kind,))
    if part is None:
        return ""
    try:
        return _content(part).decode(part.get_content_charset("utf-8"), "replace")
    except LookupError:  # a charset that Python does not know
        return _content(part).decode("utf-8", "replace")


def _show(name: str, mail: EmailMessage) -> str:
    files = [
        {"name": _file_name(part), "type": part.get_content_type(), "bytes": len(_content(part))}
        for part in mail.iter_attachments()
    ]
    return MAIL.render(
        name=name,
        headers={name: mail[name] for name in HEADERS_SHOWN if mail[name]},
        text=text_of(mail),
        html=text_of(mail, "html"),
        files=files,
    )


def _file_name(part: MIMEPart) -> str:
    return part.get_filename() or "attachment"


def _content(part: MIMEPart) -> bytes:
    content = part.get_payload(decode=True)
    return content if isinstance(content, bytes) else part.as_bytes()


def _page(
    html: str, status: HTTPStatus = HTTPStatus.OK
) -> tuple[HTTPStatus, dict[str, str], bytes]:
    return status, {"Content-Type": "text/html; charset=utf-8"}, html.encode()


def _download(name: str, content: bytes) -> tuple[HTTPStatus, dict[str, str], bytes]:
    headers = {
        "Content-Type": "application/octet-stream",
        "Content-Disposition": f"attachment; filename*=UTF-8''{quote(name, safe='')}",
    }
    return HTTPStatus.OK, headers, content

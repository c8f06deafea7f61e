"""Pages as a browser without JavaScript meets them."""

from html.parser import HTMLParser
from urllib.parse import urlencode

from chalice.test import Client, HTTPResponse

HOST = "carryout.example.com"


class Elements(HTMLParser):
    """The elements of a page, each with its attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


class Browser:
    """A browser without JavaScript: keeps the cookie, sends forms with its page's origin."""

    def __init__(self, client: Client, cookie: str | None = None) -> None:
        self.client = client
        self.cookie = cookie

    def ask(
        self,
        method: str,
        path: str,
        fields: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> HTTPResponse:
        """Send a request as a page of this site would."""
        given = {"Host": HOST, "Accept": "text/html"}
        given |= {"Content-Type": "application/x-www-form-urlencoded"}
        if method == "POST":
            given |= {"Origin": f"https://{HOST}", "Sec-Fetch-Site": "same-origin"}
        if self.cookie is not None:
            given["Cookie"] = f"theme=dark; __Host-carryout_session={self.cookie}"
        body = urlencode(fields or {}).encode()
        return self.client.http.request(method, path, headers=given | (headers or {}), body=body)

    def get(self, path: str, **headers: str) -> HTTPResponse:
        return self.ask("GET", path, headers=headers)

    def send(self, path: str, **fields: str) -> HTTPResponse:
        return self.ask("POST", path, {"csrf": self.csrf(), **fields})

    def csrf(self) -> str:
        """What the forms of the home page bring along."""
        page = self.get("/").body.decode()
        return next(
            found["value"] or ""
            for tag, found in Elements(page).found
            if tag == "input" and found.get("name") == "csrf"
        )

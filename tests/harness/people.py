"""People who use the API, and how they are refused."""

import json
from dataclasses import dataclass
from typing import Any

from chalice.test import Client, HTTPResponse

JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True)
class Person:
    """Somebody with a token, or nobody without one.

    Attributes:
        client: Chalice's test client.
        token: A bearer token, or None.
        user_id: The user's number.
    """

    client: Client
    token: str | None = None
    user_id: int = 0

    @property
    def headers(self) -> dict[str, str]:
        """The credentials."""
        return {} if self.token is None else {"Authorization": f"Bearer {self.token}"}

    def ask(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> HTTPResponse:
        """Send a request; a body that is no bytes goes as JSON."""
        given = self.headers | ({} if body is None else JSON) | (headers or {})
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.client.http.request(
            method, path, headers=given, body=b"" if body is None else raw
        )

    def get(self, path: str, **options: Any) -> HTTPResponse:
        """GET."""
        return self.ask("GET", path, **options)

    def post(self, path: str, body: object = None, **options: Any) -> HTTPResponse:
        """POST."""
        return self.ask("POST", path, body, **options)

    def patch(self, path: str, body: object = None, **options: Any) -> HTTPResponse:
        """PATCH."""
        return self.ask("PATCH", path, body, **options)

    def delete(self, path: str, **options: Any) -> HTTPResponse:
        """DELETE."""
        return self.ask("DELETE", path, **options)


def refused(answer: HTTPResponse, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is a whole problem document of this status and code; return it."""
    shown: dict[str, Any] = answer.json_body
    assert answer.status_code == status, shown
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert shown["code"] == code
    assert shown["status"] == status
    assert all(shown[name] and isinstance(shown[name], str) for name in ("type", "title", "detail"))
    assert set(shown) <= {"type", "title", "status", "detail", "code", "errors"}
    return shown


def pointers(problem: dict[str, Any]) -> set[str]:
    """What a validation error points at."""
    assert all(set(error) == {"pointer", "detail"} for error in problem["errors"])
    return {error["pointer"] for error in problem["errors"]}

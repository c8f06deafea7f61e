"""People who use the API, and how they are refused."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from email.message import EmailMessage
from functools import partialmethod
from typing import Any, Protocol, Self

import requests
from chalice.test import Client, HTTPResponse

from tests.harness.waiting import wait_until

JSON = {"Content-Type": "application/json"}
PASSWORD = "correct horse"
TIMEOUT_S = 60


class Home(Protocol):
    def command(self, *arguments: str, given: str = "") -> str:
        """Run `python -m worker …` against it; return what it printed."""

    def emails(self, to: str) -> list[EmailMessage]:
        """The emails that somebody got, the oldest first."""


class Remote:
    """The application behind a URL, asked as Chalice's test client asks the one in this process.

    Each request has a connection of its own, so that threads may share it.
    """

    def __init__(self, app_url: str) -> None:
        self._app_url = app_url

    @property
    def http(self) -> "Remote":
        return self

    def request(self, method: str, path: str, headers: dict[str, str], body: bytes) -> HTTPResponse:
        """Send a request and follow no redirection."""
        with requests.Session() as session:
            session.trust_env = False  # no proxy, no .netrc
            answer = session.request(
                method,
                self._app_url + path,
                data=body,
                headers=headers,
                timeout=TIMEOUT_S,
                allow_redirects=False,
            )
        return HTTPResponse(answer.content, answer.headers, answer.status_code)


@dataclass
class Person:
    """Somebody with a token, or nobody without one.

    Attributes:
        client: The application in this process, or behind a URL.
        token: A bearer token, or None.
        user_id: The user's number, where a test needs it.
        username: The name.
        home: Where the application runs, if not in this process.
    """

    client: Client | Remote
    token: str | None = None
    user_id: int = 0
    username: str = ""
    home: Home | None = None

    @classmethod
    def sign_up(
        cls, client: Client | Remote, username: str, *, email: str = "", **facts: Any
    ) -> Self:
        """Somebody new, who makes an account and signs in."""
        secrets = {"username": username, "password": PASSWORD}
        person = cls(client, username=username, **facts)
        new = {**secrets, "email": email or person.address, "language": "en"}
        person.user_id = person.call("POST", "/v1/users", new, 201)["id"]
        person.token = person.call("POST", "/v1/tokens", secrets, 201)["token"]
        return person

    @property
    def address(self) -> str:
        return f"{self.username}@example.com"

    @property
    def headers(self) -> dict[str, str]:
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

    get = partialmethod(ask, "GET")
    post = partialmethod(ask, "POST")
    patch = partialmethod(ask, "PATCH")
    delete = partialmethod(ask, "DELETE")

    def call(self, method: str, path: str, body: object = None, status: int | None = None) -> Any:
        """Send a request that must succeed, with this status if one is named; return the JSON."""
        answer = self.ask(method, path, body)
        assert answer.status_code == (status or answer.status_code), answer.body
        assert 200 <= answer.status_code < 300, answer.body
        return answer.json_body if answer.body else None

    def load(self, count: int, *, body: str = "x" * 100) -> None:
        assert self.home
        post = json.dumps({"body": body, "timestamp": "2026-01-02T03:04:05Z"}) + "\n"
        self.home.command("load-posts", "-", "--user", self.username, given=count * post)

    def write(self, *bodies: str) -> None:
        for body in bodies:
            self.call("POST", "/v1/posts", {"body": body}, 201)

    def request(self, name: str = "export_posts", **params: Any) -> str:
        """Ask for a task; return its id."""
        return str(self.call("POST", "/v1/tasks", {"name": name, "params": params}, 202)["id"])

    def cancel(self, task_id: str) -> HTTPResponse:
        return self.ask("POST", f"/v1/tasks/{task_id}/cancel")

    def task(self, task_id: str) -> Any:
        return self.call("GET", f"/v1/tasks/{task_id}")

    def wait(
        self, task_id: str, condition: Callable[[Any], object], what: str, *, within_s: float = 90
    ) -> Any:
        """Wait until a task is as it should be; return it."""

        def found() -> Any:
            task = self.task(task_id)
            return task if condition(task) else None

        return wait_until(found, what, within_s=within_s)

    def wait_for(self, task_id: str, status: str, *, within_s: float = 90) -> Any:
        return self.wait(task_id, lambda one: one["status"] == status, status, within_s=within_s)

    def wait_until_emailed(self, task_id: str) -> None:
        """Wait until SES has taken the email about an export."""

        def is_sent(task: Any) -> bool:
            return bool(task["result"] and task["result"]["mail"]["state"] == "sent")

        self.wait(task_id, is_sent, "it is emailed")

    def wait_for_email(self, task_id: str) -> EmailMessage:
        """Wait for the one email about an export."""
        assert self.home
        home = self.home
        self.wait_until_emailed(task_id)
        (mail,) = wait_until(lambda: home.emails(self.address), "the email is a file")
        return mail

    def download(self, task_id: str) -> bytes:
        """The file, as a browser gets it."""
        answer = self.get(f"/v1/exports/{task_id}/download")
        assert answer.status_code == 303, answer.body
        return requests.get(answer.headers["Location"], timeout=TIMEOUT_S).content


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
    assert all(set(error) == {"pointer", "detail"} for error in problem["errors"])
    return {error["pointer"] for error in problem["errors"]}

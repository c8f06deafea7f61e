"""The application's API as one user of the demo sees it."""

import secrets
import time
from collections.abc import Callable
from typing import Any

import requests

Json = dict[str, Any]

STEP_TIMEOUT_S = 30.0
TASK_WITHIN_S = 120.0
POLL_S = 2
"""How long one request waits for the task to change."""


class DemoError(Exception):
    """A step did not do what it should; the message is for people."""


class Client:
    """One user's client.

    Args:
        app_url: Where the application is.
        check: Raises when the stack is not well, so that nobody waits for it in vain.
    """

    def __init__(self, app_url: str, *, check: Callable[[], None]) -> None:
        self._app_url = app_url
        self._check = check
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy or a .netrc has no part in this

    def sign_up(self, username: str) -> None:
        """Make a user and be that user from now on."""
        password = secrets.token_urlsafe(16)
        user = {
            "username": username,
            "email": f"{username}@example.com",
            "password": password,
        }
        self.call("POST", "/v1/users", json=user)
        token = self.call(
            "POST", "/v1/tokens", json={"username": username, "password": password}
        ).json()
        self._session.headers["Authorization"] = f"Bearer {token['token']}"

    def call(self, method: str, path: str, **options: Any) -> requests.Response:
        """Send a request to the API and refuse to go on after an error.

        Raises:
            DemoError: The response is an error, or there is none.
        """
        send = self._session.request
        return _send(send, method, self._app_url + path, allow_redirects=False, **options)

    def follow(self, task: Json, report: Callable[[Json], None]) -> Json:
        """Watch a task until it succeeds, by long polls.

        Args:
            task: The task as the API showed it when it was requested.
            report: Called with the task whenever something has changed.

        Raises:
            DemoError: It fails, or takes too long.
        """
        etag, deadline = "", time.monotonic() + TASK_WITHIN_S
        while not task["finished_at"]:
            self._check()
            if time.monotonic() > deadline:
                raise DemoError(f"the task is still {task['status']} after {TASK_WITHIN_S:g} s")
            response = self.call(
                "GET",
                task["links"]["self"],
                params={"wait": POLL_S},
                headers={"If-None-Match": etag},
            )
            etag = response.headers["ETag"]
            if response.status_code == requests.codes.ok:
                task = response.json()
                report(task)
        if task["status"] != "succeeded":
            raise DemoError(f"the task {task['status']}: {task['error']}")
        return task

    def download(self, task: Json) -> bytes:
        """The file of an export, by a signed URL and without credentials of ours."""
        redirect = self.call("GET", task["links"]["download"])
        return _send(requests.request, "GET", redirect.headers["Location"]).content

    def upload(self, upload: Json, content: bytes) -> None:
        """Send a file straight to the bucket, as an import's `upload` says."""
        headers = upload["headers"]
        _send(requests.request, upload["method"], upload["url"], data=content, headers=headers)


def _send(
    send: Callable[..., requests.Response], method: str, url: str, **options: Any
) -> requests.Response:
    try:
        response = send(method, url, timeout=STEP_TIMEOUT_S, **options)
    except requests.RequestException as error:
        raise DemoError(f"{method} {url}: {error}") from error
    if not response.ok:
        raise DemoError(f"{method} {url} answered {response.status_code}: {response.text}")
    return response

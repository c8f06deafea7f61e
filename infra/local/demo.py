"""The main job, whole, before somebody's eyes: from a request over HTTP to the email."""

import email
import hashlib
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import click
import requests

from infra.local.mailbox import text_of
from infra.local.plan import given
from infra.local.stack import ROOT, Options, Stack, StackError, Stopped
from worker import process

POSTS = 3000
FILE = ROOT / "build" / "demo" / "posts.json"
"""Where the export stays, so that the command that is printed at the end works."""

STEP_TIMEOUT_S = 30.0
EXPORT_WITHIN_S = 60.0
POLL_S = 2
"""How long one request waits for the task to change."""

FIRST_POST = datetime(2023, 1, 2, 3, 4, 5, tzinfo=UTC)

PHRASES = (
    "The quick brown fox jumps over the lazy dog.",
    "El pingüino Wenceslao hizo kilómetros bajo exhaustiva lluvia.",
    "다람쥐 헌 쳇바퀴에 타고파.",
    "いろはにほへと ちりぬるを",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich.",
    "نص حكيم له سر قاطع وذو شأن عظيم",
    "Чуден Днепр при тихой погоде.",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🧑🏽‍🚀 e\u0301 \U0001f9ff",
    'Quotes " and \\ backslashes, a\ttab,\na new line, </script> and \u2028 too.',
    "π ≈ 3.14159, ∑ and ∞",
)


class DemoError(Exception):
    """A step did not do what it should; the message is for people."""


class Client:
    """The application's API as one user sees it."""

    def __init__(self, app_url: str) -> None:
        self._app_url = app_url
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

    def call(self, method: str, url: str, **options: Any) -> requests.Response:
        """Send a request and refuse to go on after an error.

        Raises:
            DemoError: The answer is an error, or there is none.
        """
        url = self._app_url + url if url.startswith("/") else url
        try:
            answer = self._session.request(
                method, url, timeout=STEP_TIMEOUT_S, allow_redirects=False, **options
            )
        except requests.RequestException as error:
            raise DemoError(f"{method} {url}: {error}") from error
        if not answer.ok:
            raise DemoError(f"{method} {url} answered {answer.status_code}: {answer.text}")
        return answer

    def fetch(self, url: str) -> bytes:
        """Download from a signed URL, without credentials of ours."""
        try:
            answer = requests.get(url, timeout=STEP_TIMEOUT_S)
        except requests.RequestException as error:
            raise DemoError(f"the download failed: {error}") from error
        if not answer.ok:
            raise DemoError(f"the download answered {answer.status_code}")
        return answer.content


def show() -> str | None:
    """Show everything; return what went wrong, or None."""
    process.stop_on_signals()
    said: deque[str] = deque(maxlen=40)
    with tempfile.TemporaryDirectory(prefix="carryout-demo-") as folder:
        options = Options(
            port=0, data_dir=Path(folder).resolve(), workers=1, chosen=given(os.environ, {})
        )
        stack = Stack(options, say=said.append)
        try:
            _steps(stack)
        except Stopped:
            return "stopped"
        except (StackError, OSError) as error:
            return f"\nerror: {error}"
        except DemoError as error:
            return "\n".join(["", *said, f"error: {error}"])
        finally:
            stack.stop()
    return None


def _steps(stack: Stack) -> None:
    started = time.monotonic()
    with _step("starting the API, a worker, the queue, S3 and SES"):
        stack.start()
    client = Client(stack.app_url)
    username = f"demo-{secrets.token_hex(3)}"
    posts = make_posts()
    with _step(f"creating the user {username} with {POSTS:,} posts"):
        client.sign_up(username)
        _load(posts, stack=stack, username=username)
    with _step("requesting an export: POST /v1/exports"):
        task = client.call("POST", "/v1/exports", json={}).json()
    task = _follow(client, task, stack=stack)
    with _step("downloading and comparing every post"):
        digest = _download(client, task, posts=posts)
    if stack.mailbox_url:
        with _step("waiting for the email"):
            mail = _wait_for_mail(stack, username)
        _show_mail(mail)
    else:
        click.echo("the email was sent through the AWS_ENDPOINT_URL you set")
    click.echo(f"\nthe file     {_short(FILE)}\nits SHA-256  {digest}")
    click.echo(
        f"verify it    {_short(Path(sys.executable))} -m worker verify {_short(FILE)} "
        f"--sha256 {digest}"
    )
    click.echo(f"finished in {time.monotonic() - started:.1f} s")


@contextmanager
def _step(what: str) -> Iterator[None]:
    click.echo(f"{what} ... ", nl=False)
    started = time.monotonic()
    yield
    click.echo(f"{time.monotonic() - started:.1f} s")


def make_posts() -> list[dict[str, str]]:
    """Posts in many languages, the same ones every time, oldest first."""
    posts = []
    for number in range(POSTS):
        microseconds = 0 if number % 3 else number * 10_007 % 1_000_000
        moment = FIRST_POST + timedelta(seconds=5003 * number, microseconds=microseconds)
        phrases = [*PHRASES[number % len(PHRASES) :], *PHRASES][: 1 + number % 4]
        body = f"#{number} " + " ".join(phrases)
        posts.append({"body": body, "timestamp": moment.isoformat().replace("+00:00", "Z")})
    return posts


def _load(posts: list[dict[str, str]], *, stack: Stack, username: str) -> None:
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(post, ensure_ascii=False) + "\n" for post in posts)
        file.flush()
        loading = subprocess.run(  # our own program  # nosec B603
            [sys.executable, "-m", "worker", "load-posts", file.name, "--user", username],
            cwd=ROOT,
            env={**os.environ, **stack.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
    if loading.returncode:
        raise DemoError(f"couldn't load the posts:\n{loading.stdout}")


def _follow(client: Client, task: dict[str, Any], *, stack: Stack) -> dict[str, Any]:
    """Watch a task until it ends."""
    path = task["links"]["self"]
    etag = ""
    deadline = time.monotonic() + EXPORT_WITHIN_S
    with _progress() as report:
        while not task["finished_at"]:
            stack.check()
            if time.monotonic() > deadline:
                raise DemoError(f"the export is still {task['status']} after {EXPORT_WITHIN_S:g} s")
            answer = client.call(
                "GET", path, params={"wait": POLL_S}, headers={"If-None-Match": etag}
            )
            etag = answer.headers["ETag"]
            if answer.status_code == requests.codes.ok:
                task = answer.json()
                report(task)
    if task["status"] != "succeeded":
        raise DemoError(f"the export {task['status']}: {task['error']}")
    return task


@contextmanager
def _progress() -> Iterator[Callable[[dict[str, Any]], None]]:
    """A bar on a terminal, a line a change elsewhere."""
    if not sys.stdout.isatty():
        yield lambda task: click.echo(f"  {task['status']:9} {task['progress']['percent']:3} %")
        return
    with click.progressbar(length=100, label="exporting", show_eta=False) as bar:
        yield lambda task: bar.update(task["progress"]["percent"] - bar.pos)


def _download(client: Client, task: dict[str, Any], *, posts: list[dict[str, str]]) -> str:
    """Download the export to `FILE`, compare it with the task and the posts, return its digest."""
    answer = client.call("GET", task["links"]["download"])
    content = client.fetch(answer.headers["Location"])
    digest = hashlib.sha256(content).hexdigest()
    if digest != task["result"]["sha256"]:
        raise DemoError(f"SHA-256 is {digest}, but the task says {task['result']['sha256']}")
    export = json.loads(content)
    if export["count"] != len(posts) or export["posts"] != posts:
        raise DemoError(f"the file has {export['count']} posts, and they don't match the ones sent")
    FILE.parent.mkdir(parents=True, exist_ok=True)
    FILE.write_bytes(content)
    return digest


def _wait_for_mail(stack: Stack, username: str) -> EmailMessage:
    deadline = time.monotonic() + STEP_TIMEOUT_S
    while time.monotonic() < deadline:
        for path in stack.mail_dir.glob("[!.]*.eml"):
            mail = email.message_from_bytes(path.read_bytes(), policy=policy.default)
            if username in mail["To"]:
                return mail
        stack.check()
        time.sleep(0.05)
    raise DemoError(f"no email arrived within {STEP_TIMEOUT_S:g} s")


def _show_mail(mail: EmailMessage) -> None:
    click.echo()
    for header in ("From", "To", "Subject"):
        click.echo(f"  | {header}: {mail[header]}")
    click.echo("  |")
    for line in text_of(mail).rstrip().splitlines():
        click.echo(f"  | {line}".rstrip())
    for part in mail.iter_attachments():
        content = part.get_payload(decode=True)
        size = len(content) if isinstance(content, bytes) else 0
        click.echo(f"  |\n  | attached: {part.get_filename()}, {size:,} bytes")


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

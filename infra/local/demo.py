"""The main job, whole before somebody's eyes: from a request over HTTP to the email.

Then what only a system like this one does: an archive to look at, the same posts in another
account, and a large export that goes on where it was after its process was killed.
"""

import email
import hashlib
import io
import json
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from email import policy
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import click
import psutil

from infra.local.demo_client import STEP_TIMEOUT_S, Client, DemoError
from infra.local.demo_progress import bar_of, step
from infra.local.mailbox import text_of
from infra.local.plan import given
from infra.local.stack import ROOT, Options, Stack, StackError, Stopped
from worker import process

Json = dict[str, Any]
Posts = list[dict[str, str]]

POSTS = 3000
MANY_POSTS = 200_000
"""Of the export that is killed: about eight parts of 6 MiB."""

FOLDER = ROOT / "build" / "demo"
"""Where the files stay, so that what is printed at the end works."""

FILE = FOLDER / "posts.json"
ARCHIVE = FOLDER / "archive"

KILL_AT_PERCENT = 30
"""From here on the process is killed as soon as anybody sees it, which is a part or two later."""

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
    with step("starting the API, a worker, the queue, S3 and SES"):
        stack.start()
    shutil.rmtree(FOLDER, ignore_errors=True)
    posts = make_posts(POSTS)
    client, username = _sign_up(stack, "demo", posts)
    digest = _main_job(stack, client, username, posts)
    index = _archive(client)
    _second_account(stack, posts)
    _killed_export(stack)
    click.echo(f"\nthe file     {_short(FILE)}\nits SHA-256  {digest}")
    click.echo(
        f"verify it    {_short(Path(sys.executable))} -m worker verify {_short(FILE)} "
        f"--sha256 {digest}"
    )
    click.echo(f"the archive  {_short(index)} (open it in a browser)")
    click.echo(f"finished in {time.monotonic() - started:.1f} s")


def _sign_up(stack: Stack, name: str, posts: Posts) -> tuple[Client, str]:
    """A new user with posts."""
    client = Client(stack.app_url, check=stack.check)
    username = f"{name}-{secrets.token_hex(3)}"
    with step(f"creating the user {username} with {len(posts):,} posts"):
        client.sign_up(username)
        if posts:
            _load(posts, stack=stack, username=username)
    return client, username


def make_posts(count: int) -> Posts:
    """Posts in many languages, the same ones every time, oldest first."""
    posts = []
    for number in range(count):
        microseconds = 0 if number % 3 else number * 10_007 % 1_000_000
        moment = FIRST_POST + timedelta(seconds=503 * number, microseconds=microseconds)
        phrases = [*PHRASES[number % len(PHRASES) :], *PHRASES][: 1 + number % 4]
        body = f"#{number} " + " ".join(phrases)
        posts.append({"body": body, "timestamp": moment.isoformat().replace("+00:00", "Z")})
    return posts


def _load(posts: Posts, *, stack: Stack, username: str) -> None:
    is_terminal = sys.stdout.isatty() and len(posts) > POSTS
    with tempfile.NamedTemporaryFile("w", suffix=".jsonl", encoding="utf-8") as file:
        file.writelines(json.dumps(post, ensure_ascii=False) + "\n" for post in posts)
        file.flush()
        if is_terminal:
            click.echo()  # the program's own bar comes below
        loading = subprocess.run(  # our own program  # nosec B603
            [sys.executable, "-m", "worker", "load-posts", file.name, "--user", username],
            cwd=ROOT,
            env={**os.environ, **stack.env},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=None if is_terminal else subprocess.STDOUT,
            encoding="utf-8",
            check=False,
        )
    if loading.returncode:
        raise DemoError(f"couldn't load the posts:\n{loading.stdout or ''}")


def _main_job(stack: Stack, client: Client, username: str, posts: Posts) -> str:
    """Export, download, verify, email; return the file's digest."""
    task = client.call("POST", "/v1/exports", json={}).json()
    with bar_of("exporting: POST /v1/exports") as bar:
        task = client.follow(task, bar.report)
    with step("downloading and comparing every post"):
        content = _compared(client, task, posts)
        FILE.parent.mkdir(parents=True, exist_ok=True)
        FILE.write_bytes(content)
    if stack.mailbox_url:
        with step("waiting for the email"):
            mail = _wait_for_mail(stack, username)
        _show_mail(mail)
    else:
        click.echo("the email was sent through the AWS_ENDPOINT_URL you set")
    return hashlib.sha256(content).hexdigest()


def _compared(client: Client, task: Json, posts: Posts) -> bytes:
    """The file of an export, which must be as the task says and hold these posts."""
    content = client.download(task)
    digest = hashlib.sha256(content).hexdigest()
    if digest != task["result"]["sha256"]:
        raise DemoError(f"SHA-256 is {digest}, but the task says {task['result']['sha256']}")
    export = json.loads(content)
    if export["count"] != len(posts) or export["posts"] != posts:
        raise DemoError(f"the file has {export['count']} posts, and they don't match the ones sent")
    return content


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
    click.echo()


def _archive(client: Client) -> Path:
    """Export everything, and unpack it to look at."""
    with step("exporting an archive of everything, and unpacking it"):
        task = client.call("POST", "/v1/exports", json={"archive": True}).json()
        content = client.download(client.follow(task, lambda _task: None))
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            archive.extractall(ARCHIVE)
    index = ARCHIVE / "index.html"
    if not index.is_file():
        raise DemoError("the archive has no index.html")
    return index


def _second_account(stack: Stack, posts: Posts) -> None:
    """Import the file into an account that is empty, and compare what that one exports."""
    content = FILE.read_bytes()
    client, _ = _sign_up(stack, "second", [])
    with step("importing the file there"):
        asked = {"filename": FILE.name, "size": len(content)}
        created = client.call("POST", "/v1/imports", json=asked).json()
        client.upload(created["upload"], content)
        task = client.call("POST", created["links"]["start"], json={}).json()
        result = client.follow(task, lambda _task: None)["result"]
    click.echo(f"  imported {result['imported']:,} of {result['read']:,} posts")
    with step("exporting them again and comparing every post"):
        task = client.call("POST", "/v1/exports", json={}).json()
        _compared(client, client.follow(task, lambda _task: None), posts)


def _killed_export(stack: Stack) -> None:
    """Kill the process of a large export in the middle; its file must be whole all the same."""
    posts = make_posts(MANY_POSTS)
    client, _ = _sign_up(stack, "many", posts)
    task = client.call("POST", "/v1/exports", json={}).json()
    click.echo("killing the process that exports them in the middle, with kill -9")
    with bar_of("exporting") as bar:
        killing = _Killing(stack, bar.say)

        def watch(task: Json) -> None:
            bar.report(task)
            killing.watch(task)

        task = client.follow(task, watch)
    with step("downloading and comparing every post"):
        _compared(client, task, posts)


class _Killing:
    """Kills the process that works on a task, once, and says when another one goes on.

    Args:
        stack: The stack.
        say: Takes lines for the person at the terminal.
    """

    def __init__(self, stack: Stack, say: Callable[[str], None]) -> None:
        self._stack = stack
        self._say = say
        self._killed_at: float | None = None
        self._next_attempt = 0
        self._done = 0

    def watch(self, task: Json) -> None:
        """Look at a new state of the task."""
        is_running = task["status"] == "running"
        if self._killed_at is None:
            if is_running and task["progress"]["percent"] >= KILL_AT_PERCENT:
                self._kill(task)
        elif task["attempt"] < self._next_attempt:
            self._done = task["progress"]["done"]  # it had come a little further than was seen
        elif self._done:  # running, or over before anybody looked
            waited_s = time.monotonic() - self._killed_at
            self._say(
                f"attempt {task['attempt']} goes on from {self._done:,} posts"
                f" after {waited_s:.1f} s"
            )
            self._done = 0

    def _kill(self, task: Json) -> None:
        for worker in self._stack.workers:
            for pid in _work_horses(worker):
                os.kill(pid, signal.SIGKILL)
        self._killed_at, self._next_attempt = time.monotonic(), task["attempt"] + 1
        progress = task["progress"]
        self._done = progress["done"]
        self._say(
            f"killed (kill -9) at {progress['percent']} %:"
            f" {progress['done']:,} of {progress['total']:,} posts"
        )


def _work_horses(worker: int) -> list[int]:
    """The processes of a worker that work on jobs: its children in a group of their own."""
    children = psutil.Process(worker).children()
    return [child.pid for child in children if os.getpgid(child.pid) == child.pid]


def _short(path: Path) -> str:
    return str(path.relative_to(ROOT) if path.is_relative_to(ROOT) else path)

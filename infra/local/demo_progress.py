"""What the demo prints while something goes on: a live bar on a terminal, lines elsewhere."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import click

Json = dict[str, Any]


@contextmanager
def step(what: str) -> Iterator[None]:
    """Say what is being done, and how long it took."""
    click.echo(f"{what} ... ", nl=False)
    started = time.monotonic()
    yield
    click.echo(f"{time.monotonic() - started:.1f} s")


class Bar(Protocol):
    """How far a task is, before somebody's eyes."""

    def report(self, task: Json) -> None:
        """Show a new state of the task."""

    def say(self, line: str) -> None:
        """Say something beside it."""


@contextmanager
def bar_of(label: str) -> Iterator[Bar]:
    """Show how far a task is."""
    if not sys.stdout.isatty():
        click.echo(label)
        yield _Lines()
        return
    with click.progressbar(
        length=1, label=label, show_pos=True, item_show_func=lambda rate: rate
    ) as bar:
        moving = _Moving(bar)
        yield moving
    for line in moving.said:
        click.echo(f"  {line}")


class _Lines:
    """A line for each change, for logs and pipes."""

    def __init__(self) -> None:
        self._last = ""

    def report(self, task: Json) -> None:
        progress = task["progress"]
        of = f"  {progress['done']:,} of {progress['total']:,}" if progress["total"] else ""
        line = f"{task['status']:9} {progress['percent']:3} %{of}"
        if line != self._last:
            self.say(line)
        self._last = line

    def say(self, line: str) -> None:
        click.echo(f"  {line}")


class _Moving:
    """A bar that moves with a task: percent, how many of how many, rate, remaining time.

    Attributes:
        said: What was said meanwhile; it would tear the bar apart before it has ended.
    """

    def __init__(self, bar: Any) -> None:
        self.said: list[str] = []
        self._bar = bar
        self._started = time.monotonic()

    def report(self, task: Json) -> None:
        done, total = task["progress"]["done"], task["progress"]["total"]
        if total:
            self._bar.length = total
            rate = f"{done / (time.monotonic() - self._started):,.0f}/s"
            self._bar.update(max(0, done - self._bar.pos), rate)

    def say(self, line: str) -> None:
        self.said.append(line)

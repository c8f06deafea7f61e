"""The command that imports a file without a task."""

import sys
import tempfile
from collections.abc import Callable
from typing import Any, BinaryIO

import click

from worker.commands import find_user_id, wire


@click.command("import")
@click.argument("file", type=click.File("rb"))
@click.option("--user", "username", required=True, help="The user who will own the posts.")
@click.option(
    "--report", type=click.File("wb"), help="Where to write what was left out, as NDJSON."
)
def import_file(file: BinaryIO, username: str, report: BinaryIO | None) -> None:
    """Import the posts of FILE, like an import over the API but without a task.

    FILE is an export of Carryout, Mastodon or X (Twitter), a JSON Feed, or JSON lines; its content
    tells which. All of it is imported or nothing; posts that the user already has aren't added
    again. What was left out is listed after the summary, or in the file that --report names.
    """
    from worker.importing.local import import_posts  # noqa: PLC0415

    wiring = wire()
    user_id = find_user_id(wiring, username)
    with (
        _seekable(file) as seekable,
        click.progressbar(length=_size(seekable), label="importing", file=sys.stderr) as bar,
    ):
        done = import_posts(wiring, seekable, user_id=user_id, progress=_advance(bar))
    result = done.result
    click.echo(
        f"imported {result['imported']} posts for {username} ({result['format']}):"
        f" {result['read']} read, {result['skipped']} skipped, {result['rejected']} rejected"
    )
    out = report or sys.stdout.buffer
    for lines in done.report():
        out.write(lines)
    done.forget()


def _advance(bar: Any) -> Callable[[int], None]:
    return lambda at: bar.update(max(0, at - bar.pos))


def _seekable(file: BinaryIO) -> Any:
    """The file itself, or a copy of what a pipe brings."""
    if file.seekable():
        return file
    copy = tempfile.TemporaryFile()  # noqa: SIM115 - the caller closes it
    while some := file.read(1024 * 1024):
        copy.write(some)
    copy.seek(0)
    return copy


def _size(file: BinaryIO) -> int:
    size = file.seek(0, 2)
    file.seek(0)
    return size


COMMANDS = [import_file]

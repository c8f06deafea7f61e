"""The command that imports a file without a task."""

import json
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

import click

from worker.commands import find_user_id, wire
from worker.commands.printing import Found, example, prints, progress_bar


@click.command("import", epilog=example("import archive.zip --user susan --report left-out.ndjson"))
@click.argument("file", type=click.File("rb"))
@click.option("--user", "username", required=True, help="The user who will own the posts.")
@click.option(
    "--report", type=click.File("wb"), help="Where to write what was left out, as NDJSON."
)
@prints
def import_file(file: BinaryIO, username: str, report: BinaryIO | None) -> Found:
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
        progress_bar(_size(seekable), "importing") as bar,
    ):
        done = import_posts(wiring, seekable, user_id=user_id, progress=_advance(bar))
    result = done.result
    summary = (
        f"imported {result['imported']} posts for {username} ({result['format']}):"
        f" {result['read']} read, {result['skipped']} skipped, {result['rejected']} rejected"
    )
    if report is None:
        rejected = list(_lines(done))
        return Found([result, *map(json.loads, rejected)], [summary, *rejected])
    report.writelines(f"{line}\n".encode() for line in _lines(done))
    return Found([result], [summary])


def _lines(done: Any) -> Iterator[str]:
    """What was left out, a line each; afterwards it is forgotten."""
    for some in done.report():
        yield from some.decode().splitlines()
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

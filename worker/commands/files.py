"""Commands that move posts between files and the ledger: load-posts, export, verify."""

import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

import click

from worker.commands import find_user_id, wire


def _bar(file: BinaryIO, label: str) -> Any:
    """A progress bar over the bytes of a file; on a pipe it is silent."""
    size = os.fstat(file.fileno()).st_size
    return click.progressbar(length=size, label=label, file=sys.stderr)


@click.command("load-posts")
@click.argument("file", type=click.File("rb"))
@click.option("--user", "username", required=True, help="The user who will own the posts.")
@click.option("--skip-bad", is_flag=True, help="Skip bad lines, and report and count them.")
def load_posts(file: BinaryIO, username: str, *, skip_bad: bool) -> None:
    """Load posts from FILE: one {"body", "timestamp"} object per line.

    All of the file is loaded or, when a line is bad, nothing. On SQLite the posts are gathered in
    a temporary file first (as large as FILE, under TMPDIR), so that others can go on writing.
    """
    from worker.importing.table import store_posts  # noqa: PLC0415

    wiring = wire()
    user_id = find_user_id(wiring, username)
    bad = 0

    def skip(complaint: str) -> None:
        nonlocal bad
        if not skip_bad:
            raise click.ClickException(f"{complaint}; nothing was loaded (see --skip-bad)")
        bad += 1
        click.echo(f"skipped {complaint}", err=True)

    with _bar(file, "loading") as bar:
        posts = _good(_advancing(file, bar), skip)
        loaded = store_posts(wiring.database, posts, user_id=user_id)
    click.echo(f"loaded {loaded} posts for {username}" + (f", skipped {bad} lines" if bad else ""))


def _advancing(file: BinaryIO, bar: Any) -> Iterator[bytes]:
    for line in file:
        bar.update(len(line))
        yield line


def _good(lines: Iterator[bytes], skip: Callable[[str], None]) -> Iterator[Any]:
    from worker.importing.json_lines import BadLine, read_posts  # noqa: PLC0415

    for one in read_posts(lines):
        if isinstance(one, BadLine):
            skip(f"line {one.number}: {one.reason}")
        else:
            yield one


@click.command()
@click.option("--user", "username", required=True, help="The user whose posts are exported.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def export(username: str, out: Path) -> None:
    """Write a user's posts to the file OUT, like an export but without a task or an email."""
    from worker.export.local import write_file  # noqa: PLC0415

    wiring = wire()
    user_id = find_user_id(wiring, username)
    with click.progressbar(length=100, label="exporting", file=sys.stderr) as bar:
        count = write_file(
            wiring.database,
            user_id,
            out,
            now=wiring.now(),
            progress=lambda percent: bar.update(percent - bar.pos),
        )
    click.echo(f"wrote {count} posts, {out.stat().st_size} bytes to {out}")


@click.command()
@click.argument("file", type=click.File("rb"))
@click.option("--sha256", help="The expected SHA-256 checksum, 64 hexadecimal digits.")
def verify(file: BinaryIO, sha256: str | None) -> None:
    """Check an exported FILE: its format, and the order and number of its posts."""
    from worker.export.verify import verify as check  # noqa: PLC0415

    with _bar(file, "verifying") as bar:
        verdict = check(file, progress=bar.update)
    click.echo(f"posts:   {verdict.posts}\nbytes:   {verdict.bytes}\nsha256:  {verdict.sha256}")
    faults = list(verdict.faults)
    if sha256 is not None and sha256.strip().lower() != verdict.sha256:
        faults.append("the SHA-256 checksum doesn't match the one given")
    for fault in faults:
        click.echo(f"fault:   {fault}", err=True)
    if faults:
        raise SystemExit(1)
    click.echo("the file is intact")


COMMANDS = [load_posts, export, verify]

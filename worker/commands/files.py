"""Commands that move posts between files and the ledger: load-posts, export, verify."""

import os
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO, cast

import click

from worker.commands import wire

BATCH = 5000
"""How many rows go into one INSERT."""

MANY = 10_000
"""From so many rows on the database's statistics are brought up to date."""


def _bar(file: BinaryIO, label: str) -> Any:
    """A progress bar over the bytes of a file; on a pipe it is silent."""
    size = os.fstat(file.fileno()).st_size
    return click.progressbar(length=size, label=label, file=sys.stderr)


@click.command("load-posts")
@click.argument("file", type=click.File("rb"))
@click.option("--user", "username", required=True, help="Whose posts they become.")
@click.option("--skip-bad", is_flag=True, help="Leave bad lines out, count and report them.")
def load_posts(file: BinaryIO, username: str, *, skip_bad: bool) -> None:
    """Load posts from FILE: one {"body", "timestamp"} object a line.

    All of the file is loaded or, when a line is bad, nothing.
    """
    wiring = wire()
    user_id = _user_id(wiring, username)
    with _bar(file, "loading") as bar, wiring.database.write() as session:
        loaded, bad = _load(session, _advancing(file, bar), user_id=user_id, skip_bad=skip_bad)
    click.echo(f"loaded {loaded} posts for {username}" + (f", skipped {bad} lines" if bad else ""))


def _advancing(file: BinaryIO, bar: Any) -> Iterator[bytes]:
    for line in file:
        bar.update(len(line))
        yield line


def _load(session: Any, lines: Iterator[bytes], *, user_id: int, skip_bad: bool) -> tuple[int, int]:
    import sqlalchemy as sa  # noqa: PLC0415

    from chalicelib.models import Post  # noqa: PLC0415
    from worker.posts_file import BadLine, read_posts  # noqa: PLC0415

    loaded = bad = 0
    found = read_posts(lines)
    while batch := list(islice(found, BATCH)):
        rows = []
        for one in batch:
            if not isinstance(one, BadLine):
                rows.append({"user_id": user_id, "body": one.body, "timestamp": one.timestamp})
                continue
            bad += 1
            complaint = f"line {one.number}: {one.reason}"
            if not skip_bad:
                raise click.ClickException(f"{complaint}; nothing was loaded (see --skip-bad)")
            click.echo(f"skipped {complaint}", err=True)
        if rows:
            session.execute(sa.insert(cast("sa.Table", Post.__table__)), rows)
        loaded += len(rows)
    if loaded >= MANY and session.get_bind().dialect.name == "postgresql":
        # Left to itself, PostgreSQL notices within minutes; until then an export sorts each page.
        session.execute(sa.text("ANALYZE posts"))
    return loaded, bad


def _user_id(wiring: Any, username: str) -> int:
    from chalicelib.accounts import find_user  # noqa: PLC0415

    with wiring.database.read() as session:
        user = find_user(session, username)
    if user is None:
        raise click.ClickException(f"there is no user {username}; see create-user")
    return int(user.id)


@click.command()
@click.option("--user", "username", required=True, help="Whose posts.")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), required=True)
def export(username: str, out: Path) -> None:
    """Write a user's posts to the file OUT, as an export would; no task, no mail."""
    from worker.export.local import write_file  # noqa: PLC0415

    wiring = wire()
    user_id = _user_id(wiring, username)
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
@click.option("--sha256", help="The digest that the file must have, 64 hexadecimal digits.")
def verify(file: BinaryIO, sha256: str | None) -> None:
    """Check an exported FILE: its form, the order of its posts, and their count."""
    from worker.export.verify import verify as check  # noqa: PLC0415

    with _bar(file, "verifying") as bar:
        verdict = check(file, progress=bar.update)
    click.echo(f"posts:   {verdict.posts}\nbytes:   {verdict.bytes}\nsha256:  {verdict.sha256}")
    faults = list(verdict.faults)
    if sha256 is not None and sha256.strip().lower() != verdict.sha256:
        faults.append("the SHA-256 is not the one that was given")
    for fault in faults:
        click.echo(f"fault:   {fault}", err=True)
    if faults:
        raise SystemExit(1)
    click.echo("the file is whole")


COMMANDS = [load_posts, export, verify]

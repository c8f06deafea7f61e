"""Commands that move posts between files and the ledger: load-posts, export, verify."""

import os
import shutil
import stat
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from io import BufferedReader, RawIOBase
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any, BinaryIO, cast

import click

from chalicelib.wiring import Wiring
from worker.commands import find_user_id, wire
from worker.commands.printing import Found, example, found, prints, progress_bar


def _bar(file: BinaryIO, label: str) -> Any:
    """A progress bar over the bytes of a file."""
    return progress_bar(os.fstat(file.fileno()).st_size, label)


@click.command("load-posts", epilog=example("load-posts posts.jsonl --user susan --skip-bad"))
@click.argument("file", type=click.File("rb"))
@click.option("--user", "username", required=True, help="The user who will own the posts.")
@click.option("--skip-bad", is_flag=True, help="Skip bad lines, and report and count them.")
@prints
def load_posts(file: BinaryIO, username: str, *, skip_bad: bool) -> Found:
    """Load posts from FILE: one {"body", "timestamp"} object per line.

    All of the file is loaded or, when a line is bad, nothing; what is added to it meanwhile is not
    read. On SQLite the posts are gathered in a temporary file first (as large as FILE, under
    TMPDIR), so that others can go on writing.
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
        posts = _good(_reading(file, bar), skip)
        loaded = store_posts(wiring.database, posts, user_id=user_id)
    said = f"loaded {loaded} posts for {username}" + (f", skipped {bad} lines" if bad else "")
    return found(said, user=username, loaded=loaded, skipped=bad)


def _reading(file: BinaryIO, bar: Any) -> Callable[[int], bytes]:
    """Reads a file up to the size that it had at the beginning, for it may be growing."""
    status = os.fstat(file.fileno())
    left = status.st_size if stat.S_ISREG(status.st_mode) else sys.maxsize

    def read(size: int) -> bytes:
        nonlocal left
        data = file.read(min(size, left))
        left -= len(data)
        bar.update(len(data))
        return data

    return read


def _good(read: Callable[[int], bytes], skip: Callable[[str], None]) -> Iterator[Any]:
    from worker.importing.json_lines import BadLine, lines, read_posts  # noqa: PLC0415

    for one in read_posts(lines(read)):
        if isinstance(one, BadLine):
            skip(f"line {one.number}: {one.reason}")
        else:
            yield one


@click.command(
    epilog=example(
        "export --user susan --out posts.json",
        "export --user susan --out susan.zip --archive --format json --format csv",
    )
)
@click.option("--user", "username", required=True, help="The user whose data is exported.")
@click.option("--out", required=True, help="The file to write; - for standard output.")
@click.option("--archive", is_flag=True, help="Write a ZIP archive of several datasets.")
@click.option(
    "--dataset",
    "names",
    multiple=True,
    help="What to export; by default the first of what there is, or all of it in an archive.",
)
@click.option(
    "--format",
    "formats",
    multiple=True,
    type=click.Choice(["json", "ndjson", "csv", "activitystreams"]),
    help="How an archive holds it; by default json.",
)
@prints
def export(
    username: str, out: str, *, archive: bool, names: Sequence[str], formats: Sequence[str]
) -> Found:
    """Write a user's data to the file OUT, like an export but without a task or an email."""
    if not archive and (formats or len(names) > 1):
        raise click.UsageError("several datasets, or a format, need --archive")
    wiring = wire()
    user_id = find_user_id(wiring, username)
    make = _archive_of if archive else _document_of
    return _write(make(wiring, user_id, names, formats), out)


def _document_of(wiring: Wiring, user_id: int, names: Sequence[str], _formats: Any) -> Any:
    from worker.export import local  # noqa: PLC0415

    dataset = _dataset(names[0] if names else None)
    return local.document(wiring.database, dataset, user_id=user_id, now=wiring.now())


def _archive_of(wiring: Wiring, user_id: int, names: Sequence[str], formats: Sequence[str]) -> Any:
    from chalicelib.exports.archive import Archive  # noqa: PLC0415
    from chalicelib.exports.kinds import export_kinds  # noqa: PLC0415
    from worker.export import local  # noqa: PLC0415

    kind = next((one for one in export_kinds() if isinstance(one, Archive)), None)
    if kind is None:
        raise click.ClickException("this application declares no archive")
    known = {one.name: one for one in kind.datasets}
    for name in names:
        _require(known, name)
    given = {"datasets": names or None, "formats": formats or ["json"]}
    choice, now = kind.choice(given), wiring.now()
    url = wiring.settings.public_url
    return local.archive(wiring.database, choice, user_id=user_id, now=now, public_url=url)


def _write(writer: Any, out: str) -> Found:
    from worker.export import local  # noqa: PLC0415

    if out == "-":
        local.write(writer, sys.stdout.buffer, progress=lambda _percent: None)
        return Found([], [])  # the file itself is what standard output has
    with progress_bar(100, "exporting") as bar:
        try:
            rows = local.write_file(
                writer, Path(out), progress=lambda percent: bar.update(percent - bar.pos)
            )
        except (local.NotAFileError, OSError) as error:
            raise click.ClickException(str(error)) from error
    size, counts = Path(out).stat().st_size, ", ".join(f"{rows[name]} {name}" for name in rows)
    return found(f"wrote {counts}, {size} bytes to {out}", out=out, bytes=size, rows=dict(rows))


def _datasets() -> dict[str, Any]:
    """Every dataset that some export holds, by name, in the order of their declarations."""
    from chalicelib.exports.kinds import export_kinds  # noqa: PLC0415

    return {one.name: one for kind in export_kinds() for one in kind.datasets}


def _dataset(name: str | None) -> Any:
    known = _datasets()
    return _require(known, name) if name else next(iter(known.values()))


def _require(known: Mapping[str, Any], name: str) -> Any:
    if name not in known:
        raise click.ClickException(f"no dataset named {name}; there is {', '.join(known)}")
    return known[name]


@click.command(epilog=example("verify posts.json", "verify susan.zip --json"))
@click.argument("file", type=click.File("rb"))
@click.option("--sha256", help="The expected SHA-256 checksum, 64 hexadecimal digits.")
@prints
def verify(file: BinaryIO, sha256: str | None) -> Found:
    """Check an exported FILE: its form, and the content, order and number of its rows.

    Of an archive, also each member's CRC-32 and all that its manifest says.
    """
    from worker.export.archive.verification import is_archive  # noqa: PLC0415

    beginning, file = _peek(file)
    check = _check_archive if is_archive(beginning) else _check_document
    facts, notes, faults = check(file)
    if sha256 is not None and sha256.strip().lower() != facts["sha256"]:
        faults.append("the SHA-256 checksum doesn't match the one given")
    width = max(map(len, facts)) + 1
    lines = [f"{name + ':':<{width}}  {fact}" for name, fact in facts.items()]
    lines += [f"note:    {note}" for note in notes]
    lines += [] if faults else ["the file is intact"]
    shown = {**facts, "intact": not faults, "notes": notes, "faults": faults}
    return Found([shown], lines, tuple(faults))


Checked = tuple[dict[str, Any], list[str], list[str]]
"""What a file is, what may surprise, and what is wrong with it."""


def _peek(file: BinaryIO) -> tuple[bytes, BinaryIO]:
    """The first bytes of a file, and the file, from its beginning on."""
    buffered = file if hasattr(file, "peek") else BufferedReader(cast("RawIOBase", file))
    return cast("BufferedReader", buffered).peek(4)[:4], buffered


def _check_document(file: BinaryIO) -> Checked:
    from worker.export.verify import verify as check  # noqa: PLC0415

    with _bar(file, "verifying") as bar:
        verdict = check(file, [*_datasets().values()], progress=lambda at: bar.update(at - bar.pos))
    facts = {verdict.name or "rows": verdict.rows, "bytes": verdict.bytes, "sha256": verdict.sha256}
    notes = []
    if verdict.name and not verdict.is_known:
        notes.append(f"{verdict.name} is not declared here, so its rows may hold anything")
    return facts, notes, [*verdict.faults]


def _check_archive(file: BinaryIO) -> Checked:
    from worker.export.archive.verification import verify as check  # noqa: PLC0415

    with ExitStack() as stack:
        if not file.seekable():  # a pipe: it is read in two places
            given, file = file, stack.enter_context(TemporaryFile())
            shutil.copyfileobj(given, file)
        size = file.seek(0, os.SEEK_END)
        bar = stack.enter_context(progress_bar(2 * size, "verifying"))
        verdict = check(file, [*_datasets().values()], progress=lambda at: bar.update(at - bar.pos))
    facts = {"files": verdict.members, "bytes": verdict.bytes, "sha256": verdict.sha256}
    return {**verdict.rows, **facts}, [], [*verdict.faults]


COMMANDS = [load_posts, export, verify]

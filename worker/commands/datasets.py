"""The command that tells how much there is of a user's data."""

import click

from worker.commands import as_json, find_user_id, print_lines, wire


@click.command()
@click.option("--user", "username", required=True, help="The user whose data is meant.")
@as_json
def datasets(username: str, *, as_json: bool) -> None:
    """List what there is of a user: rows, bytes as JSON, about how many seconds an export takes.

    Up to 10,000 rows are exact; of more, rows are within 10 % and bytes within 25 %.
    """
    from chalicelib.exports.archive import archive_kind, formats_of  # noqa: PLC0415
    from chalicelib.exports.estimates import estimate  # noqa: PLC0415

    wiring = wire()
    user_id, every = find_user_id(wiring, username), archive_kind().datasets
    found = estimate(wiring.database, user_id, username, every)
    if as_json:
        print_lines(
            {
                "name": dataset.name,
                "rows": one.rows,
                "bytes": one.bytes,
                "seconds": one.seconds,
                "formats": [*formats_of(dataset)],
            }
            for dataset, one in zip(every, found, strict=True)
        )
        return
    rows = [("dataset", "rows", "bytes", "seconds", "formats")]
    for dataset, one in zip(every, found, strict=True):
        sizes = (f"{one.rows:,}", f"{one.bytes:,}", f"{one.seconds:.1f}")
        rows.append((dataset.name, *sizes, ", ".join(formats_of(dataset))))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers, formats in rows:
        cells = (f"{size:>{width}}" for size, width in zip(numbers, widths[1:], strict=False))
        click.echo("  ".join([f"{name:<{widths[0]}}", *cells, formats]))


COMMANDS = [datasets]

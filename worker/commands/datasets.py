"""The command that tells how much there is of a user's data."""

from collections.abc import Iterator, Sequence
from typing import Any

import click

from worker.commands import find_user_id, wire
from worker.commands.printing import Found, example, prints


@click.command(epilog=example("datasets --user susan"))
@click.option("--user", "username", required=True, help="The user whose data is meant.")
@prints
def datasets(username: str) -> Found:
    """List what there is of a user: rows, bytes as JSON, about how many seconds an export takes.

    Up to 10,000 rows are exact; of more, rows are within 10 % and bytes within 25 %.
    """
    from chalicelib.exports.archive import archive_kind, formats_of  # noqa: PLC0415
    from chalicelib.exports.estimates import estimate  # noqa: PLC0415

    wiring = wire()
    user_id, every = find_user_id(wiring, username), archive_kind().datasets
    facts = [
        {
            "name": dataset.name,
            "rows": one.rows,
            "bytes": one.bytes,
            "seconds": one.seconds,
            "formats": [*formats_of(dataset)],
        }
        for dataset, one in zip(
            every, estimate(wiring.database, user_id, username, every), strict=True
        )
    ]
    return Found(facts, _table(facts))


def _table(facts: Sequence[dict[str, Any]]) -> Iterator[str]:
    rows = [("dataset", "rows", "bytes", "seconds", "formats")]
    for one in facts:
        sizes = (f"{one['rows']:,}", f"{one['bytes']:,}", f"{one['seconds']:.1f}")
        rows.append((one["name"], *sizes, ", ".join(one["formats"])))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for name, *numbers, formats in rows:
        cells = (f"{size:>{width}}" for size, width in zip(numbers, widths[1:], strict=False))
        yield "  ".join([f"{name:<{widths[0]}}", *cells, formats])


COMMANDS = [datasets]

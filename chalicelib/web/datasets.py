"""What there is of the caller's data, and the exports of it that they choose."""

from collections.abc import Sequence
from typing import Any

import msgspec
from chalice.app import Response

from chalicelib.adapters.job_queue import Workers
from chalicelib.errors import Fault, Invalid
from chalicelib.exports.archive import archive_kind, formats_of
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.estimates import Estimate, estimate
from chalicelib.exports.kinds import export_kinds
from chalicelib.exports.views import TaskView
from chalicelib.schemas import exports as schemas
from chalicelib.schemas.requests import ListQuery
from chalicelib.values.languages import language_for
from chalicelib.values.paging import parse_cursor
from chalicelib.web import actions
from chalicelib.web.lists import list_response
from chalicelib.web.request import Call


def dataset_list(call: Call) -> Response:
    """A page of the caller's datasets, in the order of their declarations."""
    query, every = call.query(ListQuery), archive_kind().datasets
    first = _position(query, len(every))
    page = every[first : first + query.limit]
    after = first + len(page)
    items = [show(call, one, found) for one, found in estimates(call, page)]
    return list_response(call, items, after=f"{after}_0" if after < len(every) else None)


def _position(query: ListQuery, count: int) -> int:
    """How many datasets come before the page; a cursor is that number, in the form of all."""
    if query.cursor is msgspec.UNSET:
        return 0
    _ = parse_cursor(query.cursor)
    return min(int(query.cursor.partition("_")[0]), count)


def estimates(call: Call, datasets: Sequence[Dataset]) -> list[tuple[Dataset, Estimate]]:
    """How much there is of the caller's."""
    user = call.user
    found = estimate(call.wiring.database, user.id, user.username, datasets)
    return list(zip(datasets, found, strict=True))


def show(call: Call, dataset: Dataset, found: Estimate) -> schemas.Dataset:
    """A dataset as the API shows it."""
    return {
        "name": dataset.name,
        "title": language_for(call.user.language).gettext(dataset.title),
        "rows": found.rows,
        "bytes": found.bytes,
        "seconds": found.seconds,
        "formats": list(formats_of(dataset)),
    }


def launch_export(call: Call, new: schemas.NewExport) -> tuple[TaskView, Workers | None]:
    """Launch the export that a request describes; as `actions.launch`.

    Raises:
        Invalid: Fields do not go together.
    """
    given: dict[str, Any] = msgspec.to_builtins(new)  # without what is unset
    if not given.pop("archive"):
        if given:
            raise Invalid(*(Fault(f"/{name}", "needs `archive` to be true") for name in given))
        return actions.launch(call, export_kinds()[0].name, {})
    kind = archive_kind()
    return actions.launch(call, kind.name, actions.stored_params(kind, given))

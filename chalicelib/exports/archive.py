"""The archive as a kind of task: many datasets in one ZIP, in the formats that its user chose."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from chalicelib.errors import DeclarationError, Fault
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.kinds import Export
from chalicelib.tasks.registry import TASKS
from chalicelib.values.fields import Time, parse_time

Format = Literal["json", "ndjson", "csv", "activitystreams"]

ROW_FORMATS: tuple[Format, ...] = ("json", "ndjson", "csv")
"""Formats that any dataset can be written in."""

ACTIVITYSTREAMS: Format = "activitystreams"
"""The format of datasets that declare an `activity`."""

FORMATS: tuple[Format, ...] = (*ROW_FORMATS, ACTIVITYSTREAMS)


@dataclass(frozen=True)
class Choice:
    """What a user wants in an archive.

    Attributes:
        datasets: Which rows, in the order of their declarations.
        formats: In which formats, in the order of `FORMATS`.
        since: Only rows of this time or later; None for no bound.
        until: Only rows before this time; None for no bound.
        viewer: Whether pages to look at them are in it.
    """

    datasets: tuple[Dataset, ...]
    formats: tuple[str, ...] = ("json",)
    since: datetime | None = None
    until: datetime | None = None
    viewer: bool = True


@dataclass(frozen=True, kw_only=True)
class Archive(Export):
    """A kind of task that publishes a ZIP of many datasets.

    Its parameters are those of the API: `datasets` (all of them unless named), `formats`, `from`
    and `to` (half open, on the time of each dataset), `viewer`.
    """

    filename: str = "archive.zip"
    content_type: str = "application/zip"
    function: str = "worker.tasks.export_archive.export_archive"
    params: Mapping[str, Any] = field(init=False)
    defaults: Mapping[str, Any] = field(init=False)

    def __post_init__(self) -> None:
        """Derive the parameters from the datasets.

        Raises:
            DeclarationError: Two datasets have one name, or would be one outbox.
        """
        names = [one.name for one in self.datasets]
        if len(names) > len(set(names)):
            raise DeclarationError(f"{self.name}: two datasets have one name")
        if sum(one.activity is not None for one in self.datasets) > 1:
            raise DeclarationError(f"{self.name}: only one dataset can be told as activities")
        name: Any = Literal[tuple(names)]
        some = Meta(min_length=1, extra_json_schema={"uniqueItems": True})
        params = {
            "datasets": Annotated[tuple[name, ...], some] | None,
            "formats": Annotated[tuple[Format, ...], some],
            "from": Annotated[Time, Meta(examples=["2026-01-01T00:00:00Z"])] | None,
            "to": Annotated[Time, Meta(examples=["2027-01-01T00:00:00Z"])] | None,
            "viewer": bool,
        }
        defaults = {
            "datasets": None,
            "formats": ("json",),
            "from": None,
            "to": None,
            "viewer": True,
        }
        object.__setattr__(self, "params", params)
        object.__setattr__(self, "defaults", defaults)
        super().__post_init__()

    def faults(self, given: Mapping[str, Any]) -> Iterator[Fault]:
        """A name that is unknown or there twice, activities of none, a period that is empty."""
        names = given.get("datasets") or [one.name for one in self.datasets]
        formats = given.get("formats") or []
        yield from _unlisted("datasets", names, [one.name for one in self.datasets])
        yield from _unlisted("formats", formats, FORMATS)
        told = [one.name for one in self.datasets if one.activity is not None]
        if ACTIVITYSTREAMS in formats and not set(told) & set(map(str, names)):
            at = list(formats).index(ACTIVITYSTREAMS)
            yield Fault(f"/formats/{at}", f"needs {' or '.join(told)} among the datasets")
        since, until = (_moment(given.get(name)) for name in ("from", "to"))
        if since and until and since >= until:
            yield Fault("/to", "must be later than `from`")

    def name_of(self, username: str, exported_at: datetime) -> str:
        """With the user and the day, so that archives of many days can be kept side by side."""
        return f"carryout-{username}-{exported_at.astimezone(UTC):%Y%m%d}.zip"

    def chosen(self, params: Mapping[str, Any]) -> Sequence[Dataset]:
        """The datasets that the parameters name, or all."""
        return self.choice(params).datasets

    def choice(self, params: Mapping[str, Any]) -> Choice:
        """What the parameters of a task ask for, as stored or as loaded."""
        given = {**self.defaults, **params}
        names = given["datasets"]
        return Choice(
            datasets=tuple(one for one in self.datasets if names is None or one.name in names),
            formats=tuple(one for one in FORMATS if one in given["formats"]),
            since=parse_time(given["from"]) if given["from"] else None,
            until=parse_time(given["to"]) if given["to"] else None,
            viewer=given["viewer"],
        )


def _unlisted(name: str, given: object, known: Sequence[str]) -> Iterator[Fault]:
    """What is wrong with the items of a list; whether it is one is a question of types."""
    items = given if isinstance(given, list | tuple) else []
    for number, item in enumerate(items):
        if isinstance(item, str) and item not in known:
            yield Fault(f"/{name}/{number}", "must be one of " + ", ".join(known))
        elif item in items[:number]:
            yield Fault(f"/{name}/{number}", "is there twice")


def _moment(given: object) -> datetime | None:
    """A time; None if it is none, which is a question of types."""
    try:
        return parse_time(given) if isinstance(given, str) else None
    except ValueError:
        return None


def archive_kind() -> Archive:
    """The archive of this application.

    Raises:
        LookupError: It declares none.
    """
    found = next((kind for kind in TASKS.values() if isinstance(kind, Archive)), None)
    if found is None:
        raise LookupError("no kind of task is an Archive")
    return found


def formats_of(dataset: Dataset) -> tuple[Format, ...]:
    """The formats that a dataset can be written in."""
    return FORMATS if dataset.activity is not None else ROW_FORMATS

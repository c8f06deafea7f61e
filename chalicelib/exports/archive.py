"""The archive as a kind of task: many datasets in one ZIP, in the formats that its user chose."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from msgspec import Meta

from chalicelib.errors import DeclarationError
from chalicelib.exports.datasets import Dataset
from chalicelib.exports.kinds import Export
from chalicelib.values.fields import Time, parse_time

ROW_FORMATS = ("json", "ndjson", "csv")
"""Formats that any dataset can be written in."""

ACTIVITYSTREAMS = "activitystreams"
"""The format of datasets that declare an `activity`."""

FORMATS = (*ROW_FORMATS, ACTIVITYSTREAMS)
Format = Literal["json", "ndjson", "csv", "activitystreams"]


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
        params = {
            "datasets": Annotated[tuple[name, ...], Meta(min_length=1)] | None,
            "formats": Annotated[tuple[Format, ...], Meta(min_length=1)],
            "from": Time | None,
            "to": Time | None,
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


def formats_of(dataset: Dataset) -> tuple[str, ...]:
    """The formats that a dataset can be written in."""
    return FORMATS if dataset.activity is not None else ROW_FORMATS

"""Datasets (interim)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa


@dataclass(frozen=True, eq=False)
class Dataset:
    """One kind of a user's rows."""

    name: str
    title: str
    owner: Any
    key: tuple[Any, ...]
    snapshot: Any
    fields: Mapping[str, Any]

    def snapshot_query(self) -> Any:
        """The newest row."""
        return sa.select(sa.func.max(self.snapshot)).scalar_subquery()

    def snapshot_to_json(self, value: Any) -> Any:
        """As JSON."""
        return value

    def snapshot_from_json(self, value: Any) -> Any:
        """From JSON."""
        return value

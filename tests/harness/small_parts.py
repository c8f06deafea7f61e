"""Exports of many parts and pages out of a few rows, in a bucket in memory, and their crashes."""

from typing import cast

import pytest

from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from tests.harness import fakes
from tests.harness.fakes import FakeObjectStore, fake_wiring
from worker import attempts
from worker.export import pages, upload


class Killed(BaseException):
    """The end of a process: nothing catches it."""


def small_wiring(
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
    *,
    part_bytes: int,
    page_rows: tuple[int, int] = (7, 11),
    page_bytes: int = pages.PAGE_BYTES,
) -> Wiring:
    """A ledger, fakes for the rest, and parts and pages small enough for many of both.

    Args:
        database: The ledger.
        monkeypatch: Undoes it after the test.
        part_bytes: The size of a part.
        page_rows: How many rows the first page has, and another one at most.
        page_bytes: About how much a page holds.
    """
    monkeypatch.setattr(fakes, "MIN_PART_BYTES", part_bytes)
    monkeypatch.setattr(upload, "PART_BYTES", part_bytes)
    first, most = page_rows
    monkeypatch.setattr(pages, "FIRST_PAGE_ROWS", first)
    monkeypatch.setattr(pages, "MAX_PAGE_ROWS", most)
    monkeypatch.setattr(pages, "PAGE_BYTES", page_bytes)
    monkeypatch.setattr(attempts, "PROGRESS_INTERVAL_S", 0)
    return fake_wiring(database)


def storage_of(wired: Wiring) -> FakeObjectStore:
    """The bucket."""
    return cast("FakeObjectStore", wired.object_store)

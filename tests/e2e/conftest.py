"""A whole stack in processes of its own."""

from collections.abc import Iterator

import pytest

from tests.harness.stacks import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack for the tests of a module."""
    with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        yield stack

"""A running stack for the fuzzers."""

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import Stack


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with an administrator."""
    running = Stack(tmp_path_factory.mktemp("stack"))
    options = ("--email", "admin@example.com", "--admin")
    running.command("create-user", "admin", *options, given=b"correct horse\n")
    yield running
    assert running.stop() == 0

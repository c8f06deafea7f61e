"""A running stack for the fuzzers."""

from collections.abc import Iterator

import pytest

from tests.harness.people import PASSWORD
from tests.harness.stacks import Stack, running


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A stack with an administrator."""
    with running(tmp_path_factory.mktemp("stack") / "data") as stack:
        options = ("--email", "admin@example.com", "--admin")
        stack.command("create-user", "admin", *options, given=f"{PASSWORD}\n")
        yield stack

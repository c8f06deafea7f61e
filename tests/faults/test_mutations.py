"""What no test would miss is not needed, or not tested: each fence is taken out once."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.faults import warm
from tests.faults.mutations import MUTATIONS, Mutation, copy_tree, killers


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return copy_tree(tmp_path_factory.mktemp("mutations"))


@pytest.fixture(scope="module")
def ready(tree: Path) -> Iterator[Path]:
    with warm.started(tree) as ready:
        yield ready


def test_every_mutation_fits() -> None:
    """The pieces that are taken out are there, each exactly once."""
    root = Path(__file__).parents[2]
    sources = [(one, (root / one.path).read_text("utf-8")) for one in MUTATIONS]
    assert not [one.name for one, source in sources if source.count(one.old) != 1]
    assert len({one.name for one in MUTATIONS}) == len(MUTATIONS)


@pytest.mark.faults
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda one: one.name)
def test_a_mutation_is_noticed(
    tree: Path, ready: Path, mutation: Mutation, record_property: Callable[[str, object], None]
) -> None:
    """Without this piece, some test fails."""
    noticed_by = killers(tree, ready, mutation)
    record_property("noticed_by", noticed_by)
    assert noticed_by, f"nothing tests that {mutation.name}"

import json
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from app import app
from tests.bench import report
from tests.bench.__main__ import GROUPS, run
from tests.bench.bench import Bench
from tests.bench.child import ChildError
from tests.bench.figures import Bound, Row
from tests.bench.sizes import TINY
from tests.harness.servers import Servers


@pytest.fixture
def bench(servers: Servers) -> Iterator[Bench]:
    """A run that is over before anything can be measured, in no processes of its own."""
    bench = Bench(servers, TINY, lambda _: None, apart=False)
    yield bench
    bench.close()
    with suppress(AttributeError):
        del app.wiring


@pytest.mark.parametrize("group", GROUPS)
def test_every_row(bench: Bench, tmp_path: Path, group: str) -> None:
    """Every row still yields figures, in the form that programs and people read."""
    rows, facts = run(bench, [group])
    report.write(rows, tmp_path, **facts)
    content = json.loads((tmp_path / "bench.json").read_text())
    assert {row["group"] for row in content["rows"]} == {group}
    for row in content["rows"]:
        assert row["median"] > 0, row
        assert (row["peer"] is None) == (row["ratio"] is None), row
        assert (row["bound"] is None) == (row["holds"] is None), row
    assert content["machine"]["cores"] >= 1
    assert content["machine"]["packages"]["rq"]
    assert bool(content["left_out"]) == (group == "throughput")
    assert bool(content["import_profile_ms"]) == (group == "imports")
    assert ET.fromstring((tmp_path / "bench.svg").read_text()).tag.endswith("svg")
    assert report.table(rows, markdown=True).count("\n") == len(rows) + 1


def test_a_child(bench: Bench) -> None:
    """What is measured gets a process of its own, which tells why it failed."""
    with replace(bench, apart=True).child(bench.environment("sqlite")) as child:
        assert child("measurements.raw", user_id=1)["peak_mib"] > 10
        with pytest.raises(ChildError):
            child("measurements.raw", nothing=1)
    assert "unexpected keyword argument 'nothing'" in bench.servers.log


def test_ratio() -> None:
    """What slows both down for a while is no part of the ratio."""
    row = Row(
        group="g",
        name="n",
        unit="s",
        samples=[2, 20, 2],
        peer="p",
        peer_samples=[1, 10, 1],
        bound=Bound(1.9),
    )
    assert (row.ratio, row.holds) == (2, False)


def test_faster() -> None:
    """Where the peer is slower, the ratio says how many times."""
    row = Row(
        group="g",
        name="n",
        unit="s",
        samples=[1, 1],
        peer="p",
        peer_samples=[6, 6],
        faster=True,
        bound=Bound(5, least=True),
    )
    assert (row.ratio, row.holds) == (6, True)
    assert "6.00 × faster" in report.table([row], markdown=False)

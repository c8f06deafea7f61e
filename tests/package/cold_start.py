"""How long the package's cold import takes: `.venv/bin/python -m tests.package.cold_start`.

The peers are what nobody who uses these libraries can do without; the rest is ours.
"""

import statistics
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from infra.package import interpreter
from infra.package.application import ROOT
from tests.package.runtime import TARGET, Function, Image

PACKAGE = ROOT / "build" / "deployment.zip"
HANDLER = "app"
PEERS = "chalice, sqlalchemy.orm, psycopg, redis, rq"
MOST_TIMES = 1.4
ROUNDS = 15


@dataclass(frozen=True)
class Cost:
    """What an import takes, in seconds: by the clock, and of a processor."""

    wall_s: float
    cpu_s: float

    @classmethod
    def median(cls, costs: Sequence["Cost"]) -> "Cost":
        return cls(
            statistics.median(one.wall_s for one in costs),
            statistics.median(one.cpu_s for one in costs),
        )


@dataclass(frozen=True)
class ColdStart:
    """Medians.

    Attributes:
        handler: To import the handler, once Lambda's client is there.
        peers: To import its libraries alone, all in one process.
        first_poll_s: From the start of the process until it asks for its first event.
    """

    handler: Cost
    peers: Cost
    first_poll_s: float

    @property
    def times(self) -> float:
        """How many times as much the handler takes as its libraries, of what no neighbour takes."""
        return self.handler.cpu_s / self.peers.cpu_s

    def __str__(self) -> str:
        rows = [(HANDLER, self.handler), (PEERS, self.peers)]
        wall_ratio = self.handler.wall_s / self.peers.wall_s
        return "\n".join(
            [
                f"{'':<54}{'clock':>8}{'processor':>11}",
                *(
                    f"import {name:<47}{one.wall_s * 1000:5.0f} ms{one.cpu_s * 1000:8.0f} ms"
                    for name, one in rows
                ),
                f"{f'ratio, at most {MOST_TIMES}':<54}{wall_ratio:8.2f}{self.times:11.2f}",
                f"{'from process start to first poll':<54}{self.first_poll_s * 1000:5.0f} ms",
            ]
        )


def measure(image: Image, *, log: Path, rounds: int = ROUNDS) -> ColdStart:
    """Measure in turns, each in a process of its own."""
    handler, peers, polls = [], [], []
    for _round in range(rounds):
        handler.append(_import(image, HANDLER))
        peers.append(_import(image, PEERS))
        function = Function(image, "app.app", {}, log=log)
        polls.append(function.first_poll_s)
        function.stop()
    return ColdStart(Cost.median(handler), Cost.median(peers), statistics.median(polls))


SCRIPT = """
from time import perf_counter, process_time
import awslambdaric.bootstrap
wall, cpu = perf_counter(), process_time()
import {}
print(perf_counter() - wall, process_time() - cpu)
"""


def _import(image: Image, names: str) -> Cost:
    return Cost(*map(float, image.run(SCRIPT.format(names)).split()))


@click.command()
@click.option("--rounds", default=ROUNDS, show_default=True)
def main(rounds: int) -> None:
    """Measure `build/deployment.zip`."""
    python = interpreter.find(TARGET.python)
    if not python:
        raise click.ClickException(f"only Python {TARGET.python} runs the package")
    with tempfile.TemporaryDirectory(prefix="carryout-") as folder:
        image = Image(PACKAGE, Path(folder), python)
        click.echo(measure(image, log=Path(folder) / "log", rounds=rounds))


if __name__ == "__main__":
    main()

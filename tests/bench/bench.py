"""What every row of the benchmark is measured with."""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.bench.ground import Ground
from tests.bench.sizes import Sizes


@dataclass(frozen=True)
class Bench:
    """A run.

    Attributes:
        ground: Servers and processes.
        sizes: How much of everything.
        say: Takes a line about how far the run is.
        peers: The Python of the environment with Celery, Dramatiq and SAQ; None leaves them out.
        left_out: Sentences about what was not measured, and why.
        profile: What a cold import spends its time on: package and milliseconds.
    """

    ground: Ground
    sizes: Sizes
    say: Callable[[str], None]
    peers: Path | None = None
    left_out: list[str] = field(default_factory=list)
    profile: list[tuple[str, float]] = field(default_factory=list)

"""What a row of the benchmark says: figures, those of a peer from the same run, and a bound."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median, quantiles
from typing import Any

FLAT = 1.1
"""By how much the peak of memory may differ between a small export and a large one."""


@dataclass(frozen=True)
class Bound:
    """What must hold.

    Attributes:
        limit: The number.
        of: `ratio`, or `value` for the median itself.
        least: Whether it is the least that is allowed, not the most.
    """

    limit: float
    of: str = "ratio"
    least: bool = False

    def holds(self, measured: float) -> bool:
        return measured >= self.limit if self.least else measured <= self.limit

    def share(self, measured: float) -> float:
        """How much of what is allowed is used up; up to 1 the bound holds."""
        return self.limit / measured if self.least else measured / self.limit


@dataclass(frozen=True)
class Spread:
    """The median of samples and the quartiles around it."""

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> "Spread":
        """Sum up one sample or more."""
        if len(samples) == 1:
            return cls(samples[0], samples[0], samples[0])
        return cls(*quantiles(samples, n=4, method="inclusive"))


@dataclass(frozen=True, kw_only=True)
class Row:
    """A row of the table.

    Attributes:
        group: Which benchmark it is of.
        name: What was measured.
        unit: Of the samples: `s`, `ms`, `/s` or `MiB`.
        samples: What was measured of Carryout, in the order of the run.
        peer: What stands beside it; empty when nothing does.
        peer_samples: What was measured of that, in turns with `samples`.
        faster: Whether the ratio says how many times faster Carryout is than the peer; otherwise it
            is Carryout's figure in units of the peer's.
        bound: What must hold, if anything must.
        note: What a reader must know.
        facts: More figures, for the JSON alone.
    """

    group: str
    name: str
    unit: str
    samples: Sequence[float]
    peer: str = ""
    peer_samples: Sequence[float] = ()
    faster: bool = False
    bound: Bound | None = None
    note: str = ""
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """The median of the ratios of samples that were taken one after the other.

        What slows the whole machine down for a while slows both down, and drops out.
        """
        if not self.peer_samples:
            return None
        ours, theirs = self.samples, self.peer_samples
        if len(ours) != len(theirs):
            ours, theirs = [median(ours)], [median(theirs)]
        ratio = median(one / other for one, other in zip(ours, theirs, strict=True))
        return 1 / ratio if self.faster else ratio

    @property
    def measured(self) -> float | None:
        """The figure that the bound is about."""
        return self.ratio if self.bound and self.bound.of == "ratio" else median(self.samples)

    @property
    def holds(self) -> bool | None:
        """Whether the bound holds; None when there is nothing to hold."""
        if self.bound is None or self.measured is None:
            return None
        return self.bound.holds(self.measured)

    def to_json(self) -> dict[str, Any]:
        """The row as `bench.json` has it."""
        bound = self.bound and {
            "of": self.bound.of,
            "least" if self.bound.least else "most": self.bound.limit,
        }
        return {
            "group": self.group,
            "name": self.name,
            "unit": self.unit,
            **_summary(self.samples),
            "peer": {"name": self.peer, **_summary(self.peer_samples)} if self.peer else None,
            "ratio": self.ratio,
            "faster": self.faster,
            "bound": bound,
            "holds": self.holds,
            "note": self.note,
            "facts": dict(self.facts),
        }


def memory(
    peaks: Mapping[int, float], *, group: str, name: str, small: int, large: int, note: str
) -> Row:
    """The row that says whether memory grows with the number of posts: peaks by that, in MiB."""
    return Row(
        group=group,
        name=name.format(f"{large:,}"),
        unit="MiB",
        samples=[peaks[large]],
        peer=f"{small:,} posts",
        peer_samples=[peaks[small]],
        bound=Bound(FLAT),
        note=note,
        facts={"peak_mib_by_posts": {str(count): peak for count, peak in peaks.items()}},
    )


def _summary(samples: Sequence[float]) -> dict[str, Any]:
    spread = Spread.of(samples)
    return {
        "median": spread.median,
        "quartiles": [spread.low, spread.high],
        "samples": list(samples),
    }

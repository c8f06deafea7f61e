"""`python -m worker …` in the tests' own process."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Done:
    """A command that has ended.

    Attributes:
        status: What the shell sees.
        out: What it printed.
        err: What it printed to standard error.
    """

    status: int
    out: str
    err: str


Call = Callable[..., Done]

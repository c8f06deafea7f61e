"""How commands say what they found: lines for people, or JSON for programs with `--json`."""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import click

PROGRAM = "python -m worker"

ID = "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"
"""Of something in an example."""

Facts = Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What a command found out or did.

    Attributes:
        facts: For programs: an object for each thing that was found.
        lines: The same for people.
        faults: What is wrong, for people, on standard error; the command fails if there is any.
    """

    facts: Iterable[Facts]
    lines: Iterable[str]
    faults: tuple[str, ...] = field(default=())


def found(line: str, **facts: Any) -> Found:
    """One thing, in a line or as an object."""
    return Found([facts], [line])


def listed(facts: Sequence[Any], line: Callable[[Any], str], nothing: str) -> Found:
    """Several things, in a line each; `nothing` tells people that there are none."""
    return Found(facts, map(line, facts) if facts else [nothing])


def document(facts: Facts) -> Found:
    """One thing with too many sides for a line: people read the object, too, in many lines."""
    return Found([facts], [json.dumps(facts, indent=2, ensure_ascii=False)])


def prints(command: Callable[..., Found]) -> Callable[..., None]:
    """Give a command `--json`, and print what it returns.

    JSON is one object a line, so that a list can be read as it comes; a list of nothing is no line.
    """

    @wraps(command)
    def run(*arguments: Any, as_json: bool, **options: Any) -> None:
        outcome = command(*arguments, **options)
        if as_json:
            for facts in outcome.facts:
                click.echo(json.dumps(facts, ensure_ascii=False))
        else:
            for line in outcome.lines:
                click.echo(line)
            for fault in outcome.faults:
                click.echo(f"fault:   {fault}", err=True)
        if outcome.faults:
            raise SystemExit(1)

    option = click.option("--json", "as_json", is_flag=True, help="Print JSON, one object a line.")
    return option(run)


def example(*commands: str) -> str:
    """The end of a command's help: how it is used."""
    lines = "".join(f"\n  {PROGRAM} {command}" for command in commands)
    return f"\b\nExample:{lines}"


def progress_bar(length: int, label: str) -> Any:
    """A progress bar on standard error; where nobody watches, on a pipe, there is none."""
    hidden = not sys.stderr.isatty()
    return click.progressbar(length=length, label=label, file=sys.stderr, hidden=hidden)

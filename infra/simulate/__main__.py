"""`python -m infra.simulate`: waiting, workers and cost, from 1,000 to 10 million exports a day."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from pathlib import Path

import click

from infra.simulate import tables
from infra.simulate.assumptions import Assumptions
from infra.simulate.drawing import draw

VOLUMES = (1e3, 3e3, 1e4, 3e4, 1e5, 3e5, 1e6, 3e6, 1e7)
FEW = (1e3, 1e5, 1e6)
USERS = (10, 100, 1e3, 1e4)
PLOT = Path("build") / "scale.svg"

HELP = """How long exports wait for a worker, how many workers there are, and what that costs.

Days are simulated by discrete events: requests come at random with a daily curve, sizes have a
heavy tail, workers start within a minute or so, Spot takes some of them away, and their number
follows the formula that is deployed (chalicelib/operations/scaling.py). The same --seed gives the
same table.

Each assumption is an option below and says where its default is from: measured with this project,
AWS's own, or assumed. Change those that you know better.

\b
  python -m infra.simulate                            the table, and the plot build/scale.svg
  python -m infra.simulate --exports 5e4 --least 1    one row, with a worker at night too
  python -m infra.simulate --exports 1e5 --as-is      MAX_WORKERS and SES's quotas as they are
  python -m infra.simulate --compare                  MIN_WORKERS and targets side by side
  python -m infra.simulate --costs                    the bill of a month
  python -m infra.simulate --tabs                     what pages cost that are only open
"""


def _assumptions(command: Callable[..., None]) -> Callable[..., None]:
    """One option for each assumption."""
    for one in reversed(fields(Assumptions)):
        name, meaning = f"--{one.name.replace('_', '-')}", one.metadata["meaning"]
        option = click.option(
            name, default=one.default, type=float, show_default=True, help=meaning
        )
        command = option(command)
    return command


@click.command(help=HELP, context_settings={"max_content_width": 100})
@click.option("--seed", default=1, show_default=True, help="repeats a run")
@click.option("--exports", type=float, multiple=True, help="a day; again for more rows")
@click.option("--as-is", is_flag=True, help="do not raise MAX_WORKERS and quotas with the load")
@click.option("--compare", is_flag=True, help="compare MIN_WORKERS and targets")
@click.option("--costs", is_flag=True, help="print the bill of a month")
@click.option("--tabs", "open_pages", is_flag=True, help="print what open pages cost in a month")
@click.option("--plot", type=click.Path(path_type=Path), default=PLOT, show_default=True)
@_assumptions
def main(
    *,
    seed: int,
    exports: Sequence[float],
    as_is: bool,
    compare: bool,
    costs: bool,
    open_pages: bool,
    plot: Path,
    **numbers: float,
) -> None:
    """See `HELP`."""
    try:
        world = tables.World(Assumptions(**numbers), seed, as_is)
    except ValueError as error:
        raise click.UsageError(str(error)) from error
    if costs:
        _print(tables.bills(world, exports or FEW))
    elif open_pages:
        _print(tables.tabs(world.assumed, USERS))
    elif compare:
        _print(tables.comparison(world, exports or FEW))
    else:
        lives = [world.live(per_day) for per_day in exports or VOLUMES]
        _print(tables.scale(lives))
        click.echo()
        _print(tables.limits(world.assumed))
        draw([life.point for life in lives], plot)
        click.echo(f"\nthe plot: {plot}")


def _print(rows: Iterable[tables.Row]) -> None:
    for line in tables.markdown(rows):
        click.echo(line)


if __name__ == "__main__":
    main(prog_name="python -m infra.simulate")

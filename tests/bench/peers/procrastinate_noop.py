"""Procrastinate with nothing to do: run as a script, it sends so many jobs.

With `schema` instead of a number it makes its tables.
"""

import os
import sys

from procrastinate import App, PsycopgConnector

app = App(connector=PsycopgConnector(conninfo=os.environ["BENCH_LEDGER"]), import_paths=[__name__])


@app.task(name="noop")
async def noop() -> int:
    """Do nothing."""
    return 1


if __name__ == "__main__":
    with app.open():
        if sys.argv[1] == "schema":
            app.schema_manager.apply_schema()
        else:
            noop.batch_defer(*({} for _ in range(int(sys.argv[1]))))

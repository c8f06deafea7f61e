"""A process that measures subjects, one after the other, as lines of JSON tell it to.

What one of them needs of memory or leaves behind of caches is no other process's business.
"""

import json
import os
import sys
from importlib import import_module

from chalicelib import logs
from chalicelib.wiring import Wiring
from tests.bench.machine import peak_mib


def main() -> None:
    """Answer until standard input ends."""
    wiring = Wiring.from_environment(os.environ, pool_size=2)
    logs.configure(wiring.settings.log_format)
    for line in sys.stdin:
        order = json.loads(line)
        module, _, function = order["subject"].partition(".")
        measure = getattr(import_module(f"tests.bench.{module}"), function)
        figures = measure(wiring, **order["options"])
        sys.stdout.write(json.dumps({**figures, "peak_mib": peak_mib()}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

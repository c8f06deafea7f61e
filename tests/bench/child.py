"""A process that measures subjects, one after the other, as lines of JSON tell it to.

What one of them needs of memory or leaves behind of caches is no other process's business.
"""

import json
import os
import sys
from importlib import import_module
from typing import Any

from chalicelib import logs
from chalicelib.wiring import Wiring
from tests.bench.machine import peak_mib


def measure(wiring: Wiring, subject: str, options: dict[str, Any]) -> dict[str, Any]:
    """Measure a subject here and now.

    Args:
        wiring: Clients and settings.
        subject: A module of this folder and a function in it, as `module.function`.
        options: What the function takes besides.

    Returns:
        Its figures, and the peak of this process's memory.
    """
    module, _, name = subject.partition(".")
    function = getattr(import_module(f"tests.bench.{module}"), name)
    return {**function(wiring, **options), "peak_mib": peak_mib()}


def main() -> None:
    """Answer until standard input ends."""
    wiring = Wiring.from_environment(os.environ, pool_size=2)
    logs.configure(wiring.settings.log_format)
    for line in sys.stdin:
        figures = measure(wiring, **json.loads(line))
        sys.stdout.write(json.dumps(figures) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""A process that measures one thing after the other, as lines of JSON tell it to.

What one of them needs of memory or leaves behind of caches is no other process's business.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib import import_module
from typing import Any

import psutil

from chalicelib import logs
from chalicelib.wiring import Wiring
from tests.bench.machine import peak_mib


class ChildError(Exception):
    """The child ended before it answered; its last words are in the log."""


class Child:
    """The process, from outside.

    Args:
        start: Starts a command with more variables and options of `subprocess.Popen`.
        environment: The variables.
    """

    def __init__(self, start: Callable[..., psutil.Popen], environment: Mapping[str, str]) -> None:
        command = [sys.executable, "-m", "tests.bench.child"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = start(command, env=environment, **pipes)

    def measure(self, subject: str, **options: Any) -> dict[str, Any]:
        """Have something measured; return its figures.

        Raises:
            ChildError: It failed.
        """
        order = json.dumps({"subject": subject, **options})
        with suppress(BrokenPipeError):
            self._process.stdin.write(order.encode() + b"\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise ChildError(f"{subject} failed")
        figures: dict[str, Any] = json.loads(answer)
        return figures

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def measure(wiring: Wiring, subject: str, **options: Any) -> dict[str, Any]:
    """Measure something here and now.

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

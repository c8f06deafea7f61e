"""The runtime's own Python on this machine: byte-code is for the one that compiled it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from infra.environments import UvError, find_uv, uv_environ

PRINT_MAGIC = "import importlib.util; print(importlib.util.MAGIC_NUMBER.hex())"


@dataclass(frozen=True)
class Interpreter:
    """A Python.

    Attributes:
        path: Its program.
        magic: What its byte-code begins with.
    """

    path: Path
    magic: bytes


HERE = Interpreter(Path(sys.executable), importlib.util.MAGIC_NUMBER)
"""The one that runs this."""


@cache
def find(python: str) -> Interpreter | None:
    """An interpreter of a version, such as `3.13`; None where this machine has none.

    uv looks on the PATH and among what it has installed itself, but not into pyenv's folders.
    """
    if python == "{}.{}".format(*sys.version_info[:2]):
        return HERE
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv")
    folders = [str(path) for path in sorted(pyenv.glob(f"versions/{python}.*/bin"))]
    path = os.pathsep.join([*folders, os.environ.get("PATH", os.defpath)])
    try:
        uv = str(find_uv())
    except UvError:
        return None
    found = _output([uv, "python", "find", "--system", "--no-project", f"cpython@{python}"], path)
    magic = _output([found, "-c", PRINT_MAGIC], path) if found else ""
    return Interpreter(Path(found), bytes.fromhex(magic)) if magic else None


def _output(command: Sequence[str], path: str) -> str:
    """What a program prints; nothing when it fails."""
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command,
        env={**uv_environ(), "PATH": path},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() if done.returncode == 0 else ""

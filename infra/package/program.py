"""The programs that packaging consists of."""

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from infra.package import PackagingError

TIME_LIMIT_S = 600


def run(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    variables: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Run a program, with variables on top of the environment.

    Returns:
        What it printed, but for its errors.

    Raises:
        PackagingError: It did not exit with 0; the message has all that it printed.
    """
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command,
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )
    if done.returncode:
        said = f"{done.stdout}{done.stderr}".strip()
        raise PackagingError(f"{' '.join(command[:4])} … failed:\n{said}")
    return done.stdout

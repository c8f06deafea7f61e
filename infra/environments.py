"""Virtual environments of locked packages, made by uv, or by pip where uv cannot be had.

`python infra/environments.py make FOLDER LOCK` makes one unless it is there already, and
`python infra/environments.py uv …` runs uv. Both run before anything is installed, so this module
imports the standard library alone.
"""

import ast
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).parents[1]
UV_FOLDER = ROOT / ".venv-uv"
UV_LOCK = Path(__file__).with_name("uv.txt")
TIME_LIMIT_S = 1800
"""For a whole environment by pip over a slow line."""

UV_REGISTRY_VARIABLES = frozenset(
    {"UV_CONFIG_FILE", "UV_DEFAULT_INDEX", "UV_FIND_LINKS", "UV_INDEX", "UV_INDEX_URL"}
)
"""Any of them says that uv knows its registry.

https://docs.astral.sh/uv/reference/environment/
"""

AS_UV_SAYS = {
    "cert": "SSL_CERT_FILE",
    "index-url": "UV_DEFAULT_INDEX",
    "proxy": "ALL_PROXY",
    "trusted-host": "UV_INSECURE_HOST",
}
"""Which variable tells uv what a setting tells pip."""


class UvError(Exception):
    """uv cannot be had on this machine; the message says why."""


def make(folder: Path, lock: Path) -> None:
    """Make an environment, unless it is there and was made of this lock by this Python.

    The stamp is written last: an interrupted set-up is repeated.

    Args:
        folder: The environment.
        lock: A requirements file with a hash for every package.

    Raises:
        CalledProcessError: Even pip could not; it has said why.
    """
    digest = hashlib.sha256(lock.read_bytes()).hexdigest()
    made_of = "{} {} {}\n".format(*sys.version_info[:2], digest)
    stamp = folder / ".stamp"
    with _alone():
        if stamp.is_file() and stamp.read_text() == made_of and _starts(folder / "bin" / "python"):
            return
        print(f"setting up {folder.name}", file=sys.stderr)  # noqa: T201 - a program's progress
        try:
            make_with_uv(folder, lock)
        except UvError as error:
            print(f"{error}\npip goes on without uv, and takes longer", file=sys.stderr)  # noqa: T201
            _make_with_pip(folder, lock)
        stamp.write_text(made_of)


@contextmanager
def _alone() -> Iterator[None]:
    """Let two commands that start at once not make the same environment at once."""
    with UV_LOCK.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _starts(python: Path) -> bool:
    """Whether an environment's Python is still there; a system's upgrade may have taken it."""
    try:
        return _run([str(python), "-c", ""], quiet=True).returncode == 0
    except OSError:
        return False


def make_with_uv(folder: Path, lock: Path) -> None:
    """Make an environment anew.

    Raises:
        UvError: uv cannot be had, or cannot do it.
    """
    uv, environ = find_uv(), uv_environ()
    for arguments in (
        ("venv", "--clear", "--no-project", "--python", sys.executable, str(folder)),
        ("pip", "install", "--require-hashes", "--python", str(folder), "-r", str(lock)),
    ):
        done = _run([str(uv), "--quiet", *arguments], environ=environ, quiet=True)
        if done.returncode:
            raise UvError(f"{done.stderr.strip()}\nuv {arguments[0]} failed")


def _make_with_pip(folder: Path, lock: Path) -> None:
    _run([sys.executable, "-m", "venv", "--clear", str(folder)]).check_returncode()
    pip = [str(folder / "bin" / "python"), "-m", "pip"]
    _run([*pip, *INSTALL, "--require-hashes", "-r", str(lock)]).check_returncode()


INSTALL = ("install", "--quiet", "--disable-pip-version-check")


def find_uv() -> Path:
    """The path of uv: this machine's own unless it is older than the locked one, or the locked one.

    Raises:
        UvError: There is none, and pip cannot get it.
    """
    locked = UV_FOLDER / "bin" / "uv"
    wanted = _version(UV_LOCK.read_text(), r"^uv==")
    for found in (shutil.which("uv"), str(locked)):
        if found and wanted <= _version_of(found):
            return Path(found)
    _fetch_uv()
    if _version_of(str(locked)) < wanted:  # such as a wheel that needs a newer C library
        raise UvError(f"{locked} does not run here")
    return locked


def _version_of(uv: str) -> tuple[int, ...]:
    """The version that a program says it has; empty, so less than any, when it does not run."""
    try:
        return _version(_run([uv, "--version"], quiet=True).stdout, r"^uv ")
    except OSError:
        return ()


def _version(text: str, prefix: str) -> tuple[int, ...]:
    found = re.search(rf"{prefix}(\d+)\.(\d+)\.(\d+)", text, re.MULTILINE)
    return tuple(map(int, found.groups())) if found else ()


def _fetch_uv() -> None:
    """Have pip put the locked uv into a folder of its own.

    Raises:
        UvError: It could not.
    """
    shutil.rmtree(UV_FOLDER, ignore_errors=True)
    options = ("--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", str(UV_LOCK))
    pip, target = [sys.executable, "-m", "pip"], ["--target", str(UV_FOLDER)]
    if find_spec("pip") is None:  # Debian's Python comes without it
        _run([sys.executable, "-m", "venv", str(UV_FOLDER)], quiet=True)
        pip, target = [str(UV_FOLDER / "bin" / "python"), "-m", "pip"], []
    try:
        done = _run(
            [*pip, *INSTALL, *options, *target],
            # Neither goes with a target that is no environment.
            environ={**os.environ, "PIP_REQUIRE_VIRTUALENV": "0", "PIP_USER": "0"},
            quiet=True,
        )
    except OSError as error:
        raise UvError(f"there is no pip to get uv with: {error}") from error
    if done.returncode:
        raise UvError(f"{done.stderr.strip()}\nuv cannot be had")


def uv_environ() -> dict[str, str]:
    """The environment for uv: this one, with the registry that pip is configured for.

    uv reads none of pip's settings. Where it has settings of its own, they alone count.
    """
    files = (Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"), Path("/etc"))
    # uv is to use the Python that it is given, never to fetch one.
    environ = {"UV_PYTHON_DOWNLOADS": "never", **os.environ}
    if UV_REGISTRY_VARIABLES & os.environ.keys() or any(
        (folder / "uv" / "uv.toml").exists() for folder in files
    ):
        return environ
    listed = _run([sys.executable, "-m", "pip", "config", "list"], quiet=True).stdout
    return {**translate(listed), **environ}


def translate(listed: str) -> dict[str, str]:
    """What `pip config list` prints, as variables for uv.

    The list is sorted and its first lines, `:env:…`, have the last word with pip.
    """
    found = re.findall(r"^(?:\S+)\.([\w-]+)=(.+)$", listed, re.MULTILINE)
    return {
        AS_UV_SAYS[name]: " ".join(str(ast.literal_eval(value)).split())
        for name, value in reversed(found)
        if name in AS_UV_SAYS
    }


def _run(
    command: Sequence[str], *, environ: Mapping[str, str] | None = None, quiet: bool = False
) -> subprocess.CompletedProcess[str]:
    """Run a program; where quiet, what it prints is in the outcome instead."""
    return subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command,
        env=environ,
        capture_output=quiet,
        text=True,
        timeout=TIME_LIMIT_S,
        check=False,
    )


def main(verb: str, *arguments: str) -> int:
    """Make an environment, or run uv; return the status to exit with."""
    if verb == "make":
        folder, lock = map(Path, arguments)
        make(folder, lock)
        return 0
    with _alone():
        uv = find_uv()
    return _run([str(uv), *arguments], environ=uv_environ()).returncode


if __name__ == "__main__":
    try:
        sys.exit(main(*sys.argv[1:]))
    except (UvError, subprocess.CalledProcessError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - a program's last word
        sys.exit(2)  # which no verdict of uv's is

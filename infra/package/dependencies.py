"""The locked dependencies that Lambda's machine needs, as wheels with the locked hashes."""

import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from packaging.tags import Tag
from packaging.utils import canonicalize_name, parse_wheel_filename

from infra.environments import UvError, find_uv, uv_environ
from infra.package import PackagingError
from infra.package.program import run
from infra.package.target import Target


@dataclass(frozen=True)
class Wheel:
    """A wheel that would run on a machine.

    Attributes:
        name: The distribution's canonical name.
        version: Its version.
        tags: What the wheel was made for.
        sha256: Of the file.
    """

    name: str
    version: str
    tags: frozenset[Tag]
    sha256: str


def resolve(lock: Path, target: Target, pylock: Path) -> None:
    """Find the wheels that a machine needs of a lock file.

    Args:
        lock: A requirements file with hashes; its markers are judged for the target.
        target: The machine.
        pylock: A path ending in `pylock.toml` for what is found (PEP 751).

    Raises:
        PackagingError: Something has no wheel for that machine.
    """
    _run_uv(
        *("pip", "compile", "--quiet", "--no-header", "--no-deps", "--only-binary", ":all:"),
        *("--format", "pylock.toml", "--output-file", str(pylock), *target.uv_options, str(lock)),
    )


def read(pylock: Path) -> list[Wheel]:
    """The wheels in a file that `resolve` wrote: at least one for every distribution.

    There are two where one with compiled parts and one for every machine would do.
    """
    found = tomllib.loads(pylock.read_text())
    return [wheel for package in found["packages"] for wheel in _wheels(package)]


def _wheels(package: dict[str, Any]) -> Iterator[Wheel]:
    for one in package["wheels"]:
        _name, _version, _build, tags = parse_wheel_filename(one["url"].rpartition("/")[2])
        name = canonicalize_name(package["name"])
        yield Wheel(name, package["version"], tags, one["hashes"]["sha256"])


def install(lock: Path, folder: Path, target: Target) -> None:
    """Install for a machine that need not be this one.

    Args:
        lock: A requirements file with hashes; nothing that it does not list is installed.
        folder: Gets the files.
        target: The machine.

    Raises:
        PackagingError: There is no wheel of one for that machine, or a hash differs.
    """
    _run_uv(
        *("pip", "install", "--quiet", "--no-deps", "--require-hashes", "--only-binary", ":all:"),
        *("--link-mode", "copy"),  # what is trimmed must not be uv's own copy
        *("--target", str(folder), *target.uv_options, "--requirement", str(lock)),
    )


def _run_uv(*arguments: str) -> None:
    try:
        run([str(find_uv()), *arguments], variables=uv_environ())
    except UvError as error:
        raise PackagingError(f"it takes uv to find wheels for another machine: {error}") from error

"""The locked dependencies that Lambda's machine needs, out of wheels with the locked hashes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from infra.package import PackagingError
from infra.package.program import run_python
from infra.package.target import Target


@dataclass(frozen=True)
class Locked:
    """One distribution of the lock file.

    Attributes:
        name: Its canonical name.
        version: Its version.
        hashes: The SHA-256 of every file of it that may be installed.
    """

    name: str
    version: str
    hashes: Sequence[str]

    @property
    def line(self) -> str:
        """As pip reads it, without a marker."""
        return " ".join(
            [f"{self.name}=={self.version}", *(f"--hash=sha256:{h}" for h in self.hashes)]
        )


@dataclass(frozen=True)
class Installed:
    """One distribution as it was installed.

    Attributes:
        name: Its canonical name.
        version: Its version.
        sha256: Of the wheel.
    """

    name: str
    version: str
    sha256: str


def read_lock(text: str, target: Target) -> list[Locked]:
    """The distributions of a lock file whose markers hold on a machine."""
    found = []
    for line in text.replace("\\\n", " ").splitlines():
        wanted, *hashes = line.split(" --hash=sha256:")
        if not wanted or wanted.startswith("#"):
            continue
        requirement = Requirement(wanted.strip())
        if requirement.marker is None or requirement.marker.evaluate(target.markers):
            (pinned,) = requirement.specifier
            name = canonicalize_name(requirement.name)
            found.append(Locked(name, pinned.version, [one.strip() for one in hashes]))
    return found


def install(
    locked: Sequence[Locked], folder: Path, target: Target, *, notes: Path
) -> list[Installed]:
    """Install distributions for a machine that need not be this one.

    Args:
        locked: All of them; nothing that they ask for on top is installed.
        folder: Gets their files.
        target: The machine.
        notes: A folder for what pip is told and what it tells.

    Raises:
        PackagingError: There is no wheel of one for that machine, or a hash differs.
    """
    requirements, report = notes / "requirements.txt", notes / "report.json"
    requirements.write_text("".join(f"{one.line}\n" for one in locked))
    platforms = [part for tag in target.platforms for part in ("--platform", tag)]
    try:
        run_python(
            *("-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
            *("--no-deps", "--no-compile", "--require-hashes", "--only-binary", ":all:"),
            *("--implementation", "cp", "--python-version", target.python, *platforms),
            *("--target", str(folder), "--report", str(report), "--requirement", str(requirements)),
        )
    except PackagingError as error:
        raise PackagingError(
            f"not every wheel can be had for Python {target.python} on {target.architecture}, "
            f"as {target.platforms[0]} or older: {error}"
        ) from error
    return [_installed(one) for one in json.loads(report.read_bytes())["install"]]


def _installed(entry: dict[str, dict[str, object]]) -> Installed:
    metadata, archive = entry["metadata"], entry["download_info"]["archive_info"]
    assert isinstance(archive, dict)  # noqa: S101 - a wheel is one  # nosec B101
    return Installed(
        name=canonicalize_name(str(metadata["name"])),
        version=str(metadata["version"]),
        sha256=archive["hashes"]["sha256"],
    )

"""`python -m infra.package`: the zip, both templates and the bill of materials, all checked."""

import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

import click

from infra.package import (
    PackagingError,
    application,
    archive,
    dependencies,
    inspection,
    inventory,
    template,
    trimming,
)
from infra.package.dependencies import Installed
from infra.package.inspection import Package
from infra.package.program import run_python
from infra.package.target import MACHINES, Target

AWS = application.ROOT / "infra" / "aws"

MADE = ("deployment.zip", "sam.yaml", "foundation.yaml", "sbom.cdx.json")


def build(path: Path, target: Target, *, scratch: Path) -> list[Installed]:
    """Make a package and check it.

    Args:
        path: The zip that is written.
        target: The machine it is for.
        scratch: An empty folder.

    Returns:
        The wheels that it was made of.

    Raises:
        PackagingError: It cannot be made, or would not be whole; then there is no zip.
    """
    content = scratch / "content"
    locked = dependencies.read_lock((application.ROOT / "requirements.txt").read_text(), target)
    installed = dependencies.install(locked, content, target, notes=scratch)
    trimming.trim(content)
    application.copy_into(content)
    archive.compile_all(content)
    archive.write(content, path)
    if found := inspection.faults(Package(path), locked, target):
        path.rename(path.with_suffix(".refused.zip"))
        raise PackagingError("the package is not whole:\n  " + "\n  ".join(found))
    return installed


def describe_in_lines(package: Package, target: Target) -> Iterator[str]:
    """What is in a package, by size."""
    yield f"Python {target.python} on {target.architecture}"
    yield f"{package.zipped_bytes / 1e6:9.1f} MB zipped"
    yield f"{package.unpacked_bytes / 1e6:9.1f} MB unpacked, of which"
    owners = {name: one.name for one in package.distributions for name in one.digests}
    sizes: dict[str, int] = {}
    for name, data in package.files.items():
        owner = owners.get(_source(name), "the application")
        sizes[owner] = sizes.get(owner, 0) + len(data)
    largest = sorted(sizes.items(), key=lambda one: -one[1])
    shown = [one for one in largest if one[1] > package.unpacked_bytes / 30]
    for owner, size in [*shown, ("the rest", package.unpacked_bytes - sum(s for _, s in shown))]:
        yield f"{size / 1e6:9.1f} MB {owner}"
    yield f"{len(package.distributions):9d} distributions"


def _source(name: str) -> str:
    """The module that a file of byte-code was made of; another file's own name."""
    if not name.endswith(".pyc"):
        return name
    folder, _, module = name.rpartition("/")
    return f"{folder.removesuffix('__pycache__')}{module.split('.')[0]}.py"


def package(out: Path, target: Target, *, scratch: Path) -> Sequence[str]:
    """Make everything that is deployed; return lines about it."""
    for name in MADE:  # nothing old is taken for new when this fails
        (out / name).unlink(missing_ok=True)
    path = out / "deployment.zip"
    installed = build(path, target, scratch=scratch)
    made = Package(path)
    (out / "sbom.cdx.json").write_text(inventory.describe(made, installed, now=datetime.now(UTC)))
    template.write(out, target, scratch=scratch, merge=AWS / "app.yaml")
    shutil.copy(AWS / "foundation.yaml", out)
    verdict = run_python("-m", "infra.aws.validate", str(out), folder=application.ROOT)
    return [*describe_in_lines(made, target), verdict.strip()]


@click.command()
@click.option("--architecture", type=click.Choice([*MACHINES]), default="x86_64", show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=application.ROOT / "build")
def main(architecture: str, out: Path) -> None:
    """Make deployment.zip, sam.yaml, foundation.yaml and sbom.cdx.json, or exit with 1."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="carryout-") as scratch:
        try:
            target = Target.of_this_python(architecture)
            lines = package(out.absolute(), target, scratch=Path(scratch))
        except PackagingError as error:
            sys.exit(str(error))
    click.echo("\n".join([*lines, f"all of it in {out}"]))


if __name__ == "__main__":
    main()

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
    interpreter,
    inventory,
    template,
    trimming,
)
from infra.package.inspection import Package
from infra.package.program import run
from infra.package.target import DEFAULT_PYTHON, MACHINES, PYTHONS, Target

AWS = application.ROOT / "infra" / "aws"
LOCK = application.ROOT / "requirements.txt"
PYLOCK = "pylock.toml"

MOST_TOLD = 20
"""How many faults are printed; what is wrong with one file often is with all."""

MADE = ("deployment.zip", "sam.yaml", "foundation.yaml", "sbom.cdx.json", PYLOCK)


def build(path: Path, target: Target, *, scratch: Path) -> None:
    """Make a package and check it; beside it, `pylock.toml` gets the wheels that it was made of.

    Args:
        path: The zip that is written.
        target: The machine it is for.
        scratch: An empty folder.

    Raises:
        PackagingError: It cannot be made, or would not be whole; then there is no zip.
    """
    content, pylock = scratch / "content", path.with_name(PYLOCK)
    dependencies.resolve(LOCK, target, pylock)
    dependencies.install(LOCK, content, target)
    trimming.trim(content)
    application.copy_into(content)
    found = interpreter.find(target.python)
    if found:
        archive.compile_all(content, found.path)
    archive.write(content, path)
    wheels, magic = dependencies.read(pylock), found.magic if found else None
    if wrong := inspection.faults(Package(path), wheels, target, magic):
        path.rename(path.with_suffix(".refused.zip"))
        more = [f"and {len(wrong) - MOST_TOLD} more"] if len(wrong) > MOST_TOLD else []
        raise PackagingError("\n  ".join(["the package is not whole:", *wrong[:MOST_TOLD], *more]))


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
    if not interpreter.find(target.python):
        yield f"WITHOUT BYTE-CODE: only Python {target.python} makes it, and this machine has none;"
        yield "each cold start will compile everything anew, and take over a second longer"


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
    build(path, target, scratch=scratch)
    made, wheels = Package(path), dependencies.read(out / PYLOCK)
    (out / "sbom.cdx.json").write_text(inventory.describe(made, wheels, now=datetime.now(UTC)))
    template.write(out, target, scratch=scratch, merge=AWS / "app.yaml")
    shutil.copy(AWS / "foundation.yaml", out)
    validate = [sys.executable, "-m", "infra.aws.validate", str(out)]
    verdict = run(validate, folder=application.ROOT)
    return [*describe_in_lines(made, target), verdict.strip()]


@click.command()
@click.option(
    "--architecture",
    type=click.Choice([*MACHINES]),
    default="x86_64",
    show_default=True,
    help="The processor that Lambda runs the function on.",
)
@click.option(
    "--python",
    type=click.Choice(PYTHONS),
    default=DEFAULT_PYTHON,
    show_default=True,
    help="The version of Lambda's Python.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=application.ROOT / "build",
    help="The folder to write to; build, if left out.",
)
def main(architecture: str, python: str, out: Path) -> None:
    """Make deployment.zip, its templates and its bill of materials, or exit with 1."""
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="carryout-") as scratch:
        try:
            target = Target(architecture, python)
            lines = package(out.absolute(), target, scratch=Path(scratch))
        except PackagingError as error:
            sys.exit(str(error))
    click.echo("\n".join([*lines, f"all of it in {out}"]))


if __name__ == "__main__":
    main()

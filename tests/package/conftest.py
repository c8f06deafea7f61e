"""The package that `make package` left, unpacked."""

from pathlib import Path

import pytest

from infra.package.application import ROOT
from infra.package.dependencies import Locked, read_lock
from infra.package.inspection import Package, faults
from infra.package.target import Target
from tests.package.cold_start import PACKAGE
from tests.package.runtime import Image


@pytest.fixture(scope="session")
def target() -> Target:
    """The machine that the tests run on, as Lambda has it."""
    return Target.of_this_python("x86_64")


@pytest.fixture(scope="session")
def locked(target: Target) -> list[Locked]:
    """What requirements.txt demands for that machine."""
    return read_lock((ROOT / "requirements.txt").read_text(), target)


@pytest.fixture(scope="session")
def package(target: Target, locked: list[Locked]) -> Package:
    """The package; it must be of today's application."""
    assert PACKAGE.exists(), "make package comes first"
    found = Package(PACKAGE)
    assert faults(found, locked, target) == [], "make package again"
    return found


@pytest.fixture(scope="session")
def image(package: Package, tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The package where Lambda would run it."""
    assert package
    return Image(PACKAGE, tmp_path_factory.mktemp("image"))


def everything(folder: Path) -> dict[str, int]:
    """Every file under a folder, and when it was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}

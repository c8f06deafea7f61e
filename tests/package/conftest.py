"""The package that `make package` left, unpacked."""

from pathlib import Path

import pytest

from infra.package import dependencies, interpreter
from infra.package.__main__ import PYLOCK
from infra.package.inspection import Package, faults
from infra.package.interpreter import Interpreter
from tests.package.cold_start import PACKAGE
from tests.package.runtime import TARGET, Image


@pytest.fixture(scope="session")
def python() -> Interpreter | None:
    """The runtime's own Python, where this machine has it."""
    return interpreter.find(TARGET.python)


@pytest.fixture(scope="session")
def package(python: Interpreter | None) -> Package:
    """The package; it must be of today's application."""
    assert PACKAGE.exists(), "make package comes first"
    found, wheels = Package(PACKAGE), dependencies.read(PACKAGE.with_name(PYLOCK))
    magic = python.magic if python else None
    assert faults(found, wheels, TARGET, magic) == [], "make package again"
    return found


@pytest.fixture(scope="session")
def image(
    package: Package, python: Interpreter | None, tmp_path_factory: pytest.TempPathFactory
) -> Image:
    """The package where Lambda would run it."""
    assert package
    if not python:
        pytest.skip(f"only Python {TARGET.python} runs the package, and this machine has none")
    return Image(PACKAGE, tmp_path_factory.mktemp("image"), python)


def everything(folder: Path) -> dict[str, int]:
    """Every file under a folder, and when it was last written."""
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}

import ast
import os
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from packaging.tags import parse_tag

from infra.package import application, archive, dependencies, trimming
from infra.package.dependencies import Wheel
from infra.package.inspection import Package, faults
from infra.package.interpreter import HERE
from infra.package.target import Target
from tests.harness.processes import ROOT
from tests.unit.test_architecture import imported, modules

TARGET = Target("x86_64", "{}.{}".format(*sys.version_info[:2]))
PYLOCK = """
lock-version = "1.0"

[[packages]]
name = "here-too"
version = "3.0"

[[packages.wheels]]
url = "https://example.com/here_too-3.0-cp313-cp313-manylinux_2_28_aarch64.whl"
hashes = { sha256 = "d" }

[[packages.wheels]]
url = "https://example.com/here_too-3.0-py3-none-any.whl"
hashes = { sha256 = "e" }
"""


def test_wheels_of_a_lock(tmp_path: Path) -> None:
    """Each wheel is told apart by what it was made for, since a distribution may have two."""
    path = tmp_path / "pylock.toml"
    path.write_text(PYLOCK)
    assert dependencies.read(path) == [
        Wheel("here-too", "3.0", parse_tag("cp313-cp313-manylinux_2_28_aarch64"), "d"),
        Wheel("here-too", "3.0", parse_tag("py3-none-any"), "e"),
    ]


def test_wheels_for_a_machine() -> None:
    """Lambda's machine decides, not the one that packs; it takes no newer glibc than its own."""
    target = Target("arm64")
    assert target.uv_options == (
        *("--python-platform", "aarch64-manylinux_2_34"),
        *("--python-version", "3.13"),
    )
    assert target.platforms[0] == "manylinux_2_34_aarch64"
    assert target.platforms[-2:] == ["manylinux_2_17_aarch64", "manylinux2014_aarch64"]


def test_bytes_do_not_depend_on_time_or_owner(tmp_path: Path) -> None:
    """Two folders with the same files, written otherwise, give the same zip."""
    for folder, names in (("one", "ab"), ("two", "ba")):
        (tmp_path / folder / "deep").mkdir(parents=True)
        for name in names:
            path = tmp_path / folder / "deep" / name
            path.write_text(name)
            os.utime(path, (0, len(folder) + names.index(name)))
            path.chmod(0o600 + names.index(name))
        archive.write(tmp_path / folder, tmp_path / f"{folder}.zip")
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


Change = Callable[[dict[str, bytes]], object]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of a package with one distribution, compiled for Linux on x86-64."""
    folder = tmp_path_factory.mktemp("whole")
    application.copy_into(folder)
    described = folder / "fast-1.0.dist-info"
    described.mkdir()
    (folder / "fast.so").write_bytes(b"\x7fELF".ljust(18, b"\0") + bytes([62, 0]))
    (described / "METADATA").write_text("Metadata-Version: 2.4\nName: Fast\nVersion: 1.0\n")
    (described / "WHEEL").write_text("Wheel-Version: 1.0\nTag: cp311-cp311-manylinux2014_x86_64\n")
    names = ("fast.so", *(f"fast-1.0.dist-info/{name}" for name in ("METADATA", "WHEEL", "RECORD")))
    (described / "RECORD").write_text("".join(f"{name},,\n" for name in names))
    archive.compile_all(folder, HERE.path)
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def zipped(files: dict[str, bytes], path: Path) -> Package:
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return Package(path)


FAST = Wheel("fast", "1.0", frozenset(), "")


def look(package: Package, wheel: Wheel = FAST, target: Target = TARGET) -> list[str]:
    """What is wrong with a package of this Python's byte-code."""
    return faults(package, [wheel], target, HERE.magic)


def test_a_whole_package(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing is wrong with what is as it should be."""
    assert look(zipped(whole, tmp_path / "zip")) == []


def test_a_package_without_byte_code(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Where the runtime's Python was not at hand there is none, and none of another Python."""
    sources = {name: data for name, data in whole.items() if not name.endswith(".pyc")}
    assert faults(zipped(sources, tmp_path / "zip"), [FAST], TARGET, None) == []
    assert "app.py has no byte-code" in look(zipped(sources, tmp_path / "zip"))
    found = faults(zipped(whole, tmp_path / "whole"), [FAST], TARGET, None)
    assert f"__pycache__/app.cpython-{TARGET.cpython}.pyc is of another Python" in found
    foreign = faults(zipped(whole, tmp_path / "whole"), [FAST], TARGET, b"none")
    assert "app.py has no byte-code" in foreign


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        (lambda files: files.pop("fast-1.0.dist-info/METADATA"), "fast 1.0 is missing"),
        (lambda files: files.pop("fast.so"), "fast has lost its compiled part"),
        (lambda files: files.pop("chalicelib/wiring.py"), "chalicelib/wiring.py is missing"),
        (lambda files: files.update({"worker.py": b""}), "worker.py belongs to nothing"),
        (lambda files: files.update({"app.py": b"pass"}), "app.py is not as it came"),
        (
            lambda files: files.update({"fast.so": b"\x7fELF".ljust(18, b"\0") + b"\xb7\0"}),
            "fast.so was compiled for another machine",
        ),
        (
            lambda files: files.pop(f"__pycache__/app.cpython-{TARGET.cpython}.pyc"),
            "app.py has no byte-code",
        ),
        (
            lambda files: files.update({"__pycache__/old.cpython-310.pyc": b""}),
            "__pycache__/old.cpython-310.pyc has no source",
        ),
    ],
)
def test_a_package_that_is_not_whole(
    whole: dict[str, bytes], tmp_path: Path, change: Change, fault: str
) -> None:
    """What is missing, foreign, changed or made for elsewhere is named."""
    files = dict(whole)
    change(files)
    assert fault in look(zipped(files, tmp_path / "zip"))


def test_another_version(whole: dict[str, bytes], tmp_path: Path) -> None:
    """A distribution in another version than the locked one is one too many and one too few."""
    found = look(zipped(whole, tmp_path / "zip"), replace(FAST, version="2.0"))
    assert [one.split(",")[0] for one in found] == ["fast 2.0 is missing", "fast 1.0 is there"]


def test_wheel_of_another_machine(whole: dict[str, bytes], tmp_path: Path) -> None:
    """A wheel that Lambda's machine cannot run is named with what it was made for."""
    found = look(zipped(whole, tmp_path / "zip"), target=Target("arm64", TARGET.python))
    assert "fast was made for manylinux2014_x86_64" in found


def test_nothing_is_cut_that_the_application_names() -> None:
    """The clients that it makes are described, and what it imports has byte-code."""
    paths = [*modules("chalicelib"), ROOT / "app.py"]
    clients = {service for path in paths for service in made_clients(path)}
    assert "s3" in clients
    assert clients <= {*trimming.AWS_SERVICES}
    names = {name.split(".")[0] for path in paths for name in imported(path)}
    assert names & {*archive.UNCOMPILED} == {"dotenv"}  # on a developer's machine only


def made_clients(path: Path) -> set[str]:
    """The AWS services whose clients a module makes."""
    return {
        str(node.args[0].value)
        for node in ast.walk(ast.parse(path.read_bytes()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr in {"client", "resource"}
        and node.args
        and isinstance(node.args[0], ast.Constant)
    }

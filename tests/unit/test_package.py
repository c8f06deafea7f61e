import ast
import os
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from infra.package import application, archive, trimming
from infra.package.dependencies import Locked, read_lock
from infra.package.inspection import Package, faults
from infra.package.target import Target
from tests.unit.test_architecture import ROOT, imported, modules

HERE = Target.of_this_python("x86_64")
LOCK = f"""
everywhere==1.0 \\
    --hash=sha256:{"a" * 64} \\
    --hash=sha256:{"b" * 64}
elsewhere==2.0 ; sys_platform == 'win32' \\
    --hash=sha256:{"c" * 64}
Here.too==3.0 ; implementation_name != 'pypy' and platform_machine == 'aarch64' \\
    --hash=sha256:{"d" * 64}
"""


def test_lock_for_a_machine() -> None:
    """What is installed depends on Lambda's machine, not on the one that packs."""
    everywhere = Locked("everywhere", "1.0", ["a" * 64, "b" * 64])
    assert read_lock(LOCK, Target("3.13", "x86_64")) == [everywhere]
    both = read_lock(LOCK, Target("3.13", "arm64"))
    assert both == [everywhere, Locked("here-too", "3.0", ["d" * 64])]
    assert both[1].line == f"here-too==3.0 --hash=sha256:{'d' * 64}"


def test_wheels_for_a_machine() -> None:
    """Amazon Linux 2 takes no wheel that wants a newer glibc than its own."""
    old, new = Target("3.11", "x86_64").platforms, Target("3.13", "arm64").platforms
    assert (old[0], old[-2:]) == (
        "manylinux_2_26_x86_64",
        ["manylinux_2_17_x86_64", "manylinux2014_x86_64"],
    )
    assert new[0] == "manylinux_2_34_aarch64"


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
    archive.compile_all(folder)
    found = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}


def zipped(files: dict[str, bytes], path: Path) -> Package:
    """A package of these files."""
    with zipfile.ZipFile(path, "w") as made:
        for name, data in files.items():
            made.writestr(name, data)
    return Package(path)


FAST = Locked("fast", "1.0", [])


def test_a_whole_package(whole: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing is wrong with what is as it should be."""
    assert faults(zipped(whole, tmp_path / "zip"), [FAST], HERE) == []


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
            lambda files: files.pop(f"__pycache__/app.cpython-{HERE.cpython}.pyc"),
            "app.py has no byte-code",
        ),
        (
            lambda files: files.update({"__pycache__/old.cpython-311.pyc": b""}),
            "__pycache__/old.cpython-311.pyc has no source",
        ),
    ],
)
def test_a_package_that_is_not_whole(
    whole: dict[str, bytes], tmp_path: Path, change: Change, fault: str
) -> None:
    """What is missing, foreign, changed or made for elsewhere is named."""
    files = dict(whole)
    change(files)
    assert fault in faults(zipped(files, tmp_path / "zip"), [FAST], HERE)


def test_another_version(whole: dict[str, bytes], tmp_path: Path) -> None:
    """A distribution in another version than the locked one is one too many and one too few."""
    found = faults(zipped(whole, tmp_path / "zip"), [replace(FAST, version="2.0")], HERE)
    assert [one.split(",")[0] for one in found] == ["fast 2.0 is missing", "fast 1.0 is there"]


def test_wheel_of_another_machine(whole: dict[str, bytes], tmp_path: Path) -> None:
    """A wheel that Lambda's machine cannot run is named with what it was made for."""
    package = zipped(whole, tmp_path / "zip")
    found = faults(package, [FAST], Target(HERE.python, "arm64"))
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

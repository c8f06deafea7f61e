import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from infra import environments
from infra.environments import UvError, find_uv, make

METADATA = "Metadata-Version: 2.1\nName: small\nVersion: 1.0\n"
PIP_CONFIG = """\
:env:.index-url='https://env.example.com/simple'
:env:.timeout='180'
global.cert='/etc/ssl/ca.pem'
global.index-url='https://file.example.com/simple'
install.trusted-host='one.example.com\\ntwo.example.com'
"""


@pytest.fixture
def lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The lock of one package, which pip and uv find in a folder, and nothing else anywhere."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    wheel = wheels / "small-1.0-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr("small.py", "")
        archive.writestr("small-1.0.dist-info/METADATA", METADATA)
        archive.writestr("small-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
        names = ("METADATA", "WHEEL", "RECORD")
        record = ["small.py,,\n", *(f"small-1.0.dist-info/{name},,\n" for name in names)]
        archive.writestr("small-1.0.dist-info/RECORD", "".join(record))
    for tool in ("PIP", "UV"):
        monkeypatch.setenv(f"{tool}_NO_INDEX", "1")
        monkeypatch.setenv(f"{tool}_FIND_LINKS", str(wheels))
    lock = tmp_path / "lock.txt"
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"small==1.0 --hash=sha256:{digest}\n")
    return lock


@pytest.fixture
def without_uv(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has no uv, and no registry that has one."""
    monkeypatch.setattr(environments, "UV_FOLDER", tmp_path / "uv")
    monkeypatch.setenv("PATH", str(tmp_path))


@pytest.fixture
def uv() -> Path:
    try:
        return find_uv()
    except UvError as error:
        pytest.skip(str(error))


def has_package(folder: Path) -> bool:
    command = [str(folder / "bin" / "python"), "-c", "import small"]
    return subprocess.run(command, capture_output=True, timeout=60, check=False).returncode == 0


def test_with_uv(uv: Path, lock: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It is made once, and anew when the lock has changed or its Python is gone."""
    assert uv.exists()
    folder = tmp_path / "made"
    for disturb in (
        lambda: None,
        lambda: lock.write_text(f"# changed\n{lock.read_text()}"),
        (folder / "bin" / "python").unlink,
    ):
        disturb()
        make(folder, lock)
        assert capfd.readouterr().err == "setting up made\n"
        assert has_package(folder)
        make(folder, lock)
        assert capfd.readouterr().err == ""
    assert "uv = " in (folder / "pyvenv.cfg").read_text()


@pytest.mark.usefixtures("without_uv")
def test_without_uv(lock: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Where uv cannot be had pip does the same, and what is amiss is told."""
    folder = tmp_path / "made"
    make(folder, lock)
    told = capfd.readouterr().err
    assert "uv cannot be had" in told
    assert "pip goes on without uv" in told
    assert has_package(folder)
    make(folder, lock)
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("uv")
def test_a_wheel_that_was_tampered_with(lock: Path, tmp_path: Path) -> None:
    """It is not installed, and what was wrong with it is said."""
    folder = tmp_path / "made"
    lock.write_text(f"{lock.read_text()[:-5]}0000\n")
    with pytest.raises(UvError, match=r"[Hh]ash"):
        environments.make_with_uv(folder, lock)
    assert not has_package(folder)


def test_uv_asks_the_registry_that_pip_asks() -> None:
    """What pip is configured for is told to uv; a variable goes before a file, as with pip."""
    assert environments.translate(PIP_CONFIG) == {
        "SSL_CERT_FILE": "/etc/ssl/ca.pem",
        "UV_DEFAULT_INDEX": "https://env.example.com/simple",
        "UV_INSECURE_HOST": "one.example.com two.example.com",
    }


def test_uv_keeps_its_own_registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where uv has settings of its own, by a variable or a file, pip's are not asked for."""
    for name in environments.UV_REGISTRY_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("PIP_INDEX_URL", "https://pip.example.com")
    assert environments.uv_environ()["UV_DEFAULT_INDEX"] == "https://pip.example.com"
    monkeypatch.setenv("UV_INDEX", "https://uv.example.com")
    assert "UV_DEFAULT_INDEX" not in environments.uv_environ()
    monkeypatch.delenv("UV_INDEX")
    (tmp_path / "uv").mkdir()
    (tmp_path / "uv" / "uv.toml").touch()
    assert "UV_DEFAULT_INDEX" not in environments.uv_environ()

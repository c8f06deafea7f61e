from pathlib import Path

import pytest

from infra.aws import DeploymentError
from infra.aws.image import FILES, SOURCES, check, commands, find_builder, tag
from tests.infra.templates import ROOT


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in (*FILES, "worker/Dockerfile", "worker/runner.py", "chalicelib/db/engine.py"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(name)
    return tmp_path


def test_tag_is_the_content(folder: Path) -> None:
    """Any file that gets into the image changes its name, no other file does."""
    before = tag("arm64", folder)
    assert before.startswith("arm64-")
    (folder / "README.md").touch()
    (folder / "worker" / "runner.pyc").touch()
    assert tag("arm64", folder) == before
    assert tag("x86_64", folder).startswith("x86-64-")
    (folder / "worker" / "Dockerfile").write_text("FROM scratch")
    assert tag("arm64", folder) != before


def test_everything_that_is_copied_counts() -> None:
    """The names are those that the Dockerfile copies."""
    dockerfile = ROOT / "worker" / "Dockerfile"
    copied = {
        source.strip("/")
        for line in dockerfile.read_text().splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    assert copied - {*SOURCES, *FILES} == set()


def test_commands() -> None:
    """Docker builds and pushes at once, buildah in two steps."""
    (command,) = commands("docker", "r/i:1", "arm64")
    assert command[:5] == ["docker", "buildx", "build", "--platform", "linux/arm64"]
    assert command[-4:] == ["--tag", "r/i:1", "--push", "."]
    assert {"--provenance=false", "--sbom=false"} <= set(command)  # one manifest an image
    build, push = commands("buildah", "r/i:1", "x86_64")
    assert build[:4] == ["buildah", "build", "--platform", "linux/amd64"]
    assert push == ["buildah", "push", "r/i:1"]


def test_no_builder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without docker and buildah it is said what is missing."""
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeploymentError, match="buildah"):
        find_builder()


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A folder of programs, the only ones that are found."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    return folder


def install(folder: Path, name: str, script: str = "") -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


BUILDX = """case "$*" in
  "buildx inspect") echo "Platforms: linux/amd64, linux/386%s" ;;
esac"""


@pytest.mark.parametrize(("others", "taken"), [("", False), (", linux/arm64", True)])
def test_docker_of_another_architecture(programs: Path, others: str, *, taken: bool) -> None:
    """Docker says for which machines it can build; for its own it is not asked."""
    install(programs, "docker", BUILDX % others)
    check("x86_64", machine="x86_64")
    if taken:
        check("arm64", machine="x86_64")
    else:
        with pytest.raises(DeploymentError, match=r'exec format error.*architecture = "x86_64"'):
            check("arm64", machine="x86_64")


def test_buildah_of_another_architecture(programs: Path, tmp_path: Path) -> None:
    """Buildah runs what Linux can run."""
    install(programs, "buildah")
    check("arm64", machine="aarch64", binfmt=tmp_path)
    with pytest.raises(DeploymentError, match="exec format error"):
        check("arm64", machine="x86_64", binfmt=tmp_path)
    (tmp_path / "qemu-aarch64").touch()
    check("arm64", machine="x86_64", binfmt=tmp_path)

"""The worker's image: named after what it is made of, built by docker or buildah."""

import hashlib
import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from infra.aws import DeploymentError

ROOT = Path(__file__).parents[2]
SOURCES = ("worker", "chalicelib", "infra/migrations", "infra/servers", "infra/__init__.py")
FILES = ("app.py", "requirements.txt")
PLATFORMS = {"arm64": "linux/arm64", "x86_64": "linux/amd64"}
MACHINES = {"arm64": ("aarch64", "arm64"), "x86_64": ("x86_64", "amd64")}
"""What machines call themselves, by `uname -m`."""

EMULATORS = {"arm64": "qemu-aarch64", "x86_64": "qemu-x86_64"}
"""Under which names Linux is told how to run another machine's programs (binfmt_misc)."""

BINFMT = Path("/proc/sys/fs/binfmt_misc")
TIME_LIMIT_S = 1800


def tag(architecture: str, root: Path = ROOT) -> str:
    """A name that changes with every file that gets into the image, and with nothing else."""
    digest = hashlib.sha256(architecture.encode())
    for path in _files(root):
        digest.update(f"\0{path.relative_to(root).as_posix()}\0".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return f"{architecture.replace('_', '-')}-{digest.hexdigest()[:16]}"


def _files(root: Path) -> Iterator[Path]:
    found = [root / name for name in FILES]
    for name in SOURCES:
        path = root / name
        found += path.rglob("*") if path.is_dir() else [path]
    for path in sorted(found):
        if path.is_file() and path.suffix != ".pyc":
            yield path


def commands(builder: str, image: str, architecture: str) -> list[list[str]]:
    """How a builder makes an image and brings it to its registry."""
    common = ["--platform", PLATFORMS[architecture], "--file", "worker/Dockerfile"]
    if builder == "docker":
        # One manifest an image: with provenance, ECR would count three for each push, and its
        # lifecycle rule keep six images and not twenty.
        plain = ["--provenance=false", "--sbom=false"]
        return [["docker", "buildx", "build", *common, *plain, "--tag", image, "--push", "."]]
    return [["buildah", "build", *common, "--tag", image, "."], ["buildah", "push", image]]


def find_builder() -> str:
    """`docker` where an engine answers, else `buildah`.

    Raises:
        DeploymentError: Neither is there.
    """
    needed = (["docker", "buildx", "version"], ["docker", "info"])
    if shutil.which("docker") and not any(_status(command) for command in needed):
        return "docker"
    if shutil.which("buildah"):
        return "buildah"
    raise DeploymentError("the image needs docker (with buildx and an engine) or buildah")


def check(architecture: str, *, machine: str = "", binfmt: Path = BINFMT) -> None:
    """Find out whether this machine can build for an architecture.

    Args:
        architecture: `arm64` or `x86_64`.
        machine: What this machine is; asked for when empty.
        binfmt: Where Linux shows which other machines' programs it can run.

    Raises:
        DeploymentError: It cannot, or has nothing to build with; the message says what to do.
    """
    builder = find_builder()
    if (machine or platform.machine()).lower() in MACHINES[architecture]:
        return
    if builder == "docker" and PLATFORMS[architecture] in _output(["docker", "buildx", "inspect"]):
        return
    if builder == "buildah" and (binfmt / EMULATORS[architecture]).exists():
        return
    other = next(one for one in MACHINES if one != architecture)
    raise DeploymentError(
        f"this machine cannot run programs for {architecture}, so it cannot build the image"
        f' ("exec format error"): install qemu-user-static, or set architecture = "{other}"'
        " in the stage's file"
    )


def build(image: str, architecture: str, *, user: str, password: str) -> None:
    """Build an image and push it.

    Args:
        image: Where it goes: registry, repository and tag.
        architecture: What it is for.
        user: Who signs in at the registry.
        password: With what.

    Raises:
        DeploymentError: A command failed; what it said was shown.
    """
    builder = find_builder()
    registry = image.partition("/")[0]
    sign_in = [builder, "login", "--username", user, "--password-stdin", registry]
    _run(sign_in, given=password)
    for command in commands(builder, image, architecture):
        _run(command)


def _status(command: Sequence[str]) -> int:
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command, capture_output=True, timeout=60, check=False
    )
    return done.returncode


def _output(command: Sequence[str]) -> str:
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command, capture_output=True, text=True, timeout=60, check=False
    )
    return done.stdout


def _run(command: Sequence[str], *, given: str = "") -> None:
    done = subprocess.run(  # noqa: S603 - our own arguments  # nosec B603
        command, cwd=ROOT, input=given, text=True, timeout=TIME_LIMIT_S, check=False
    )
    if done.returncode:
        raise DeploymentError(f"{' '.join(command[:3])} failed")

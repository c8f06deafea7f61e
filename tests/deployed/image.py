"""The container image without a container engine: buildah builds it, namespaces run it.

The base comes from a registry that not every machine reaches, so Debian's own packages of the same
release and the same Python stand in under its name. What is the project's own is built for real.
"""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.harness.processes import ROOT, output

FOLDER = ROOT / "build" / "image"
TOOLS = {
    "buildah": "buildah",
    "mmdebstrap": "mmdebstrap",
    "unshare": "util-linux",
    "nsenter": "util-linux",
}
"""What it takes, and the Debian package that has it."""

PACKAGES = "python3,python3-venv,ca-certificates"

START = """
root=$1 uid=$2 gid=$3 socket=$4; shift 4
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o nosuid,nodev,mode=1777 tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
if [ -n "$socket" ]; then
  touch "$root/tmp/${socket##*/}"
  mount --bind "$socket" "$root/tmp/${socket##*/}"
fi
exec chroot --userspec="$uid:$gid" "$root" "$@"
"""
"""What an engine does with `--read-only --tmpfs /tmp`; the process goes on as number 1."""


def what_is_missing() -> str:
    """What this machine lacks to build and run an image, and how to get it; empty if nothing."""
    lacking = {package for tool, package in TOOLS.items() if not shutil.which(tool)}
    if lacking:
        return f"apt-get install --no-install-recommends {' '.join(sorted(lacking))}"
    return "" if os.geteuid() == 0 else "run it as root: it mounts what it builds"


class Image:
    """The image that `worker/Dockerfile` describes, in a storage of its own under `build`."""

    def __init__(self) -> None:
        FOLDER.mkdir(parents=True, exist_ok=True)
        dockerfile = ROOT / "worker/Dockerfile"
        found = re.search(
            r"^ARG BASE=(.+-slim-(\w+))@sha256:", dockerfile.read_text(), re.MULTILINE
        )
        assert found, "the base is named with a version, a release and a digest"
        self._base, self._release = found.groups()
        if self._base not in self._buildah("images", "--format", "{{.Name}}:{{.Tag}}"):
            self._make_base()
        self._buildah(
            *("build", "--isolation", "chroot", "--format", "docker", "--pull-never", "--layers"),
            *("--volume", "/etc/ssl/certs:/etc/ssl/certs:ro"),  # a proxy may sign with its own
            *("--build-arg", f"BASE={self._base}", "--tag", "carryout", "--file", str(dockerfile)),
            str(ROOT),
        )
        described = json.loads(self._buildah("inspect", "--type", "image", "carryout"))
        self.configuration: dict[str, Any] = described["Docker"]["config"]

    @contextmanager
    def mounted(self) -> Iterator[Path]:
        """The files of a container that was made of it."""
        container = self._buildah("from", "--pull-never", "carryout").strip()
        try:
            yield Path(self._buildah("mount", container).strip())
        finally:
            self._buildah("rm", container)

    def _make_base(self) -> None:
        archive = FOLDER / f"{self._release}.tar"
        packages = f"--include={PACKAGES}"
        command = ["mmdebstrap", "--quiet", "--variant=minbase", packages, self._release, archive]
        subprocess.run(command, check=True)
        container = self._buildah("from", "scratch").strip()
        self._buildah("add", container, str(archive), "/")
        self._buildah("commit", "--rm", container, self._base)
        archive.unlink()

    @staticmethod
    def _buildah(*arguments: str) -> str:
        storage = f"--root={FOLDER / 'storage'}", f"--runroot={FOLDER / 'run'}"
        return output("buildah", *storage, *arguments, timeout=None)


class Box:
    """Runs commands of an image as its configuration says: its user, its folder, its variables.

    Args:
        configuration: The image's.
        files: Where it is mounted; each process sees it read-only, with a `/tmp` of its own.
        socket: A Unix socket of this machine that is put into that `/tmp`.
    """

    def __init__(self, configuration: Mapping[str, Any], files: Path, *, socket: Path) -> None:
        self._configuration = configuration
        self._files = files
        self._socket = socket
        self.uid, _, self._gid = configuration["User"].partition(":")

    def start(self, settings: Mapping[str, str], command: Sequence[str] = ()) -> list[str]:
        """The command line that runs a command, or the image's own, as process 1."""
        return [
            *("unshare", "--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"),
            *("sh", "-euc", START, "start", str(self._files), self.uid, self._gid),
            *(str(self._socket), *self._inside(settings, command or self._configuration["Cmd"])),
        ]

    def join(
        self, process: psutil.Process, settings: Mapping[str, str], *command: str
    ) -> list[str]:
        """The command line that runs another command beside a running process 1."""
        return [
            *("nsenter", "--target", str(process.pid)),
            *("--mount", "--pid", "--ipc", "--uts", "--root"),
            *("--setuid", self.uid, "--setgid", self._gid, *self._inside(settings, command)),
        ]

    def _inside(self, settings: Mapping[str, str], command: Sequence[str]) -> list[str]:
        variables = [f"{name}={value}" for name, value in settings.items()]
        folder = f"--chdir={self._configuration['WorkingDir']}"
        return ["/usr/bin/env", "-i", folder, *self._configuration["Env"], *variables, *command]


@pytest.fixture(scope="session")
def image() -> Image:
    """The image, built now; fails with what to do where that is not possible."""
    if missing := what_is_missing():
        pytest.fail(f"the image cannot be built here: {missing}", pytrace=False)
    return Image()

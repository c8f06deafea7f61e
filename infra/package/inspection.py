"""What a finished package must and must not hold; read from the zip, not from its making."""

import _imp  # `importlib.util.source_hash`, but for the byte-code of another Python
import csv
import hashlib
import io
import re
import struct
import zipfile
from base64 import urlsafe_b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from email.parser import BytesHeaderParser
from functools import cached_property
from pathlib import Path

from packaging.utils import canonicalize_name

from infra.package import application
from infra.package.archive import UNCOMPILED
from infra.package.dependencies import Wheel
from infra.package.target import ELF_MACHINES, Target

MOST_ZIPPED_BYTES = 26_000_000
MOST_UNPACKED_BYTES = 90_000_000
"""Lambda takes 50 MB and 250 MB; but a cold start waits until the package is fetched."""

ELF = b"\x7fELF"
UNCHECKED_HASH = struct.pack("<L", 0b01)
"""The flags of byte-code that is loaded without a look at its source (PEP 552)."""


@dataclass(frozen=True)
class Distribution:
    """A distribution in the package.

    Attributes:
        name: Its canonical name.
        version: Its version.
        license: In one line, or empty.
        tags: What its wheel was made for, such as `cp311-cp311-manylinux_2_17_x86_64`.
        digests: Its files and their SHA-256 as its `RECORD` writes them; None where it has none.
    """

    name: str
    version: str
    license: str
    tags: Sequence[str]
    digests: dict[str, str | None]


class Package:
    """A package that is read.

    Args:
        path: The zip.
    """

    def __init__(self, path: Path) -> None:
        self.zipped_bytes = path.stat().st_size
        self.sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
        with zipfile.ZipFile(path) as archive:
            self.files = {name: archive.read(name) for name in archive.namelist()}

    @property
    def unpacked_bytes(self) -> int:
        """The size of all files together."""
        return sum(map(len, self.files.values()))

    @cached_property
    def distributions(self) -> list[Distribution]:
        """All distributions, by the folders that describe them."""
        folders = sorted(name[: -len("/METADATA")] for name in self.files if _describes(name))
        return [self._distribution(folder) for folder in folders]

    def _distribution(self, folder: str) -> Distribution:
        metadata = BytesHeaderParser().parsebytes(self.files[f"{folder}/METADATA"])
        wheel = BytesHeaderParser().parsebytes(self.files[f"{folder}/WHEEL"])
        rows = csv.reader(io.StringIO(self.files[f"{folder}/RECORD"].decode()))
        return Distribution(
            name=canonicalize_name(metadata["Name"]),
            version=metadata["Version"],
            license=_one_line(metadata["License-Expression"] or metadata["License"] or ""),
            tags=wheel.get_all("Tag", []),
            digests={name: digest.removeprefix("sha256=") or None for name, digest, _ in rows},
        )


def faults(
    package: Package, wheels: Sequence[Wheel], target: Target, magic: bytes | None
) -> list[str]:
    """Everything that is wrong with a package, as sentences; nothing when it can be deployed.

    Args:
        package: The package.
        wheels: What it should be made of.
        target: The machine that it is for.
        magic: What byte-code begins with there; None where there should be none.
    """
    return [
        *_wrong_sizes(package),
        *_wrong_distributions(package, wheels),
        *_wrong_machine(package, target),
        *_wrong_files(package),
        *_wrong_bytecode(package, target, magic),
    ]


def _describes(name: str) -> bool:
    return re.fullmatch(r"[^/]+\.dist-info/METADATA", name) is not None


def _one_line(text: str) -> str:
    return text if len(text.splitlines()) == 1 else ""


def _wrong_sizes(package: Package) -> Iterator[str]:
    if package.zipped_bytes > MOST_ZIPPED_BYTES:
        yield f"the zip has {package.zipped_bytes:,} bytes, more than {MOST_ZIPPED_BYTES:,}"
    if package.unpacked_bytes > MOST_UNPACKED_BYTES:
        yield f"unpacked it has {package.unpacked_bytes:,} bytes, more than {MOST_UNPACKED_BYTES:,}"


def _wrong_distributions(package: Package, wheels: Sequence[Wheel]) -> Iterator[str]:
    there = {(one.name, one.version) for one in package.distributions}
    wanted = {(one.name, one.version) for one in wheels}
    for name, version in sorted(wanted - there):
        yield f"{name} {version} is missing"
    for name, version in sorted(there - wanted):
        yield f"{name} {version} is there, though requirements.txt does not ask for it"


def _wrong_machine(package: Package, target: Target) -> Iterator[str]:
    for one in package.distributions:
        platforms = {part for tag in one.tags for part in tag.rpartition("-")[2].split(".")}
        if "any" not in platforms and platforms.isdisjoint(target.platforms):
            yield f"{one.name} was made for {', '.join(sorted(platforms))}"
        if "any" not in platforms and not any(_is_elf(package, name) for name in one.digests):
            yield f"{one.name} has lost its compiled part"
    for name, data in package.files.items():
        if data.startswith(ELF) and data[18] != ELF_MACHINES[target.architecture]:
            yield f"{name} was compiled for another machine"
        made_for = re.search(r"\.cpython-(\d+)-(\w+)-linux-gnu\.so$", name)
        if made_for and made_for.groups() != (target.cpython, target.machine):
            yield f"{name} was compiled for another Python"


def _is_elf(package: Package, name: str) -> bool:
    return package.files.get(name, b"").startswith(ELF)


def _wrong_files(package: Package) -> Iterator[str]:
    """Each file is a wheel's as it came, or the application's as it is, or byte-code of either."""
    digests = {name: one for found in package.distributions for name, one in found.digests.items()}
    for own, path in application.files():
        digests[str(own)] = _digest(path.read_bytes())
    for name, data in package.files.items():
        if not name.endswith(".pyc") and name not in digests:
            yield f"{name} belongs to nothing"
        elif digests.get(name) not in (None, _digest(data)):
            yield f"{name} is not as it came"
    for name in sorted(digests.keys() - package.files.keys()):
        yield f"{name} is missing"


def _digest(data: bytes) -> str:
    """A SHA-256 as a `RECORD` has it (PEP 427)."""
    return urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def _wrong_bytecode(package: Package, target: Target, magic: bytes | None) -> Iterator[str]:
    compiled = {name for name in package.files if name.endswith(".pyc")}
    for name, source in package.files.items():
        if magic is None or not name.endswith(".py") or name.split("/")[0] in UNCOMPILED:
            continue
        folder, _, module = name.rpartition("/")
        cache = f"{folder}/__pycache__".lstrip("/")
        bytecode = f"{cache}/{module.removesuffix('.py')}.cpython-{target.cpython}.pyc"
        digest = _imp.source_hash(int.from_bytes(magic, "little"), source)
        head = magic + UNCHECKED_HASH + digest
        if not package.files.get(bytecode, b"").startswith(head):
            yield f"{name} has no byte-code"
        compiled.discard(bytecode)
    wrong = "is of another Python" if magic is None else "has no source"
    yield from (f"{name} {wrong}" for name in sorted(compiled))

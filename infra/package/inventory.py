"""The package's bill of materials (CycloneDX): what the zip holds, each with version and hash."""

import hashlib
import json
import posixpath
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from cyclonedx.factory.license import LicenseFactory
from cyclonedx.model import HashAlgorithm, HashType
from cyclonedx.model.bom import Bom, BomMetaData
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packageurl import PackageURL
from packaging.tags import Tag, parse_tag

from infra.package import PackagingError
from infra.package.dependencies import Wheel
from infra.package.inspection import Distribution, Package


def describe(package: Package, wheels: Sequence[Wheel], *, now: datetime) -> str:
    """The bill of materials as JSON.

    Args:
        package: What it describes.
        wheels: Those that it was made of, among others of the same versions.
        now: The time.

    Raises:
        PackagingError: It is not valid by CycloneDX's own schema.
    """
    digests = {(one.name, one.tags): one.sha256 for one in wheels}
    bom = Bom(
        serial_number=uuid5(NAMESPACE_URL, package.sha256),
        metadata=BomMetaData(timestamp=now, component=_whole(package)),
        components=[
            _component(one, package, digests[one.name, _tags(one)]) for one in package.distributions
        ],
    )
    bom.register_dependency(_root(bom), bom.components)
    text = JsonV1Dot6(bom).output_as_string(indent=2)
    if error := JsonStrictValidator(SchemaVersion.V1_6).validate_str(text):
        raise PackagingError(f"the bill of materials is not valid: {error}")
    return text


def _tags(one: Distribution) -> frozenset[Tag]:
    return frozenset(tag for line in one.tags for tag in parse_tag(line))


def _root(bom: Bom) -> Component:
    assert bom.metadata.component  # noqa: S101 - given above  # nosec B101
    return bom.metadata.component


def _whole(package: Package) -> Component:
    return Component(
        name="carryout",
        type=ComponentType.APPLICATION,
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
    )


def _component(one: Distribution, package: Package, sha256: str) -> Component:
    return Component(
        name=one.name,
        version=one.version,
        purl=PackageURL("pypi", None, one.name, one.version),
        bom_ref=f"{one.name}=={one.version}",
        licenses=[LicenseFactory().make_from_string(one.license)] if one.license else (),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=sha256)],
        components=[*_libraries(one, package), *_built_in(one, package)],
    )


def _libraries(one: Distribution, package: Package) -> Iterator[Component]:
    """The shared libraries that a wheel brings along, as files."""
    for name in one.digests:
        if posixpath.dirname(name).endswith(".libs"):
            digest = hashlib.sha256(package.files[name]).hexdigest()
            yield Component(
                name=name,
                type=ComponentType.FILE,
                bom_ref=name,
                hashes=[HashType(alg=HashAlgorithm.SHA_256, content=digest)],
            )


def _built_in(one: Distribution, package: Package) -> Iterator[Component]:
    """What went into a wheel's compiled parts, as its own bill of materials tells (PEP 770)."""
    for name in one.digests:
        if "/sboms/" in name:
            for part in json.loads(package.files[name]).get("components", []):
                if part.get("scope") != "excluded" and not part["purl"].startswith("pkg:pypi/"):
                    yield _part(part, of=one)


def _part(part: dict[str, Any], *, of: Distribution) -> Component:
    return Component(
        name=part["name"],
        version=part["version"],
        purl=PackageURL.from_string(part["purl"]),
        bom_ref=f"{of.name}: {part['bom-ref']}",
        hashes=[
            HashType(alg=HashAlgorithm(one["alg"]), content=one["content"])
            for one in part.get("hashes", [])
        ],
    )

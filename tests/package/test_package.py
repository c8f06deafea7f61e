import json
import re
import sys
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from infra.package import PackagingError, template
from infra.package.__main__ import LOCK, build
from infra.package.application import ROOT
from infra.package.inspection import ELF, Package
from tests.harness.processes import output
from tests.package import cold_start
from tests.package.cold_start import PACKAGE
from tests.package.runtime import TARGET, Image

pytestmark = pytest.mark.package

LANGUAGES = """
from datetime import UTC, datetime
from chalicelib.values.languages import LANGUAGES, language_for
for code in LANGUAGES:
    one = language_for(code)
    print(one.number(1234567.8), one.percent(45))
    print(one.time(datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)))
    print(one.short_time(datetime(2026, 12, 31, 15, 4, tzinfo=UTC)))
    print([one.size(size) for size in (0, 1, 512, 3_400_000, 5_000_000_000)])
    print([one.duration(seconds) for seconds in (1, 45, 120, 7200, 200_000, 5_000_000)])
"""
ADDRESSES = """
import boto3
for region in ("us-east-1", "eu-central-1", "ap-northeast-2", "us-gov-west-1", "cn-north-1"):
    for service in ("s3", "sts"):
        print(region, boto3.client(service, region_name=region).meta.endpoint_url)
"""


def test_nothing_of_the_worker_or_of_development(package: Package) -> None:
    """The application's part is app.py and chalicelib, and nothing else of this repository."""
    tops = {name.split("/")[0] for name in package.files}
    assert {"app.py", "chalicelib"} <= tops
    assert tops.isdisjoint({"worker", "infra", "tests", "bin", ".chalice", "pytest", "moto"})
    assert [name for name in package.files if name.endswith((".po", ".env"))] == []


@pytest.mark.timeout(600)  # it packs everything once more
def test_the_same_bytes_again(package: Package, tmp_path: Path) -> None:
    """Packed again from the wheels on, elsewhere, the package is the same byte for byte."""
    scratch = tmp_path / "somewhere" / "else"
    scratch.mkdir(parents=True)
    build(tmp_path / "again.zip", TARGET, scratch=scratch)
    assert Package(tmp_path / "again.zip").sha256 == package.sha256


def test_bill_of_materials(package: Package) -> None:
    """It is valid, and lists what the zip holds: each distribution with a locked hash."""
    text = (PACKAGE.parent / "sbom.cdx.json").read_text()
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    bom = json.loads(text)
    assert bom["metadata"]["component"]["hashes"] == [{"alg": "SHA-256", "content": package.sha256}]
    listed = {(one["name"], one["version"]): one for one in bom["components"]}
    assert set(listed) == {(one.name, one.version) for one in package.distributions}
    locked = dict(re.findall(r"^(\S+==\S+)(.*\n(?: .*\n)+)", LOCK.read_text(), re.MULTILINE))
    for (name, version), one in listed.items():
        (wheel,) = one["hashes"]
        assert f"--hash=sha256:{wheel['content']}" in locked[f"{name}=={version}"]
    libraries = {part["name"] for one in bom["components"] for part in one.get("components", ())}
    brought = {
        name for name, data in package.files.items() if ".libs/" in name and data.startswith(ELF)
    }
    assert brought <= libraries


def test_only_the_package_is_seen(image: Image) -> None:
    """Nothing comes from this machine's environment: only Python itself does."""
    paths = image.run("import sys; print('\\\\n'.join(sys.path[1:]))").splitlines()
    assert not any("site-packages" in path or "dist-packages" in path for path in paths)
    assert str(ROOT) not in paths
    places = image.run("import app, chalicelib, sqlalchemy as s; print(app.__file__, s.__file__)")
    assert all(place.startswith(str(image.task_root)) for place in places.split())


@pytest.mark.parametrize("script", [LANGUAGES, ADDRESSES])
def test_what_is_left_does_the_same(image: Image, script: str) -> None:
    """What was cut changes no number, no time and no endpoint in what stayed."""
    whole = output(sys.executable, "-c", script)
    assert whole
    assert image.run(script) == whole


def test_a_function_without_a_role(tmp_path: Path) -> None:
    """Chalice is told of no role, so that a template that gives none is refused."""
    merge = tmp_path / "app.yaml"
    role = "Properties: {Role: !GetAtt Role.Arn}"
    merge.write_text(f"Resources: {{APIHandler: {{{role}}}}}")
    with pytest.raises(PackagingError, match="without a Role"):
        template.write(tmp_path, TARGET, scratch=tmp_path / "one", merge=merge)
    merge.write_text(f"Resources: {{APIHandler: {{{role}}}, Sweep: {{{role}}}}}")
    text = template.write(tmp_path, TARGET, scratch=tmp_path / "two", merge=merge).read_text()
    assert text.count(f"Runtime: {TARGET.runtime}") == 2
    assert text.count("CodeUri: ./deployment.zip") == 2


def test_cold_start(image: Image, tmp_path: Path) -> None:
    """The handler's import takes little longer than that of its libraries: once in three times."""
    for _ in range(3):  # a machine has moods, which no import has
        measured = cold_start.measure(image, log=tmp_path / "log", rounds=7)
        if measured.times <= cold_start.MOST_TIMES:
            return
    pytest.fail(str(measured))

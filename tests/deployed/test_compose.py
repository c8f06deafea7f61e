"""`compose.yaml`: what it says fits the application, and its commands tell the story."""

import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from chalicelib.settings import Settings
from infra.local.plan import KNOWN
from infra.local.stack import free_port
from tests.deployed.conftest import Installation, Started
from tests.e2e.conftest import ROOT
from tests.harness.servers import wait_until
from tests.harness.story import from_request_to_mail

COMPOSE = ROOT / "infra/servers/compose.yaml"
OWN = ("migrate", "api", "worker")


def services(given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services, with `${NAME:-default}` replaced as compose does."""
    text = re.sub(
        r"\$\{(\w+):?-([^}]*)\}", lambda found: given.get(found[1]) or found[2], COMPOSE.read_text()
    )
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def test_settings_are_those_of_the_application() -> None:
    """Each process gets all that is required, and nothing that no setting is called."""
    for name in OWN:
        environment = services({})[name]["environment"]
        assert all(isinstance(value, str) for value in environment.values())
        assert {key for key in environment if not key.startswith("AWS_")} <= KNOWN
        assert Settings.from_mapping(environment).verify_email is False


@pytest.mark.parametrize("name", services({}))
def test_services_are_hardened(name: str) -> None:
    """Nothing may write to its own files, become root, or go without a health check."""
    service = services({})[name]
    assert service["read_only"]
    assert service["cap_drop"] == ["ALL"]
    assert "no-new-privileges:true" in service["security_opt"]
    assert service.get("user") != "root"
    if "build" in service:  # the image's own user and, for a worker, its own check
        dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
        assert re.search(r"^USER \d{5,}:\d{5,}$", dockerfile, re.MULTILINE)
        assert (COMPOSE.parent / service["build"]["context"]).resolve() == ROOT
        assert "healthcheck" in service or "\nHEALTHCHECK " in dockerfile
    else:
        assert re.fullmatch(r"[\w/]+:\d+\.\d+(\.\d+)?-\w+", service["image"])
        assert service["healthcheck"]
    assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))


def test_docker_compose_takes_it() -> None:
    """Where compose is, it finds no fault."""
    compose = ["docker", "compose"]
    if (
        not shutil.which("docker")
        or subprocess.run([*compose, "version"], capture_output=True, check=False).returncode
    ):
        pytest.skip("docker compose is not here")
    done = subprocess.run(
        [*compose, "-f", COMPOSE, "config", "--quiet"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_images_are_built_on_one_base() -> None:
    """Both Dockerfiles start from the same image, named by version and digest."""
    files = [ROOT / "worker/Dockerfile", COMPOSE.with_name("emulator.Dockerfile")]
    bases = {re.search(r"^ARG BASE=(.+)$", file.read_text(), re.MULTILINE)[1] for file in files}  # type: ignore[index]
    (base,) = bases
    assert re.fullmatch(r"docker\.io/library/python:3\.13\.\d+-slim-\w+@sha256:[0-9a-f]{64}", base)


@pytest.mark.parametrize("file", ["worker/Dockerfile", "infra/servers/emulator.Dockerfile"])
def test_hadolint(file: str) -> None:
    """Hadolint finds nothing, and no finding is switched off."""
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, ROOT / file], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint" not in (ROOT / file).read_text()


@pytest.mark.servers
def test_commands(installation: Installation, tmp_path: Path) -> None:
    """The services' commands and variables run the story, on the tests' database and queue."""
    ports = {"5000": str(free_port()), "8025": str(free_port()), "8000": str(installation.port)}
    there = ports | {"/data": str(tmp_path / "data"), "0.0.0.0": "127.0.0.1"}
    found = services({"AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['5000']}"})
    found["worker"]["command"] = ["python", "-m", "worker", "run"]  # the image's
    joint = {key: installation.settings[key] for key in ("DATABASE_URL", "REDIS_URL")}
    installation.mail_dir = tmp_path / "data" / "mail"
    with ExitStack() as running:

        def start(name: str) -> Started:
            installation.settings = found[name]["environment"] | joint
            command = [there.get(word, word) for word in found[name]["command"]]
            return running.enter_context(installation.process(*command))

        aws = start("aws")
        wait_until(lambda: "mails at" in aws.output, "S3 and SES")
        migrate = start("migrate")
        assert migrate.wait() == 0, migrate.output
        api, worker = start("api"), start("worker")
        installation.wait_until_ready(api)
        from_request_to_mail(installation, tmp_path / "posts.json")
        for started in (api, worker, aws):
            assert started.stop() == 0, started.output

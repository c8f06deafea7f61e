"""`compose.yaml`: what it says fits the application, and its commands tell the story."""

import re
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import yaml
from dotenv import dotenv_values

from chalicelib.settings import Settings
from infra.local.plan import KNOWN
from infra.local.stack import free_port
from tests.deployed.conftest import Deployed, Started
from tests.harness.processes import BIN, ROOT, run
from tests.harness.story import from_request_to_email
from tests.harness.waiting import wait_until

COMPOSE = ROOT / "infra/servers/compose.yaml"
OWN = ("migrate", "api", "worker")
DEMO = {key: value or "" for key, value in dotenv_values(COMPOSE.with_name("demo.env")).items()}
REAL = {key: value for key, value in DEMO.items() if key not in {"VERIFY_EMAIL", "LIMITS"}}


def services(given: Mapping[str, str]) -> dict[str, dict[str, Any]]:
    """The services, with variables replaced as compose does.

    Raises:
        KeyError: One that has no default is not given.
    """

    def value(found: re.Match[str]) -> str:
        name, operator, rest = found.groups()
        if (operator or "").endswith("-"):
            return given.get(name) or str(rest)
        return given[name]

    text = re.sub(r"\$\{(\w+)(?:(:?[-?])([^}]*))?\}", value, COMPOSE.read_text())
    found: dict[str, dict[str, Any]] = yaml.safe_load(text)["services"]
    return found


def test_settings_are_those_of_the_application() -> None:
    """Each process gets all that is required, and nothing that no setting is called."""
    for given, protected in ((DEMO, False), (REAL, True)):
        for name in OWN:
            environment = services(given)[name]["environment"]
            assert all(isinstance(value, str) for value in environment.values())
            own = {"APPLICATION_DATABASE_URL"} if name == "migrate" else set()
            assert {key for key in environment if not key.startswith("AWS_")} <= KNOWN | own
            settings = Settings.from_mapping(environment)
            assert (settings.verify_email, settings.limits) == (protected, protected)


@pytest.mark.parametrize("name", sorted(REAL.keys() - {"COMPOSE_PROFILES", "AWS_ENDPOINT_URL"}))
def test_nothing_has_a_default_that_people_would_keep(name: str) -> None:
    """Without a password, credentials or an address of one's own compose refuses to start."""
    with pytest.raises(KeyError):
        services({key: value for key, value in REAL.items() if key != name})


def test_the_emulator_is_for_the_demo() -> None:
    """Without the demo's profile there is no emulator, and nothing waits for one."""
    found = services(REAL)
    assert [name for name, one in found.items() if one.get("profiles")] == ["aws"]
    assert found["aws"]["profiles"] == [DEMO["COMPOSE_PROFILES"]]
    waits = [
        one["depends_on"]["aws"] for one in found.values() if "aws" in one.get("depends_on", {})
    ]
    assert [one["required"] for one in waits] == [False]
    assert (
        services({**REAL, "AWS_ENDPOINT_URL": ""})["api"]["environment"]["AWS_ENDPOINT_URL"] == ""
    )


def test_only_the_migration_is_the_owner() -> None:
    """What runs every day signs in as a role that can change rows, and nothing else."""
    users = {
        name: sa.make_url(services(DEMO)[name]["environment"]["DATABASE_URL"]).username
        for name in OWN
    }
    assert users == {"migrate": "carryout", "api": "carryout_app", "worker": "carryout_app"}


@pytest.mark.parametrize("name", services(DEMO))
def test_services_are_hardened(name: str) -> None:
    """Nothing may write to its own files, become root, or go without a health check."""
    service = services(DEMO)[name]
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
    if not shutil.which("docker") or run(*compose, "version").returncode:
        pytest.skip("docker compose is not here")
    demo: list[str | Path] = ["--env-file", COMPOSE.with_name("demo.env"), "-f", COMPOSE]
    done = run(*compose, *demo, "config", "--quiet")
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
    done = run(BIN / "hadolint", ROOT / file)
    assert (done.returncode, done.stdout) == (0, "")
    assert "hadolint" not in (ROOT / file).read_text()


@pytest.mark.servers
def test_commands(installation: Deployed, tmp_path: Path) -> None:
    """The services' commands and variables run the story, on the tests' database and queue."""
    ports = {"5000": str(free_port()), "8025": str(free_port()), "8000": str(installation.port)}
    there = ports | {"/data": str(tmp_path / "data"), "0.0.0.0": "127.0.0.1"}
    found = services({**DEMO, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{ports['5000']}"})
    found["worker"]["command"] = ["python", "-m", "worker", "run"]  # the image's
    owner = sa.make_url(installation.settings["DATABASE_URL"])
    redis_url = installation.settings["REDIS_URL"]

    def placed(environment: dict[str, str]) -> dict[str, str]:
        urls = {
            key: sa.make_url(value)
            for key, value in environment.items()
            if key.endswith("DATABASE_URL")
        }
        moved = {
            key: (
                owner
                if url.username == "carryout"
                else owner.set(username=url.username, password=url.password)
            ).render_as_string(hide_password=False)
            for key, url in urls.items()
        }
        return {**environment, **moved, "REDIS_URL": redis_url}

    installation.mail_dir = tmp_path / "data" / "mail"
    with ExitStack() as running:

        def start(name: str) -> Started:
            installation.settings = placed(found[name]["environment"])
            command = [there.get(word, word) for word in found[name]["command"]]
            return running.enter_context(installation.process(*command))

        aws = start("aws")
        wait_until(lambda: "emails at" in aws.output, "S3 and SES")
        migrate = start("migrate")
        assert migrate.wait() == 0, migrate.output
        api, worker = start("api"), start("worker")
        installation.wait_until_ready(api)
        from_request_to_email(installation, tmp_path / "posts.json")
        for started in (api, worker, aws):
            assert started.stop() == 0, started.output

"""The container image: built as described, run as an engine would, doing a real export."""

import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import psutil
import pytest
import sqlalchemy as sa

from tests.deployed.conftest import Deployed, Started
from tests.deployed.image import Box, Image, image
from tests.harness.processes import output, run
from tests.harness.story import from_request_to_email
from tests.harness.waiting import wait_until

__all__ = ["image"]

pytestmark = [pytest.mark.image, pytest.mark.timeout(900)]


@pytest.fixture
def socket(installation: Deployed) -> Path:
    """PostgreSQL's socket, which the settings name as a container sees it."""
    url = sa.make_url(installation.settings["DATABASE_URL"])
    folder = str(url.query["host"])
    inside = url.update_query_dict({"host": "/tmp"})
    installation.settings["DATABASE_URL"] = inside.render_as_string(hide_password=False)
    return Path(folder) / ".s.PGSQL.5432"


@pytest.fixture
def box(image: Image, socket: Path) -> Iterator[Box]:
    with image.mounted() as files:
        yield Box(image.configuration, files, socket=socket)


def first(started: Started) -> psutil.Process:
    """The process that is number 1 inside."""
    wait_until(started.process.children, "it has started")
    (child,) = started.process.children()
    return child


def test_configuration(image: Image) -> None:
    """Not root, signals straight to Python, a health check, nothing to compile with."""
    configuration = image.configuration
    assert min(map(int, configuration["User"].split(":"))) >= 10_000
    assert configuration["Cmd"] == ["python", "-m", "worker", "run"]
    assert configuration["Healthcheck"]["Test"] == ["CMD", "python", "-S", "-m", "worker.alive"]
    with image.mounted() as files:
        found = {
            path.name for folder in ("usr/bin", "venv/bin") for path in (files / folder).iterdir()
        }
        assert found.isdisjoint({"cc", "gcc", "g++", "clang", "ld", "make"})
        assert not list((files / "app").rglob("tests"))


def test_story(installation: Deployed, box: Box, tmp_path: Path) -> None:
    """Migrations, API and worker each run in a container; the worker stops when it is told to."""
    settings = installation.settings
    serve = ["python", "-m", "infra.servers.serve", "--port", str(installation.port)]
    migrate = ["python", "-m", "worker", "migrate"]
    with installation.process(*box.start(settings, migrate)) as migration:
        assert migration.wait() == 0, migration.output
    with (
        installation.process(*box.start(settings, serve)) as api,
        installation.process(*box.start(settings)) as worker,
    ):
        installation.wait_until_ready(api)
        inside = first(worker)
        assert set(inside.uids()) == {int(box.uid)}

        join = partial(box.join, inside, settings)
        assert output(*join("cat", "/proc/1/comm")) == "python\n"
        assert output(*join("python", "-m", "worker", "health")) == "alive\n"
        assert run(*join("python", "-S", "-m", "worker.alive")).returncode == 0
        assert "Read-only file system" in run(*join("touch", "/app/new")).stderr
        from_request_to_email(installation, tmp_path / "posts.json")
        zombies = [child for child in inside.children() if child.status() == psutil.STATUS_ZOMBIE]
        assert zombies == []
        for container in (worker, api):
            first(container).send_signal(signal.SIGTERM)
            assert container.wait() == 0, container.output

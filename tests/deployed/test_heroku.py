"""Heroku: the Procfile under honcho, with addresses in the form that Heroku gives them."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.exceptions import RedisError

from chalicelib.adapters.job_queue import api_client
from tests.deployed.conftest import Deployed
from tests.deployed.tls import terminated
from tests.harness.processes import BIN, ROOT, output
from tests.harness.story import from_request_to_email

PROFILE = ROOT / "infra/servers/heroku/profile"


@pytest.fixture
def rediss_url(redis_url: str, valkey_port: int, tmp_path: Path) -> Iterator[str]:
    """Valkey behind a certificate that nobody vouches for."""
    assert str(valkey_port) in redis_url
    with terminated(valkey_port, folder=tmp_path) as port:
        yield f"rediss://:@127.0.0.1:{port}"


def profiled(redis_url: str) -> str:
    script = f'. {PROFILE}; printf %s "$REDIS_URL"'
    return output("sh", "-euc", script, env={"REDIS_URL": redis_url})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("redis://h:1", "redis://h:1"),
        ("rediss://:p@h:1", "rediss://:p@h:1?ssl_cert_reqs=none"),
        ("rediss://h:1?ssl_ca_certs=ca.pem", "rediss://h:1?ssl_ca_certs=ca.pem"),
    ],
)
def test_profile_changes_only_what_heroku_gives(given: str, expected: str) -> None:
    """Whoever says how to check the certificate is left alone, and so is a URL without TLS."""
    assert profiled(given) == expected


def test_self_signed_certificate_needs_the_profile(rediss_url: str) -> None:
    """Nobody's certificate is believed unasked; with the profile's words it is."""
    with api_client(rediss_url) as redis, pytest.raises(RedisError):
        redis.ping()
    with api_client(profiled(rediss_url)) as redis:
        assert redis.ping()


@pytest.mark.servers
def test_honcho(installation: Deployed, rediss_url: str, tmp_path: Path) -> None:
    """The Procfile releases, serves and works, and stops cleanly."""
    installation.settings |= {
        "REDIS_URL": rediss_url,
        "DATABASE_URL": installation.settings["DATABASE_URL"].replace(
            "postgresql+psycopg", "postgres"
        ),
    }
    start = f". {PROFILE}; exec {BIN / 'honcho'} --env /dev/null start"
    port = {"PORT": str(installation.port)}
    with installation.process("sh", "-euc", f"{start} release") as release:
        assert release.wait() == 0, release.output
    with installation.process("sh", "-euc", f"{start} web worker", variables=port) as honcho:
        installation.wait_until_ready(honcho)
        from_request_to_email(installation, tmp_path / "posts.json")
        assert honcho.stop() == 143, honcho.output  # what honcho answers to SIGTERM
    for name in ("web.1", "worker.1"):
        assert f"{name} stopped (rc=0)" in honcho.output, honcho.output

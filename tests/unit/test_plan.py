from pathlib import Path

import pytest
from sqlalchemy import make_url

from chalicelib.settings import Settings
from infra.local.plan import Addresses, fill_in, given

DATA_DIR = Path("/data")
EMBEDDED = Addresses("http://127.0.0.1:8000", "redis://127.0.0.1:1/0", "http://127.0.0.1:2")
NOT_EMBEDDED = Addresses("http://127.0.0.1:8000", None, None)


def test_environment_wins_over_dotenv() -> None:
    """What is nearer to the command wins; what is none of ours stays out; empty is none."""
    chosen = given(
        {"QUEUE_NAME": "a", "HOME": "/root", "AWS_REGION": "eu-west-1", "LIMITS": ""},
        {"QUEUE_NAME": "b", "LIMITS": "on", "EXPORT_BUCKET": "", "MAIL_SENDER": None, "MINE": "x"},
    )
    assert chosen == {"QUEUE_NAME": "a", "AWS_REGION": "eu-west-1", "LIMITS": "on", "MINE": "x"}


def test_defaults_make_valid_settings() -> None:
    """With nothing given, every setting that has to be there is there."""
    env = fill_in({}, data_dir=DATA_DIR, addresses=EMBEDDED)
    settings = Settings.from_mapping(env)

    assert settings.database_url == "sqlite:////data/carryout.db"
    assert settings.redis_url == "redis://127.0.0.1:1/0"
    assert settings.aws_endpoint_url == "http://127.0.0.1:2"
    assert settings.public_url == "http://127.0.0.1:8000"
    assert (settings.verify_email, settings.limits, settings.log_format) == (False, False, "text")
    assert env["AWS_ACCESS_KEY_ID"] == env["AWS_SECRET_ACCESS_KEY"] == "testing"
    assert env["AWS_DEFAULT_REGION"] == "us-east-1"


def test_what_is_given_stays() -> None:
    """No default overrides a choice, and made-up credentials never go to a real endpoint."""
    chosen = {
        "DATABASE_URL": "postgresql+psycopg://host/name",
        "REDIS_URL": "redis://elsewhere/0",
        "AWS_ENDPOINT_URL": "http://elsewhere",
        "VERIFY_EMAIL": "on",
        "PUBLIC_URL": "https://carryout.example.com",
    }
    env = fill_in(chosen, data_dir=DATA_DIR, addresses=NOT_EMBEDDED)

    assert {name: env[name] for name in chosen} == chosen
    assert "AWS_ACCESS_KEY_ID" not in env


def test_given_credentials_stay_together() -> None:
    """A given key is not paired with a made-up secret."""
    env = fill_in({"AWS_ACCESS_KEY_ID": "mine"}, data_dir=DATA_DIR, addresses=EMBEDDED)
    assert "AWS_SECRET_ACCESS_KEY" not in env


def test_profile_is_for_real_endpoints() -> None:
    """A profile that a machine does not have must not stop clients of the emulator."""
    chosen = {"AWS_PROFILE": "work", "AWS_DEFAULT_PROFILE": "work"}
    env = fill_in(chosen, data_dir=DATA_DIR, addresses=EMBEDDED)
    assert env.keys().isdisjoint(chosen)
    env = fill_in(chosen, data_dir=DATA_DIR, addresses=NOT_EMBEDDED)
    assert env["AWS_PROFILE"] == "work"


@pytest.mark.parametrize(
    ("around", "expected"),
    [
        ({}, "127.0.0.1,localhost"),
        ({"NO_PROXY": "a.example"}, "a.example,127.0.0.1,localhost"),
        ({"NO_PROXY": "a.example", "no_proxy": "b.example"}, "b.example,127.0.0.1,localhost"),
        ({"no_proxy": "*"}, "*"),
    ],
)
def test_no_proxy_stands_before_the_stack(around: dict[str, str], expected: str) -> None:
    """Where a proxy leads to the world, the embedded parts are still reached without it."""
    env = fill_in(given(around, {}), data_dir=DATA_DIR, addresses=EMBEDDED)
    assert env["no_proxy"] == env["NO_PROXY"] == expected


def test_database_path_is_absolute() -> None:
    """A relative SQLite path names the same file from any folder."""
    env = fill_in({"DATABASE_URL": "sqlite:///x.db"}, data_dir=DATA_DIR, addresses=EMBEDDED)
    assert env["DATABASE_URL"] == f"sqlite:///{Path.cwd() / 'x.db'}"


def test_any_folder_will_do() -> None:
    """What has a meaning in URLs has none in the name of a folder."""
    env = fill_in({}, data_dir=Path("/my 100% #1?/%41"), addresses=EMBEDDED)
    assert make_url(env["DATABASE_URL"]).database == "/my 100% #1?/%41/carryout.db"
    again = fill_in(env, data_dir=DATA_DIR, addresses=EMBEDDED)
    assert again["DATABASE_URL"] == env["DATABASE_URL"]

"""Which settings the stack's children get: what is given, and defaults for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from sqlalchemy import URL, make_url

from chalicelib.settings import DEFAULT_QUEUE, Settings

KNOWN = frozenset(field.name.upper() for field in fields(Settings))

DEFAULTS = {
    "EXPORT_BUCKET": "carryout-exports",
    "MAIL_SENDER": "Carryout <carryout@example.com>",
    "QUEUE_NAME": DEFAULT_QUEUE,
    "LOG_FORMAT": "text",
    "LOG_EXCEPTIONS": "on",
    "WEBHOOK_PRIVATE": "on",
    "VERIFY_EMAIL": "off",
    "LIMITS": "off",
    "DEMO": "on",
    "AWS_DEFAULT_REGION": "us-east-1",
}

LOG = "carryout.log"
"""What the log is called in the stack's folder."""

EMULATOR_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}

PROFILES = {"AWS_PROFILE", "AWS_DEFAULT_PROFILE"}
"""Of no use to the emulator; a client with one that the machine does not have does not start."""

NO_PROXY = ("no_proxy", "NO_PROXY")
"""Clients that obey HTTP_PROXY look at both, at the first one first."""


@dataclass(frozen=True)
class Addresses:
    """Where the embedded parts are; one that was not started is None."""

    app_url: str
    redis_url: str | None
    aws_endpoint_url: str | None


def given(environment: Mapping[str, str], dotenv: Mapping[str, str | None]) -> dict[str, str]:
    """What somebody chose: the environment wins over `.env`, and an empty value is none."""
    known = {
        name: value
        for name, value in environment.items()
        if name in KNOWN or name in NO_PROXY or name.startswith("AWS_")
    }
    return {name: value for part in (dotenv, known) for name, value in part.items() if value}


def fill_in(chosen: Mapping[str, str], *, data_dir: Path, addresses: Addresses) -> dict[str, str]:
    """Every variable that a process needs to join the stack.

    Args:
        chosen: What `given` returned; nothing here overrides it, but what a proxy stands before.
        data_dir: An absolute path; the database is there unless one was given.
        addresses: The embedded parts, started only where `chosen` names no other.
    """
    env = {
        "DATABASE_URL": _render(URL.create("sqlite", database=str(data_dir / "carryout.db"))),
        "PUBLIC_URL": addresses.app_url,
        "LOG_FILE": str(data_dir / LOG),
        **DEFAULTS,
    }
    if addresses.redis_url:
        env["REDIS_URL"] = addresses.redis_url
    if addresses.aws_endpoint_url:
        env["AWS_ENDPOINT_URL"] = addresses.aws_endpoint_url
        if "AWS_ACCESS_KEY_ID" not in chosen:
            env |= EMULATOR_CREDENTIALS
    env |= chosen
    if addresses.aws_endpoint_url:
        for name in PROFILES:
            env.pop(name, None)
    hosts = next((chosen[name] for name in NO_PROXY if name in chosen), "")
    env |= dict.fromkeys(NO_PROXY, _and_this_machine(hosts))
    env["DATABASE_URL"] = _absolute(env["DATABASE_URL"])
    return env


def _and_this_machine(hosts: str) -> str:
    return hosts if hosts == "*" else ",".join(filter(None, (hosts, "127.0.0.1", "localhost")))


def _absolute(database_url: str) -> str:
    """The same database from any folder."""
    if not database_url.startswith("sqlite:///"):
        return database_url
    url = make_url(database_url)
    if not url.database or url.database.startswith((":", "file:")):
        return database_url
    return _render(url.set(database=str(Path(url.database).absolute())))


def _render(url: URL) -> str:
    """A URL as text, in which `?`, `#` and `%` of a path are escaped."""
    return url.render_as_string(hide_password=False)

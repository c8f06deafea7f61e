import re
from dataclasses import MISSING, fields
from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from chalicelib.errors import SettingsError
from chalicelib.settings import Settings

ROOT = Path(__file__).parents[2]
REQUIRED = {
    "DATABASE_URL": "postgresql+psycopg://carryout:hunter2@db/carryout",
    "REDIS_URL": "rediss://:hunter2@queue:6379/0",
    "EXPORT_BUCKET": "exports",
    "MAIL_SENDER": "Carryout <carryout@example.com>",
    "PUBLIC_URL": "https://carryout.example.com/",
}
KEYS = {field.name.upper() for field in fields(Settings)}


def test_defaults() -> None:
    """What is required is enough, and the defaults are those that users know."""
    settings = Settings.from_mapping(REQUIRED)
    defaults = {
        "database_secret": None,
        "redis_secret": None,
        "database_pooler": False,
        "aws_endpoint_url": "",
        "queue_name": "microblog-tasks",
        "export_ttl_s": 604800,
        "export_cooldown_s": 0,
        "exports_kept": 3,
        "mail_attach_max_bytes": 5000000,
        "import_max_bytes": 2147483648,
        "post_quota_bytes": 0,
        "task_timeout_s": 3600,
        "task_max_attempts": 5,
        "fair_slice_s": 20,
        "lease_s": 30,
        "sweep_interval_s": 10,
        "token_ttl_s": 2592000,
        "registration": "open",
        "demo": False,
        "allowed_origins": (),
        "proxy_hops": 0,
        "webhook_private": False,
        "verify_email": True,
        "limits": True,
        "log_format": "json",
        "log_exceptions": False,
        "log_file": None,
        "otel_exporter_otlp_endpoint": None,
        "traces_file": None,
        "metrics_token": None,
        "security_contact": None,
        "source_url": None,
    }
    assert {name: getattr(settings, name) for name in defaults} == defaults
    assert settings.public_url == "https://carryout.example.com"  # paths are put behind it
    assert defaults.keys() | {key.lower() for key in REQUIRED} == {key.lower() for key in KEYS}


@pytest.mark.parametrize("key", REQUIRED)
@pytest.mark.parametrize("value", [None, "", "  "])
def test_missing_key_is_named(key: str, value: str | None) -> None:
    """A process without a required key does not start, and says which; empty counts as missing."""
    given = {name: text for name, text in REQUIRED.items() if name != key}
    with pytest.raises(SettingsError, match=rf"^{key} "):
        Settings.from_mapping(given if value is None else given | {key: value})


BAD = [
    ("DATABASE_URL", "mysql://x/y"),
    ("DATABASE_URL", "postgresql+psycopg2://x/y"),  # which is not there
    ("DATABASE_URL", "postgresql+psycopg://db:port/x"),
    ("REDIS_URL", "http://x"),
    ("REDIS_URL", "redis://queue:port"),
    ("REDIS_URL", "localhost:6379"),
    ("DATABASE_POOLER", "perhaps"),
    ("PROXY_HOPS", "one"),
    ("DATABASE_SECRET", "a\tb"),
    ("REDIS_SECRET", "a\nb"),
    ("AWS_ENDPOINT_URL", "localhost:4566"),
    ("AWS_ENDPOINT_URL", "http://localhost:99999"),
    ("MAIL_SENDER", "a@example.com\nBcc: b@example.com"),
    ("MAIL_SENDER", "carryout"),
    ("MAIL_SENDER", "Carryout <carryout>"),
    ("MAIL_SENDER", "a@example.com, b@example.com"),
    ("MAIL_SENDER", "Carryout: exports <a@example.com>"),
    ("EXPORT_BUCKET", "My exports"),
    ("EXPORT_BUCKET", "x"),
    ("PUBLIC_URL", "carryout.example.com"),
    ("PUBLIC_URL", "https://"),
    ("SECURITY_CONTACT", "security@example.com"),
    ("SECURITY_CONTACT", "http://example.com/security"),
    ("SOURCE_URL", "javascript:alert(1)"),
    ("QUEUE_NAME", "a\tb"),
    ("EXPORT_TTL_S", "0"),
    ("EXPORT_TTL_S", "7d"),
    ("EXPORT_TTL_S", "9" * 20),  # no moment is that far away
    ("EXPORT_TTL_S", "9" * 5000),
    ("EXPORT_COOLDOWN_S", "-1"),
    ("EXPORTS_KEPT", "0"),
    ("MAIL_ATTACH_MAX_BYTES", "5e6"),
    ("IMPORT_MAX_BYTES", "0"),
    ("IMPORT_MAX_BYTES", str(5 * 1024**3 + 1)),  # S3 takes no more in one PUT
    ("POST_QUOTA_BYTES", "-1"),
    ("TASK_TIMEOUT_S", "0"),
    ("TASK_TIMEOUT_S", str(2**31)),  # no alarm can be set for it
    ("TASK_MAX_ATTEMPTS", "0"),
    ("TASK_MAX_ATTEMPTS", "\u0665"),  # a digit, but not one of ours
    ("FAIR_SLICE_S", "0"),
    ("LEASE_S", "1.5"),
    ("SWEEP_INTERVAL_S", "x"),
    ("TOKEN_TTL_S", "0"),
    ("REGISTRATION", "maybe"),
    ("DEMO", "maybe"),
    ("ALLOWED_ORIGINS", "*"),
    ("ALLOWED_ORIGINS", "https://example.com/"),  # an origin has no path
    ("ALLOWED_ORIGINS", "https://a.example, b.example"),
    ("WEBHOOK_PRIVATE", "true"),
    ("VERIFY_EMAIL", "yes"),
    ("LIMITS", "1"),
    ("LOG_FORMAT", "xml"),
    ("LOG_EXCEPTIONS", "yes"),
    ("LOG_FILE", "a\tb"),
    ("OTEL_EXPORTER_OTLP_ENDPOINT", "localhost:4318"),
    ("TRACES_FILE", "a\tb"),
    ("METRICS_TOKEN", "short"),
    ("METRICS_TOKEN", "with a space in its midst"),
]


@pytest.mark.parametrize(("key", "value"), BAD)
def test_bad_value_names_its_key(key: str, value: str) -> None:
    """A bad value stops the process with the key's name."""
    with pytest.raises(SettingsError, match=rf"^{key}: "):
        Settings.from_mapping(REQUIRED | {key: value})


def test_every_key_has_a_bad_value_in_the_table() -> None:
    """No key goes without a check."""
    assert {key for key, _ in BAD} == KEYS


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        (
            "ALLOWED_ORIGINS",
            "https://a.example, http://b.example:81,",
            ("https://a.example", "http://b.example:81"),
        ),
        ("AWS_ENDPOINT_URL", "http://127.0.0.1:4566", "http://127.0.0.1:4566"),
        ("VERIFY_EMAIL", "off", False),
        ("LIMITS", "off", False),
        ("REGISTRATION", "closed", "closed"),
        ("MAIL_ATTACH_MAX_BYTES", "0", 0),
        ("DATABASE_URL", "sqlite:////tmp/x.db", "sqlite:////tmp/x.db"),
        ("DATABASE_URL", "postgres://u:p@h:5432/d", "postgresql+psycopg://u:p@h:5432/d"),  # Heroku
        ("DATABASE_URL", "postgresql://h/d", "postgresql+psycopg://h/d"),
    ],
)
def test_good_value(key: str, value: str, expected: Any) -> None:
    """A given value wins over the default."""
    assert getattr(Settings.from_mapping(REQUIRED | {key: value}), key.lower()) == expected


def documented() -> dict[str, str]:
    """The keys of `.env.example` with their values."""
    text = (ROOT / ".env.example").read_text()
    return dict(re.findall(r"^([A-Z_]+)=(.*)$", text, re.MULTILINE))


def test_example_documents_every_key_with_its_default() -> None:
    """`.env.example` has exactly the settings' keys, each with a comment above and its default."""
    text = (ROOT / ".env.example").read_text()
    example = documented()
    assert example.keys() == KEYS
    for key, value in example.items():
        assert re.search(rf"^# .+\n{key}=", text, re.MULTILINE), key
        if key in REQUIRED:
            assert value == ""
    given = Settings.from_mapping(REQUIRED | {k: v for k, v in example.items() if v})
    assert given == Settings.from_mapping(REQUIRED)
    for field in fields(Settings):  # those who make the object by hand get the same
        if field.default is not MISSING and field.default is not None:
            assert field.default == getattr(given, field.name)
            assert example[field.name.upper()] or field.default == ()


def test_secrets_are_not_shown() -> None:
    """A settings object in a log line or a traceback gives no password away."""
    settings = Settings.from_mapping(REQUIRED)
    assert "hunter2" not in repr(settings) + str(settings)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("DATABASE_URL", "mysql://carryout:hunter2@db/x"),
        ("DATABASE_URL", "postgresql+psycopg://carryout:hunter2/1@db/x"),  # reads as a port
        ("DATABASE_URL", "postgres://carryout:hunter2/1@db/x"),
        ("REDIS_URL", "x://:hunter2@y"),
        ("REDIS_URL", "redis://:hunter2/1@queue"),
        ("REDIS_URL", "redis://:hunter2\u2100@queue"),  # refused by urllib with all of it
    ],
)
def test_secrets_are_not_complained_about(key: str, value: str) -> None:
    """Nor does a complaint about a bad URL, or what caused it, repeat a password."""
    with pytest.raises(SettingsError, match=rf"^{key}: ") as caught:
        Settings.from_mapping(REQUIRED | {key: value})
    assert "hunter2" not in "".join(format_exception(caught.value))

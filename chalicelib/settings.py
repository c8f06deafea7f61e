"""The settings, read once from a mapping into one frozen object.

Every key is documented in `.env.example`; a test keeps the two alike. A missing or bad value
raises `SettingsError` with the key's name, so that a process stops at start rather than at three
in the morning.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar
from urllib.parse import SplitResult, urlsplit

from chalicelib.errors import SettingsError
from chalicelib.values.email_sender import email_sender

DEFAULT_QUEUE = "microblog-tasks"

MOST = 2**31 - 1
"""The largest number that every timer and every column takes; 68 years, or 2 GB."""

GIB = 1024**3

MOST_BYTES = 2**62
"""The largest size: what a column holds, and sums of it fit, too."""

LARGEST_UPLOAD = 5 * GIB
"""What S3 takes in one PUT: https://docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html."""

BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
"""https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html, in short."""

SECRET_TOKEN = re.compile(r"[A-Za-z0-9._~+/=-]{16,200}")
"""What can stand in a header of its own (RFC 6750), and is too long to be guessed."""

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a deployment may choose.

    Durations end in `_s` and are seconds, sizes end in `_bytes` and are bytes. URLs that may hold
    credentials are left out of `repr`. With a secret, its URL comes without a password.
    """

    database_url: str = field(repr=False)
    redis_url: str = field(repr=False)
    database_secret: str | None = None
    redis_secret: str | None = None
    database_pooler: bool = False
    aws_endpoint_url: str | None = None
    export_bucket: str
    mail_sender: str
    public_url: str
    queue_name: str = DEFAULT_QUEUE
    export_ttl_s: int = 604_800
    export_cooldown_s: int = 0
    exports_kept: int = 3
    mail_attach_max_bytes: int = 5_000_000
    import_max_bytes: int = 2 * GIB
    post_quota_bytes: int = 0
    task_timeout_s: int = 3600
    task_max_attempts: int = 5
    fair_slice_s: int = 20
    lease_s: int = 30
    sweep_interval_s: int = 10
    token_ttl_s: int = 2_592_000
    registration: Literal["open", "closed"] = "open"
    demo: bool = False
    allowed_origins: tuple[str, ...] = ()
    proxy_hops: int = 0
    webhook_private: bool = False
    verify_email: bool = True
    limits: bool = True
    log_format: Literal["json", "text"] = "json"
    log_exceptions: bool = False
    log_file: str | None = None
    otel_exporter_otlp_endpoint: str | None = field(default=None, repr=False)
    traces_file: str | None = None
    metrics_token: str | None = field(default=None, repr=False)
    security_contact: str | None = None
    source_url: str | None = None

    @property
    def is_https(self) -> bool:
        """Whether browsers reach the application over TLS."""
        return self.public_url.startswith("https:")

    @property
    def offers_guests(self) -> bool:
        """Whether the first page makes accounts in one click: not where an address is confirmed."""
        return self.demo and not self.verify_email

    @classmethod
    def from_mapping(cls, environment: Mapping[str, str]) -> "Settings":
        """Read the settings.

        Args:
            environment: Usually `os.environ`; keys are the upper-case names of the attributes.
                An empty value counts as missing.

        Raises:
            SettingsError: A required key is missing or a value is bad; the message names the key.
        """
        read = _Reader(environment)
        return cls(
            database_url=read.one("DATABASE_URL", _database_url),
            redis_url=read.one("REDIS_URL", _redis_url),
            database_secret=read.one("DATABASE_SECRET", _one_line, "") or None,
            redis_secret=read.one("REDIS_SECRET", _one_line, "") or None,
            database_pooler=read.choice("DATABASE_POOLER", {"on": True, "off": False}, "off"),
            aws_endpoint_url=read.one("AWS_ENDPOINT_URL", _http_url, ""),
            export_bucket=read.one("EXPORT_BUCKET", _bucket),
            mail_sender=read.one("MAIL_SENDER", email_sender),
            public_url=read.one("PUBLIC_URL", _http_url).rstrip("/"),
            queue_name=read.one("QUEUE_NAME", _one_line, DEFAULT_QUEUE),
            export_ttl_s=read.one("EXPORT_TTL_S", _positive, "604800"),
            export_cooldown_s=read.one("EXPORT_COOLDOWN_S", _natural, "0"),
            exports_kept=read.one("EXPORTS_KEPT", _positive, "3"),
            mail_attach_max_bytes=read.one("MAIL_ATTACH_MAX_BYTES", _natural, "5000000"),
            import_max_bytes=read.one("IMPORT_MAX_BYTES", _upload_size, str(2 * GIB)),
            post_quota_bytes=read.one("POST_QUOTA_BYTES", _any_size, "0"),
            task_timeout_s=read.one("TASK_TIMEOUT_S", _positive, "3600"),
            task_max_attempts=read.one("TASK_MAX_ATTEMPTS", _positive, "5"),
            fair_slice_s=read.one("FAIR_SLICE_S", _positive, "20"),
            lease_s=read.one("LEASE_S", _positive, "30"),
            sweep_interval_s=read.one("SWEEP_INTERVAL_S", _positive, "10"),
            token_ttl_s=read.one("TOKEN_TTL_S", _positive, "2592000"),
            registration=read.choice("REGISTRATION", {"open": "open", "closed": "closed"}, "open"),
            demo=read.choice("DEMO", {"on": True, "off": False}, "off"),
            allowed_origins=read.one("ALLOWED_ORIGINS", _origins, ""),
            proxy_hops=read.one("PROXY_HOPS", _natural, "0"),
            webhook_private=read.choice("WEBHOOK_PRIVATE", {"on": True, "off": False}, "off"),
            verify_email=read.choice("VERIFY_EMAIL", {"on": True, "off": False}, "on"),
            limits=read.choice("LIMITS", {"on": True, "off": False}, "on"),
            log_format=read.choice("LOG_FORMAT", {"json": "json", "text": "text"}, "json"),
            log_exceptions=read.choice("LOG_EXCEPTIONS", {"on": True, "off": False}, "off"),
            log_file=read.one("LOG_FILE", _one_line, "") or None,
            otel_exporter_otlp_endpoint=read.one("OTEL_EXPORTER_OTLP_ENDPOINT", _http_url, "")
            or None,
            traces_file=read.one("TRACES_FILE", _one_line, "") or None,
            metrics_token=read.one("METRICS_TOKEN", _token, "") or None,
            security_contact=read.one("SECURITY_CONTACT", _contact, "") or None,
            source_url=read.one("SOURCE_URL", _http_url, "") or None,
        )


class _Reader:
    """Takes values out of a mapping and names the key in every complaint."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment

    def one(self, key: str, parse: Callable[[str], T], default: str | None = None) -> T:
        value = self._environment.get(key, "").strip() or default
        if value is None:
            raise SettingsError(f"{key} is not set; .env.example says what it is for")
        try:
            return parse(value)
        except ValueError as error:
            raise SettingsError(f"{key}: {error}") from error

    def choice(self, key: str, choices: Mapping[str, T], default: str) -> T:
        value = self._environment.get(key, "").strip() or default
        if value not in choices:
            raise SettingsError(f"{key}: expected one of {', '.join(choices)}")
        return choices[value]


def _natural(value: str, *, most: int = MOST) -> int:
    if not (value.isascii() and value.isdigit()):
        raise ValueError("expected a whole number, 0 or more")
    if len(value) > len(str(most)) or int(value) > most:
        raise ValueError(f"expected at most {most}")
    return int(value)


def _any_size(value: str) -> int:
    return _natural(value, most=MOST_BYTES)


def _upload_size(value: str) -> int:
    if not _natural(value, most=LARGEST_UPLOAD):
        raise ValueError("expected a whole number, 1 or more")
    return int(value)


def _positive(value: str) -> int:
    if not _natural(value):
        raise ValueError("expected a whole number, 1 or more")
    return int(value)


def _one_line(value: str) -> str:
    if not value.isprintable():
        raise ValueError("expected one line of printable characters")
    return value


def _token(value: str) -> str:
    if value and not SECRET_TOKEN.fullmatch(value):
        raise ValueError("expected 16 to 200 letters, digits and -._~+/=")
    return value


def _contact(value: str) -> str:
    _one_line(value)
    if value and not value.startswith(("mailto:", "https://")):
        raise ValueError("expected mailto:ADDRESS or https://…")
    return value


def _bucket(value: str) -> str:
    if not BUCKET.fullmatch(value):
        raise ValueError("expected a bucket's name: 3 to 63 of a to z, 0 to 9, hyphens and dots")
    return value


def _split(value: str) -> SplitResult:
    """Take a URL apart, port included; what urllib complains of may be a password."""
    try:
        parts = urlsplit(value)
        _ = parts.port
    except ValueError:
        raise ValueError("expected a URL; a password in it must be percent-encoded") from None
    return parts


def _database_url(value: str) -> str:
    scheme, separator, rest = value.partition("://")
    if scheme in {"postgres", "postgresql"}:  # as Heroku and libpq write it
        value = f"postgresql+psycopg{separator}{rest}"
    if not value.startswith(("sqlite:///", "postgresql+psycopg://")):
        raise ValueError("expected sqlite:///… or postgresql+psycopg://…")
    _split(value)
    return value


def _redis_url(value: str) -> str:
    if _split(value).scheme not in {"redis", "rediss"}:
        raise ValueError("expected redis://… or rediss://…")
    return value


def _http_url(value: str) -> str:
    if value and (_split(value).scheme not in {"http", "https"} or not _split(value).netloc):
        raise ValueError("expected http://… or https://…")
    return value


def _origins(value: str) -> tuple[str, ...]:
    origins = tuple(part.strip() for part in value.split(",") if part.strip())
    for origin in origins:
        parts = _split(origin)
        if parts.scheme not in {"http", "https"} or f"{parts.scheme}://{parts.netloc}" != origin:
            raise ValueError("expected exact origins such as https://example.com, comma-separated")
    return origins

"""What a stage is made of, read from `infra/aws/stages/STAGE.toml`."""

import math
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from chalicelib.errors import SettingsError
from chalicelib.settings import Settings
from chalicelib.values.email_sender import email_sender
from infra.aws import DeploymentError

FOLDER = Path(__file__).with_name("stages")
ARCHITECTURES = {"arm64": "ARM64", "x86_64": "X86_64"}
NAME = re.compile(r"(?=.{1,16}$)[a-z](-?[a-z0-9])*")
"""As the templates have it: ElastiCache and ECR take no hyphen at the end, and no two in a row."""

DAY_S = 86_400

DECIDED = {
    "DATABASE_URL": "the foundation's database",
    "DATABASE_SECRET": "the foundation's secret",
    "DATABASE_POOLER": "the foundation's DatabaseProxy",
    "REDIS_URL": "the foundation's queue",
    "REDIS_SECRET": "the foundation's secret",
    "AWS_ENDPOINT_URL": "AWS's own",
    "EXPORT_BUCKET": "the foundation's bucket",
    "MAIL_SENDER": "mail_sender, above the sections",
    "PUBLIC_URL": "the address of the application: DomainName or PublicUrl under [app]",
    "QUEUE_NAME": "carryout-STAGE, by which metrics are told apart",
    "LOG_FORMAT": "json, which alarms and metrics are made of",
    "LOG_FILE": "none: CloudWatch has what is logged",
}
"""Settings that follow from the stacks, and from what."""

SAMPLE = {
    "DATABASE_URL": "postgresql+psycopg://db/carryout",
    "REDIS_URL": "rediss://queue:6379/0",
    "EXPORT_BUCKET": "exports",
    "MAIL_SENDER": "carryout@example.com",
    "PUBLIC_URL": "https://example.com",
}
"""What is required beside a stage's settings, so that those can be checked."""

Parameters = dict[str, str]


@dataclass(frozen=True)
class Stage:
    """One deployment of the system.

    Attributes:
        name: Part of the name of everything that belongs to it.
        region: Where it is.
        account: The only account that may be touched, or None for whichever is signed in.
        mail_sender: The From header of emails.
        architecture: What the worker's image is built for, `arm64` or `x86_64`.
        foundation: Chosen parameters of the first stack.
        app: Chosen parameters of the second.
        settings: Chosen settings of the application, by the names in `.env.example`.
        snap_start: Whether the API's functions start from a snapshot of their memory.
        provisioned_concurrency: How many of the API's functions are kept warm.
    """

    name: str
    region: str
    account: str | None
    mail_sender: str
    architecture: str
    foundation: Parameters
    app: Parameters
    settings: Parameters = field(default_factory=dict)
    snap_start: bool = False
    provisioned_concurrency: int = 0

    @property
    def foundation_stack(self) -> str:
        """The name of the stack that keeps data."""
        return f"carryout-{self.name}-foundation"

    @property
    def app_stack(self) -> str:
        """The name of the stack that runs."""
        return f"carryout-{self.name}-app"

    @property
    def sender_address(self) -> str:
        """The address in the From header."""
        return parseaddr(self.mail_sender)[1]

    @property
    def has_address(self) -> bool:
        """Whether it is known before the deployment where people will reach it."""
        return bool(self.app.get("DomainName") or self.app.get("PublicUrl"))

    def foundation_parameters(self) -> Parameters:
        """All parameters of the first stack that are not left at their defaults."""
        domain = self.sender_address.rpartition("@")[2]
        # Files outlive their links by a day at least.
        ttl_s = int(self.settings.get("EXPORT_TTL_S", Settings.export_ttl_s))
        days = math.ceil(ttl_s / DAY_S) + 1
        given = {"Stage": self.name, "MailDomain": domain, "ExportTtlDays": str(days)}
        return given | self.foundation

    def app_parameters(self, *, image: str, public_url: str) -> Parameters:
        """All parameters of the second stack that are not left at their defaults."""
        domain = self.app.get("DomainName")
        return {
            "Stage": self.name,
            "Foundation": self.foundation_stack,
            "Image": image,
            "ImageArchitecture": ARCHITECTURES[self.architecture],
            "MailSender": self.mail_sender,
            "SenderAddress": self.sender_address,
            "PublicUrl": f"https://{domain}" if domain else public_url,
            **self.app,
        }


def read(name: str, folder: Path = FOLDER) -> Stage:
    """Read a stage's file.

    Raises:
        DeploymentError: There is none, or it says something that makes no sense.
    """
    path = folder / f"{name}.toml"
    if not NAME.fullmatch(name):
        raise DeploymentError(
            f"{name!r} names no stage: a letter, then up to 15 of a-z and 0-9, with single hyphens"
        )
    try:
        given = tomllib.loads(path.read_text())
    except FileNotFoundError as error:
        raise DeploymentError(f"{path} is missing; example.toml beside it is a start") from error
    except tomllib.TOMLDecodeError as error:
        raise DeploymentError(f"{path}: {error}") from error
    return _stage(name, given, path)


def _stage(name: str, given: Mapping[str, Any], path: Path) -> Stage:
    unknown = given.keys() - {
        *("region", "account", "mail_sender", "architecture", "foundation", "app", "settings"),
        *("snap_start", "provisioned_concurrency"),
    }
    if unknown:
        raise DeploymentError(f"{path}: nobody knows {', '.join(sorted(unknown))}")
    try:
        stage = Stage(
            name=name,
            region=given["region"],
            account=given.get("account"),
            mail_sender=given["mail_sender"],
            architecture=given.get("architecture", "arm64"),
            foundation=_texts(given.get("foundation", {})),
            app=_texts(given.get("app", {})),
            settings=_texts(given.get("settings", {})),
            snap_start=given.get("snap_start", False),
            provisioned_concurrency=given.get("provisioned_concurrency", 0),
        )
    except KeyError as error:
        raise DeploymentError(f"{path}: {error.args[0]} is missing") from error
    if stage.architecture not in ARCHITECTURES:
        raise DeploymentError(f"{path}: architecture is one of {', '.join(ARCHITECTURES)}")
    try:
        email_sender(stage.mail_sender)
    except ValueError as error:
        raise DeploymentError(f"{path}: mail_sender: {error}") from error
    if not isinstance(stage.snap_start, bool) or type(stage.provisioned_concurrency) is not int:
        raise DeploymentError(
            f"{path}: snap_start is true or false, provisioned_concurrency a number"
        )
    if stage.snap_start and stage.provisioned_concurrency:
        raise DeploymentError(f"{path}: Lambda has snap_start or provisioned_concurrency, not both")
    _check_settings(stage.settings, path)
    return stage


def _check_settings(settings: Parameters, path: Path) -> None:
    """Refuse what no setting is called, what the stacks decide, and values that are bad."""
    names = {one.name.upper() for one in fields(Settings)}
    for name in settings:
        if name not in names:
            raise DeploymentError(f"{path}: .env.example has no setting {name}")
        if name in DECIDED:
            raise DeploymentError(f"{path}: {name} is {DECIDED[name]}")
    try:
        Settings.from_mapping(SAMPLE | settings)
    except SettingsError as error:
        raise DeploymentError(f"{path}: {error.detail}") from error


def _texts(parameters: Mapping[str, object]) -> Parameters:
    return {name: str(value) for name, value in parameters.items()}


def check(parameters: Parameters, template: Mapping[str, Any]) -> None:
    """Refuse parameters that a template does not have, and the lack of those that it needs.

    Raises:
        DeploymentError: Names them.
    """
    known = template["Parameters"]
    if unknown := parameters.keys() - known.keys():
        raise DeploymentError(f"the template has no parameter {', '.join(sorted(unknown))}")
    needed = {name for name, one in known.items() if "Default" not in one}
    if missing := needed - parameters.keys():
        raise DeploymentError(f"a parameter is missing: {', '.join(sorted(missing))}")

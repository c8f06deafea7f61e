"""What a stage is made of, read from `infra/aws/stages/STAGE.toml`."""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parseaddr
from pathlib import Path
from typing import Any

from infra.aws import DeploymentError

FOLDER = Path(__file__).with_name("stages")
ARCHITECTURES = {"arm64": "ARM64", "x86_64": "X86_64"}
NAME = re.compile(r"(?=.{1,16}$)[a-z](-?[a-z0-9])*")
"""As the templates have it: ElastiCache and ECR take no hyphen at the end, and no two in a row."""

Parameters = dict[str, str]


@dataclass(frozen=True)
class Stage:
    """One deployment of the system.

    Attributes:
        name: Part of the name of everything that belongs to it.
        region: Where it is.
        account: The only account that may be touched, or None for whichever is signed in.
        mail_sender: The From header of mails.
        architecture: What the worker's image is built for, `arm64` or `x86_64`.
        foundation: Chosen parameters of the first stack.
        app: Chosen parameters of the second.
    """

    name: str
    region: str
    account: str | None
    mail_sender: str
    architecture: str
    foundation: Parameters
    app: Parameters

    @property
    def foundation_stack(self) -> str:
        """The name of the stack that keeps data."""
        return f"carryout-{self.name}-foundation"

    @property
    def app_stack(self) -> str:
        """The name of the stack that runs."""
        return f"carryout-{self.name}-app"

    @property
    def mail_address(self) -> str:
        """The address in the From header."""
        return parseaddr(self.mail_sender)[1]

    @property
    def has_address(self) -> bool:
        """Whether it is known before the deployment where people will reach it."""
        return bool(self.app.get("DomainName") or self.app.get("PublicUrl"))

    def foundation_parameters(self) -> Parameters:
        """All parameters of the first stack that are not left at their defaults."""
        domain = self.mail_address.rpartition("@")[2]
        return {"Stage": self.name, "MailDomain": domain, **self.foundation}

    def app_parameters(self, *, image: str, public_url: str) -> Parameters:
        """All parameters of the second stack that are not left at their defaults."""
        domain = self.app.get("DomainName")
        return {
            "Stage": self.name,
            "Foundation": self.foundation_stack,
            "Image": image,
            "ImageArchitecture": ARCHITECTURES[self.architecture],
            "MailSender": self.mail_sender,
            "MailAddress": self.mail_address,
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
        *("region", "account", "mail_sender", "architecture", "foundation", "app")
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
        )
    except KeyError as error:
        raise DeploymentError(f"{path}: {error.args[0]} is missing") from error
    if stage.architecture not in ARCHITECTURES:
        raise DeploymentError(f"{path}: architecture is one of {', '.join(ARCHITECTURES)}")
    if "@" not in stage.mail_address:
        raise DeploymentError(f"{path}: mail_sender holds no address")
    return stage


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

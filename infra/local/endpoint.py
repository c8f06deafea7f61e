"""An S3 and SES endpoint that somebody gave, such as another emulator."""

from collections.abc import Callable, Mapping
from email.utils import parseaddr
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from infra.local.plan import EMULATOR_CREDENTIALS

CONNECT_TIMEOUT_S = 2
READ_TIMEOUT_S = 10


def credentials(env: Mapping[str, str]) -> dict[str, str]:
    """Made-up credentials for where nobody has any: a client signs with nothing else.

    Args:
        env: The variables of the stack's children.
    """
    return {} if _session(env).get_credentials() else dict(EMULATOR_CREDENTIALS)


def furnish(env: Mapping[str, str], *, say: Callable[[str], None]) -> None:
    """Make the bucket and the sender's identity where they are missing.

    An endpoint that does not let us is one that somebody else furnishes, so that is only said.

    Args:
        env: The variables of the stack's children.
        say: Takes lines for the person at the terminal.
    """
    try:
        _make_bucket(_client(env, "s3"), env["EXPORT_BUCKET"], env["AWS_DEFAULT_REGION"])
        _make_identity(_client(env, "sesv2"), parseaddr(env["MAIL_SENDER"])[1])
    except (BotoCoreError, ClientError) as error:
        say(f"AWS_ENDPOINT_URL: the bucket or the sender may be missing there: {error}")


def _session(env: Mapping[str, str]) -> Any:
    return boto3.Session(
        aws_access_key_id=env.get("AWS_ACCESS_KEY_ID"),
        aws_secret_access_key=env.get("AWS_SECRET_ACCESS_KEY"),
        aws_session_token=env.get("AWS_SESSION_TOKEN"),
        region_name=env["AWS_DEFAULT_REGION"],
        profile_name=env.get("AWS_PROFILE"),
    )


def _client(env: Mapping[str, str], service: str) -> Any:
    config = Config(
        connect_timeout=CONNECT_TIMEOUT_S,
        read_timeout=READ_TIMEOUT_S,
        retries={"total_max_attempts": 1},
        s3={"addressing_style": "path"},
    )
    return _session(env).client(service, endpoint_url=env["AWS_ENDPOINT_URL"], config=config)


def _make_bucket(s3: Any, name: str, region: str) -> None:
    try:
        s3.head_bucket(Bucket=name)
    except ClientError as error:
        if error.response["Error"]["Code"] != "404":
            raise
        elsewhere = {"CreateBucketConfiguration": {"LocationConstraint": region}}
        s3.create_bucket(Bucket=name, **(elsewhere if region != "us-east-1" else {}))


def _make_identity(ses: Any, address: str) -> None:
    try:
        ses.get_email_identity(EmailIdentity=address)
    except ClientError as error:
        if error.response["Error"]["Code"] != "NotFoundException":
            raise
        ses.create_email_identity(EmailIdentity=address)

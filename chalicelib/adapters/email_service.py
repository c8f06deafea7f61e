"""The edge to SES: sends a message once, and says what became of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from chalicelib.adapters.aws_errors import THROTTLED

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
LONGEST_S = CONNECT_TIMEOUT_S + READ_TIMEOUT_S
"""How long sending one message can take."""


@dataclass(frozen=True)
class Sent:
    """What became of a message.

    Attributes:
        state: `sent`; `refused` for now; `failed` for good; `unknown`: SES may have sent it.
        message_id: What the service calls it, once it is sent.
    """

    state: Literal["sent", "refused", "failed", "unknown"]
    message_id: str | None = None


class EmailService:
    """SESv2.

    Args:
        sender: The address in `From`, with or without a name.
        endpoint_url: An endpoint other than AWS's own, or None.
    """

    def __init__(self, sender: str, *, endpoint_url: str | None) -> None:
        self.sender = sender
        self._endpoint_url = endpoint_url

    @cached_property
    def _ses(self) -> Any:
        import boto3  # noqa: PLC0415 - slow; see `object_store`
        from botocore.config import Config  # noqa: PLC0415

        # It asks once: `SendEmail` has no idempotency token, and a second try after a lost response
        # is a second email.
        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": 1},
        )
        return boto3.client("sesv2", endpoint_url=self._endpoint_url, config=config)

    def warm_up(self) -> None:
        """Make the client now, before a fork, so that children inherit the imports."""
        _ = self._ses

    def send(self, message: bytes, address: str) -> Sent:
        """Hand a message (RFC 5322) to SES."""
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow

        try:
            response = self._ses.send_email(
                FromEmailAddress=self.sender,
                Destination={"ToAddresses": [address]},
                Content={"Raw": {"Data": message}},
            )
        except (BotoCoreError, ClientError) as error:
            return Sent(_what_became(error))
        return Sent("sent", str(response["MessageId"]))


def _what_became(error: Exception) -> Literal["refused", "failed", "unknown"]:
    from botocore.exceptions import (  # noqa: PLC0415 - slow
        ClientError,
        ConnectTimeoutError,
        EndpointConnectionError,
        NoCredentialsError,
    )

    if isinstance(error, ClientError):
        if error.response["Error"]["Code"] in THROTTLED:
            return "refused"
        status = error.response["ResponseMetadata"]["HTTPStatusCode"]
        return "unknown" if status >= 500 else "failed"  # noqa: PLR2004 - a server error
    # After these SES certainly knows nothing of the message.
    never_asked = EndpointConnectionError, ConnectTimeoutError, NoCredentialsError
    return "refused" if isinstance(error, never_asked) else "unknown"

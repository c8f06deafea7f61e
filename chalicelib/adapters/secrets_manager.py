"""The edge to Secrets Manager: credentials that may change while a process lives.

Settings say where a secret is; nobody is given it in a variable. It is read when it is first
needed, and again when a login fails, for the owner of the database may have rotated it.
"""

import json
import threading
from dataclasses import dataclass, field
from functools import cache
from typing import Any

CONNECT_TIMEOUT_S = 3
READ_TIMEOUT_S = 5


@dataclass(frozen=True)
class Credentials:
    """A user's name and password."""

    username: str
    password: str = field(repr=False)


class SecretError(Exception):
    """Secrets Manager does not answer, refuses, or has something else there."""


class Secret:
    """Credentials in Secrets Manager, as RDS keeps them: an object with username and password.

    Args:
        arn: Its ARN or name.
        endpoint_url: An endpoint other than AWS's own, or None.
    """

    def __init__(self, arn: str, *, endpoint_url: str | None) -> None:
        self._arn = arn
        self._endpoint_url = endpoint_url
        self._known: Credentials | None = None
        self._lock = threading.Lock()

    def read(self) -> Credentials:
        """The credentials as they were when they were last read.

        Raises:
            SecretError: They cannot be read.
        """
        with self._lock:
            if self._known is None:
                self._known = self._fetch()
            return self._known

    def read_again(self, refused: Credentials) -> Credentials | None:
        """Other credentials than those that were refused, or None when there are no others.

        Raises:
            SecretError: They cannot be read.
        """
        with self._lock:
            if self._known == refused:
                self._known = self._fetch()
            return None if self._known == refused else self._known

    def _fetch(self) -> Credentials:
        from botocore.exceptions import BotoCoreError, ClientError  # noqa: PLC0415 - slow to import

        try:
            answer = self._client().get_secret_value(SecretId=self._arn)
            facts = json.loads(answer["SecretString"])
            return Credentials(facts["username"], facts["password"])
        except (BotoCoreError, ClientError, KeyError, ValueError) as error:
            raise SecretError(f"the secret {self._arn} cannot be read") from error

    def _client(self) -> Any:
        # botocore without boto3: this is on the way of a cold start's first request.
        from botocore.config import Config  # noqa: PLC0415
        from botocore.session import get_session  # noqa: PLC0415

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": 3},
        )
        return get_session().create_client(
            "secretsmanager", endpoint_url=self._endpoint_url, config=config
        )


@cache
def secret(arn: str, endpoint_url: str | None) -> Secret:
    """The one `Secret` of this process for an ARN; forked children inherit what it knows."""
    return Secret(arn, endpoint_url=endpoint_url)

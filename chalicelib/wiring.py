"""The one place where clients are built, once for each process and not before they are needed."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

from chalicelib.adapters.job_queue import JobQueue, doorbell
from chalicelib.adapters.object_store import Storage
from chalicelib.adapters.secrets_manager import Secret, secret
from chalicelib.db.engine import Database, connect
from chalicelib.operations import queries
from chalicelib.operations.reconciler import Sweeper
from chalicelib.settings import Settings
from chalicelib.tasks.queue_position import Places
from chalicelib.values.sampling import Sample


def environment() -> dict[str, str]:
    """The process's environment over the working directory's `.env`, where there is one."""
    if not Path(".env").is_file():
        return dict(os.environ)
    from dotenv import dotenv_values  # noqa: PLC0415 - on a developer's machine only

    return {**{key: value or "" for key, value in dotenv_values(".env").items()}, **os.environ}


@dataclass(frozen=True)
class Wiring:
    """What the entry points hand to the domain.

    Attributes:
        settings: The settings.
        pool_size: How many connections to SQL are kept.
    """

    settings: Settings
    pool_size: int = 5

    @classmethod
    def from_environment(
        cls, mapping: Mapping[str, str] | None = None, *, pool_size: int = 5
    ) -> "Wiring":
        """Read the settings and wire everything.

        Raises:
            SettingsError: A setting is missing or bad.
        """
        mapping = environment() if mapping is None else mapping
        return cls(Settings.from_mapping(mapping), pool_size)

    @cached_property
    def database(self) -> Database:
        """The ledger."""
        url, held = self.settings.database_url, self._secret(self.settings.database_secret)
        pooler = self.settings.database_pooler
        return connect(url, pool_size=self.pool_size, secret=held, pooler=pooler)

    @property
    def redis_secret(self) -> Secret | None:
        """User and password of the queue, where its URL has none."""
        return self._secret(self.settings.redis_secret)

    def _secret(self, arn: str | None) -> Secret | None:
        return secret(arn, self.settings.aws_endpoint_url or None) if arn else None

    def read_secrets(self) -> None:
        """Read all secrets now, before a fork, so that children need not.

        Raises:
            SecretError: One cannot be read.
        """
        for arn in (self.settings.database_secret, self.settings.redis_secret):
            if held := self._secret(arn):
                held.read()

    @cached_property
    def places(self) -> Places:
        """The places in the queue."""
        return Places(self.database)

    @cached_property
    def task_counts(self) -> Sample[dict[str, int]]:
        """How many tasks there are in each state."""
        return Sample(lambda: queries.count_tasks(self.database))

    @cached_property
    def queue(self) -> JobQueue:
        """The doorbell: a client that gives up quickly."""
        redis = doorbell(self.settings.redis_url, secret=self.redis_secret)
        return JobQueue(redis, self.settings.queue_name, timeout_s=self.settings.task_timeout_s)

    @cached_property
    def storage(self) -> Storage:
        """The bucket of exports."""
        endpoint_url = self.settings.aws_endpoint_url or None
        return Storage(self.settings.export_bucket, endpoint_url=endpoint_url)

    @cached_property
    def sweeper(self) -> Sweeper:
        """The reconciler."""
        return Sweeper(self.database, self.queue, lambda: self.storage, self.settings.lease_s)

    def now(self) -> datetime:
        """The time."""
        return datetime.now(UTC)

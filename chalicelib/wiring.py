"""The one place where clients are built, once for each process and not before they are needed.

It is also where the application meets the kernel: the kinds of task are registered here.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from pathlib import Path

from redis import Redis

from chalicelib.accounts.rate_limits import RateLimiter, TokenOwners
from chalicelib.adapters.email_service import EmailService
from chalicelib.adapters.job_queue import (
    API_TIMEOUT_S,
    JobQueue,
    api_client,
    worker_client,
)
from chalicelib.adapters.object_store import ObjectStore
from chalicelib.adapters.secrets_manager import Credentials, Secret, secret
from chalicelib.adapters.tracing import Tracer
from chalicelib.adapters.wake_up import LOOK_INTERVAL_S, WakeUp
from chalicelib.db.engine import Database, connect
from chalicelib.microblog.tasks import KINDS
from chalicelib.operations import probe, prometheus, queries
from chalicelib.operations.reconciler import Reconciler
from chalicelib.outbox import schedule_notices
from chalicelib.settings import Settings
from chalicelib.tasks import schedule_runs
from chalicelib.tasks.queue_position import QueuePositions
from chalicelib.tasks.registry import register
from chalicelib.values.sampling import Sample

register(*KINDS)
schedule_runs.ON_DISABLED[:] = [schedule_notices.tell_owner]


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
        answer_s: How long an answer of PostgreSQL may take, in seconds; None for any time.
    """

    settings: Settings
    pool_size: int = 5
    answer_s: float | None = None

    @classmethod
    def from_environment(
        cls,
        mapping: Mapping[str, str] | None = None,
        *,
        pool_size: int = 5,
        answer_s: float | None = None,
    ) -> "Wiring":
        """Read the settings and wire everything.

        Raises:
            SettingsError: A setting is missing or bad.
        """
        mapping = environment() if mapping is None else mapping
        return cls(Settings.from_mapping(mapping), pool_size, answer_s)

    @cached_property
    def database(self) -> Database:
        """The ledger."""
        url, held = self.settings.database_url, self._secret(self.settings.database_secret)
        pooler = self.settings.database_pooler
        return connect(
            url, pool_size=self.pool_size, secret=held, pooler=pooler, answer_s=self.answer_s
        )

    @property
    def redis_secret(self) -> Secret | None:
        """User and password of the queue, where its URL has none."""
        return self._secret(self.settings.redis_secret)

    def _secret(self, arn: str | None) -> Secret | None:
        return secret(arn, self.settings.aws_endpoint_url or None) if arn else None

    def read_secret(self, arn: str) -> Credentials:
        """The user and password of a secret.

        Raises:
            SecretError: It cannot be read.
        """
        return secret(arn, self._endpoint_url).read()

    def read_secrets(self) -> None:
        """Read all secrets now, before a fork, so that children need not.

        Raises:
            SecretError: One cannot be read.
        """
        for arn in (self.settings.database_secret, self.settings.redis_secret):
            if held := self._secret(arn):
                held.read()

    @cached_property
    def queue_positions(self) -> QueuePositions:
        """Positions in the queue."""
        return QueuePositions(self.database)

    @cached_property
    def task_counts(self) -> Sample[dict[str, int]]:
        """How many tasks there are in each state."""
        return Sample(lambda: queries.count_tasks(self.database))

    @cached_property
    def message_counts(self) -> Sample[dict[tuple[str, ...], float]]:
        """How many messages of the outbox there are, by topic and state."""
        return Sample(lambda: prometheus.count_messages(self.database))

    @cached_property
    def outcome_counts(self) -> Sample[dict[tuple[str, ...], float]]:
        """How many attempts ended, by outcome."""
        return Sample(lambda: prometheus.count_outcomes(self.database))

    @cached_property
    def tracer(self) -> Tracer | None:
        """What begins traces; None unless somebody wants them."""
        endpoint, file = self.settings.otel_exporter_otlp_endpoint, self.settings.traces_file
        if not (endpoint or file):
            return None
        from chalicelib.adapters import trace_exporters  # noqa: PLC0415 - no cold start pays for it

        return trace_exporters.make_tracer(endpoint=endpoint, file=file, service="carryout")

    @cached_property
    def is_writable(self) -> Sample[bool]:
        """Whether the ledger can be written; anybody may ask, so it is tried every 5 s at most."""
        return Sample(lambda: probe.is_writable(self.database), min_age=probe.MIN_AGE)

    @cached_property
    def queue(self) -> JobQueue:
        """The queue, by a client that gives up quickly."""
        redis = api_client(self.settings.redis_url, secret=self.redis_secret)
        return JobQueue(redis, self.settings.queue_name, timeout_s=self.settings.task_timeout_s)

    @cached_property
    def rate_limiter(self) -> RateLimiter:
        """What counts how often users do something."""
        settings = self.settings
        return RateLimiter(self.queue.redis, scope=settings.queue_name, enabled=settings.limits)

    @cached_property
    def token_owners(self) -> TokenOwners:
        """Whose tokens this process has seen."""
        return TokenOwners()

    @cached_property
    def worker_redis(self) -> Redis:
        """A client that lives through an outage of Redis."""
        return worker_client(self.settings.redis_url, secret=self.redis_secret)

    @cached_property
    def outbox_hint(self) -> WakeUp:
        """What wakes those who send what is in the outbox."""
        return WakeUp(self.queue.redis, self._outbox_key)

    @cached_property
    def outbox_waiter(self) -> WakeUp:
        """The same, for those who wait for it; a Redis that is silent keeps them no longer."""
        url, held = self.settings.redis_url, self.redis_secret
        redis = api_client(url, secret=held, timeout_s=LOOK_INTERVAL_S + API_TIMEOUT_S)
        return WakeUp(redis, self._outbox_key)

    @property
    def _outbox_key(self) -> str:
        return f"carryout:{self.settings.queue_name}:outbox"

    @cached_property
    def object_store(self) -> ObjectStore:
        """The bucket of exports."""
        return ObjectStore(self.settings.export_bucket, endpoint_url=self._endpoint_url)

    @cached_property
    def email_service(self) -> EmailService:
        """What sends emails."""
        return EmailService(self.settings.mail_sender, endpoint_url=self._endpoint_url)

    @property
    def _endpoint_url(self) -> str | None:
        return self.settings.aws_endpoint_url or None

    @cached_property
    def reconciler(self) -> Reconciler:
        """What finds what was lost."""
        settings = self.settings
        return Reconciler(
            self.database,
            self.queue,
            lambda: self.object_store,
            settings.lease_s,
            max_attempts=settings.task_max_attempts,
            cooldown_s=settings.export_cooldown_s,
        )

    def now(self) -> datetime:
        """The time, by the database's clock."""
        return self.database.now()

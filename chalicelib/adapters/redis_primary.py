"""Clients of Redis that stay with the primary when another server becomes it."""

from typing import Any

from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ReadOnlyError, ResponseError

UNBLOCKED = "UNBLOCKED"
"""How the answer begins to whoever waits for a list on a server that becomes a replica."""


class _LeavesReplicas:
    """Gives a connection up whose server has become a replica, as Sentinel's clients do.

    A failover that closes nothing would otherwise leave a process with a server that refuses all
    writes for as long as the process lives. A new connection asks for the address again. What was
    refused was not done, so that it may be tried again.
    """

    def read_response(self, *args: Any, **options: Any) -> Any:
        """Read an answer; that of a replica is an error of the connection."""
        try:
            return super().read_response(*args, **options)  # type: ignore[misc]
        except ResponseError as error:
            if not (isinstance(error, ReadOnlyError) or str(error).startswith(UNBLOCKED)):
                raise
            self.disconnect()  # type: ignore[attr-defined]
            raise RedisConnectionError("the server is a replica now") from error


def leaving_replicas(client: Redis) -> Redis:
    """Have a client that has no connection yet leave servers that become replicas."""
    pool = client.connection_pool
    bases = (_LeavesReplicas, pool.connection_class)
    pool.connection_class = type(pool.connection_class.__name__, bases, {})
    return client

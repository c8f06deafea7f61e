"""Which errors are transient.

A transient error (a lost connection, a 5xx, throttling) is tried again; everything else that an
attempt raises is final, and ends the task.
"""

from botocore.exceptions import ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from rq.timeouts import JobTimeoutException
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from chalicelib.adapters.aws_errors import INCOMPLETE, THROTTLED


def transient(error: BaseException) -> tuple[str, str] | None:
    """Code and detail of an error that may be gone in a moment, or None for all others."""
    # Of a transaction that was silent for too long psycopg says `InternalError`.
    has_no_connection = isinstance(error, DBAPIError) and error.connection_invalidated
    if has_no_connection or isinstance(error, OperationalError | InterfaceError | PoolTimeoutError):
        return "database_unavailable", "The database didn't respond."
    if isinstance(error, ClientError) and is_transient_response(error):
        return "storage_unavailable", "File storage rejected the file."
    if isinstance(error, BotoConnectionError | HTTPClientError):
        return "storage_unavailable", "File storage didn't respond."
    if isinstance(error, RedisConnectionError | RedisTimeoutError | ConnectionError | TimeoutError):
        return "service_unavailable", "A required service didn't respond."
    return None


def timed_out(error: BaseException | None) -> bool:
    """Whether an attempt's time was over, whatever a library made of RQ's alarm."""
    while error is not None and not isinstance(error, JobTimeoutException):
        error = error.__cause__ or error.__context__
    return error is not None


def is_transient_response(error: ClientError) -> bool:
    """Whether AWS refused for now, not for good."""
    status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
    return status >= 500 or error.response["Error"]["Code"] in {*THROTTLED, INCOMPLETE}  # noqa: PLR2004

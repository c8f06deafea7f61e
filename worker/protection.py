"""Asks ECS not to stop this container for a scale-in or a deployment while it is busy.

Follows the Amazon ECS developer guide, "Task scale-in protection": a PUT to the agent's endpoint,
whose address is in the container's environment. Elsewhere there is nothing to ask.
"""

import json
import logging
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.error import URLError

log = logging.getLogger(__name__)

TIMEOUT_S = 2
EXPIRES_IN_MIN = 90
"""For how long one request protects, in minutes; ECS ends it by itself if the worker dies."""


@contextmanager
def protected(agent_url: str | None) -> Iterator[None]:
    """Hold the protection for as long as the block runs.

    Args:
        agent_url: The value of `ECS_AGENT_URI`, or None outside of ECS.
    """
    _set(agent_url, {"ProtectionEnabled": True, "ExpiresInMinutes": EXPIRES_IN_MIN})
    try:
        yield
    finally:
        _set(agent_url, {"ProtectionEnabled": False})


def _set(agent_url: str | None, state: dict[str, object]) -> None:
    if not agent_url:
        return
    request = urllib.request.Request(  # noqa: S310 - ECS sets the address
        f"{agent_url}/task-protection/v1/state",
        data=json.dumps(state).encode(),
        headers={"Content-Type": "application/json"},
        method="PUT",
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310  # nosec B310
            return
    except (URLError, TimeoutError):
        # Without protection a deployment costs a released task, no more.
        log.warning("no task protection", extra={"action": "protect"}, exc_info=True)

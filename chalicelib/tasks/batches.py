"""Many tasks at once, on PostgreSQL: claimed, ended and released in one statement each.

For kinds of which nothing but the kernel knows: no hook, no share, nothing to do afterwards. Each
task has a claim of its own and is what it would be if it had been claimed alone.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import LEASED
from chalicelib.db.types import to_json
from chalicelib.tasks.leases import (
    CLAIMABLE,
    CLAIMED,
    RELEASED,
    RENEWED,
    Claimed,
    Lease,
    succeeded,
)
from chalicelib.tasks.registry import TaskKind
from chalicelib.tasks.transitions import (
    ROW,
    UNSCHEDULED,
    ConditionalUpdates,
    as_task,
    given_as_arrays,
    given_tasks,
    task_table,
)

HOOKS = ("on_claim", "before_success", "on_success")


def is_plain(kind: TaskKind) -> bool:
    """Whether tasks of a kind can be claimed and succeed together."""
    return kind.share == 1 and not kind.follow_up and not any(map(kind.has, HOOKS))


def claim(
    database: Database, names: Mapping[str, str], *, worker: str, lease_s: int, now: datetime
) -> dict[str, Claimed]:
    """Claim several tasks.

    A task that has failed before is claimed alone: what breaks a worker breaks it for the others
    only once.

    Args:
        database: The ledger, on PostgreSQL.
        names: Of what kind, which must be plain, the tasks probably are, by their ids.
        worker: The name of the worker.
        lease_s: How long each lease lasts without a sign of life, in seconds.
        now: The time.

    Returns:
        Those that were claimed, by their ids; see `leases.claim` for what the others may be.
    """
    given = [{"id": task_id, "kind": name} for task_id, name in names.items()]
    values = {"by": worker, "lease_s": lease_s, "now": now}
    with database.single() as session:
        rows = _CLAIM.execute(session, given, values, now=now)
    tasks = map(as_task, rows.values())
    return {
        task.id: Claimed(Lease(database, task.id, task.claim, lease_s), task, None)
        for task in tasks
    }


def succeed(
    database: Database, ended: Iterable[tuple[Lease, Any, int | None]], *, now: datetime
) -> set[str]:
    """End several tasks well.

    Args:
        database: The ledger, on PostgreSQL.
        ended: Leases of tasks of plain kinds, with results, and how much was done in all if that
            is known more exactly than it was reported.
        now: The time.

    Returns:
        The ids of those that were ended. `Lease.succeed` tells of the others why not, or does it.
    """
    given = [
        _fence(lease) | {"counted": total, "ended": to_json(result) if result is not None else None}
        for lease, result, total in ended
    ]
    with database.single() as session:
        return set(_SUCCEED.execute(session, given, {"now": now}, now=now))


def release(database: Database, leases: Iterable[Lease], *, now: datetime) -> set[str]:
    """Queue tasks again at once, at no cost of an attempt; they keep their positions.

    Returns:
        The ids of those that were released. `Lease.release` tells of the others why not.
    """
    with database.single() as session:
        return set(_RELEASE.execute(session, map(_fence, leases), {}, now=now))


def renew(database: Database, leases: Sequence[Lease]) -> None:
    """Show a sign of life for several tasks.

    Those that somebody has locked are left out: nobody can take them away meanwhile, and whoever
    has them may be about to end them.
    """
    if not leases:
        return
    given = given_as_arrays(_FENCE, list(map(_fence, leases)))
    with database.single() as session:
        session.execute(_RENEW, {**given, "lease_s": leases[0].lease_s})


def _fence(lease: Lease) -> dict[str, Any]:
    return {"id": lease.task_id, "fence": lease.claim}


_ID = {"id": ROW.id.type}
_FENCE = _ID | {"fence": ROW.claim.type}


def _mine(given: Any) -> tuple[sa.ColumnElement[bool], ...]:
    return ROW.claim == given.fence, ROW.status == "running"


_CLAIM = ConditionalUpdates(
    _ID | {"kind": ROW.name.type},
    when=lambda given: (*CLAIMABLE, ROW.name == given.kind, ROW.failures == 0),
    values=lambda _given: CLAIMED,
    returning=ROW,
)
_SUCCEED = ConditionalUpdates(
    _FENCE | {"counted": sa.BigInteger(), "ended": sa.Text()},
    when=lambda given: (*_mine(given), UNSCHEDULED),
    values=lambda given: succeeded(given.counted, sa.cast(given.ended, ROW.result.type)),
)
_given = given_tasks(_FENCE)
_unlocked = (
    sa.select(ROW.id)
    .where(ROW.id == _given.c.id, ROW.claim == _given.c.fence, ROW.status.in_(LEASED))
    .with_for_update(key_share=True, skip_locked=True, of=task_table)
    .cte("unlocked")
)
_RENEW = sa.update(task_table).where(ROW.id.in_(sa.select(_unlocked.c.id))).values(**RENEWED)
_RELEASE = ConditionalUpdates(_FENCE, when=_mine, values=lambda _given: RELEASED)

"""How many functions may run at the same time: what the database and the account allow.

Each request of the API has a connection to the database while it runs, and so has each worker, up
to five. Where RDS Proxy shares connections, the database sets no limit.
"""

from collections.abc import Mapping
from dataclasses import dataclass

CONNECTIONS_PER_GIB, CONNECTIONS_LESS = 105.7, 22
"""`max_connections` grows with memory: 189 at 2 GiB, 823 at 8, 1,669 at 16 (Amazon Aurora user
guide, "Maximum connections for Aurora Serverless v2"; RDS computes it the same way)."""

GIB_OF_ACU = 2
ALWAYS_AT_MOST = 5000
AT_MOST_FROM_LITTLE = 2000
"""With a minimum of 0 or 0.5 ACU, whatever the maximum is (same place)."""

LITTLE_ACU = 0.5

GIB_OF_CLASS = {
    "db.t4g": {"micro": 1, "small": 2, "medium": 4, "large": 8, "xlarge": 16, "2xlarge": 32},
    "db.m": {"large": 8, "xlarge": 16, "2xlarge": 32, "4xlarge": 64},
    "db.r": {"large": 16, "xlarge": 32, "2xlarge": 64, "4xlarge": 128},
}
"""Memory of instance classes, which decides about connections."""

PER_WORKER = 5
SPARE = 20
"""Connections for people, migrations, the reconciler and RDS itself."""

WANTED = 200
"""Requests at the same time: a cap on the bill as well, since a held request is paid for."""

RECONCILER = 2

LEFT_TO_OTHERS = 100
"""Of an account's functions Lambda lets nobody reserve the last 100."""


@dataclass(frozen=True)
class Account:
    """What Lambda grants an account in a region.

    Attributes:
        functions: How many run at the same time; 10 in a new account, 1,000 later.
        unreserved: How many of them nobody has reserved.
    """

    functions: int
    unreserved: int

    @property
    def reservable(self) -> int:
        """How many more can be reserved."""
        return max(0, self.unreserved - LEFT_TO_OTHERS)


def connections(foundation: Mapping[str, str]) -> int:
    """How many connections the stage's database takes.

    Args:
        foundation: Chosen parameters of the foundation, each a number or a name in text.
    """
    if foundation.get("DatabaseKind", "aurora") == "rds":
        return _of_memory(_memory(foundation.get("RdsInstanceClass", "db.t4g.small")))
    most = _of_memory(GIB_OF_ACU * float(foundation.get("AuroraMaxCapacity", "8")))
    little = float(foundation.get("AuroraMinCapacity", "0.5")) <= LITTLE_ACU
    return min(most, AT_MOST_FROM_LITTLE) if little else most


def _of_memory(gib: float) -> int:
    return max(1, min(ALWAYS_AT_MOST, int(CONNECTIONS_PER_GIB * gib - CONNECTIONS_LESS)))


def _memory(name: str) -> float:
    """An instance class's memory in GiB; the smallest of its family where it is not known."""
    family, _, size = name.rpartition(".")
    sizes = next((one for key, one in GIB_OF_CLASS.items() if family.startswith(key)), {})
    return sizes.get(size, min(sizes.values(), default=1))


def concurrency(
    foundation: Mapping[str, str], app: Mapping[str, str], account: Account
) -> dict[str, str]:
    """The two parameters that reserve functions, where the stage's file does not.

    Args:
        foundation: Chosen parameters of the foundation.
        app: Chosen parameters of the application.
        account: What can be reserved, this stage's own reservations counted as free.
    """
    wanted = WANTED
    if foundation.get("DatabaseProxy", "no") == "no":
        workers = PER_WORKER * int(app.get("MaxWorkers", "20"))
        wanted = min(wanted, max(1, connections(foundation) - workers - SPARE))
    given = {"ApiConcurrency": str(wanted), "ReconcilerConcurrency": str(RECONCILER), **app}
    names = ("ApiConcurrency", "ReconcilerConcurrency")
    if sum(int(given[name]) for name in names) <= account.reservable:
        return {name: given[name] for name in names}
    if int(given["ReconcilerConcurrency"]) <= account.reservable and "ApiConcurrency" not in app:
        left = account.reservable - int(given["ReconcilerConcurrency"])
        return {
            "ApiConcurrency": str(left),
            "ReconcilerConcurrency": given["ReconcilerConcurrency"],
        }
    return {name: app.get(name, "0") for name in names}

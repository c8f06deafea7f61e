"""What of a running installation might grow."""

import contextlib

import psutil
import sqlalchemy as sa
from redis.exceptions import RedisError

from chalicelib.db.models import Base, Removal
from tests.faults.lab import Lab
from tests.harness.processes import work_horses

MIB = 2**20

FOR_EVER = {"audit"}
"""What is kept for longer than any soak, by its table."""

NOISE = {
    "memory": 8,
    "threads": 8,
    "descriptors": 4,
    "connections": 4,
    "redis": 10,
    "rows": 50,
    "objects": 20,
}
"""How much of something may always be added, by how its name begins: MiB and numbers."""


def sample(lab: Lab) -> dict[str, float]:
    """Everything, as far as it can be looked at just now; Redis may be away."""
    found = _processes(lab) | _rows(lab)
    with contextlib.suppress(RedisError):
        redis = lab.wiring.queue.redis
        keys = list(redis.scan_iter(count=1000))
        found["redis keys that stay"] = sum(redis.ttl(key) == -1 for key in keys)
        found["connections to Redis"] = len(redis.client_list())
    return found


def _processes(lab: Lab) -> dict[str, float]:
    pids = lab.stack.facts["pids"]
    worker = psutil.Process(pids["workers"][0])
    with contextlib.suppress(psutil.NoSuchProcess):
        horses = {one.pid for one in work_horses(worker)}
        beside = [one for one in worker.children() if one.pid not in horses]
        return {
            **_facts("the API", [psutil.Process(pids["api"])]),
            **_facts("the launcher", [psutil.Process(pids["launcher"])]),
            **_facts("a worker", [worker]),
            **_facts("its other children", beside),
        }
    return {}


def _facts(name: str, found: list[psutil.Process]) -> dict[str, float]:
    return {
        f"memory of {name}, MiB": sum(one.memory_info().rss for one in found) / MIB,
        f"threads of {name}": sum(one.num_threads() for one in found),
        f"descriptors of {name}": sum(one.num_fds() for one in found),
    }


def _rows(lab: Lab) -> dict[str, float]:
    found: dict[str, float] = {}
    with lab.wiring.database.read() as session:
        for table in Base.metadata.sorted_tables:
            if table.name not in FOR_EVER:
                count = sa.select(sa.func.count()).select_from(table)
                if table is Removal.__table__:  # that of an upload is due in an hour
                    count = count.where(Removal.import_id.is_(None))
                found[f"rows of {table.name}"] = session.scalar(count) or 0
        if session.get_bind().dialect.name == "postgresql":
            mine = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()"
            found["connections to PostgreSQL"] = session.scalar(sa.text(mine)) or 0
    s3, bucket = lab.wiring.object_store._s3, lab.wiring.object_store.bucket
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    found["objects in S3"] = sum(len(page.get("Contents", [])) for page in pages)
    return found

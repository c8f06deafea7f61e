"""Dramatiq with nothing to do: run as a script, it sends so many messages."""

import os
import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

KEPT_MS = 3_600_000

broker = RedisBroker(url=os.environ["BENCH_BROKER"])
broker.add_middleware(Results(backend=RedisBackend(url=os.environ["BENCH_RESULTS"])))
dramatiq.set_broker(broker)


@dramatiq.actor(actor_name="noop", store_results=True, result_ttl=KEPT_MS)
def noop() -> int:
    return 1


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        noop.send()

"""Celery with nothing to do: run as a script, it sends so many messages."""

import os
import sys

from celery import Celery

app = Celery("celery_noop", broker=os.environ["BENCH_BROKER"], backend=os.environ["BENCH_RESULTS"])


@app.task
def noop() -> int:
    return 1


if __name__ == "__main__":
    for _ in range(int(sys.argv[1])):
        app.send_task("celery_noop.noop")

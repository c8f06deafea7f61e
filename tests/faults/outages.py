"""Faults done to Redis, the database, S3 and the disk."""

import resource
import signal
import time
from collections.abc import Callable
from random import Random

import psutil

from tests.faults.actions import (
    recover,
    three_exports,
    three_people,
)
from tests.faults.aws import Answer, Call, Fault, Lost, Reset, Slow
from tests.faults.lab import LEASE_S, Lab, Plan, send
from tests.faults.trial import Skipped, Trial, scenario
from tests.harness.waiting import wait_until

LINE_CUT_S = 40


@scenario("redis-killed")
def redis_killed(trial: Trial) -> None:
    """Kill -9 of the stack's own Redis, which comes back with what was on its disk."""
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(4, 1)):
            tasks = three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            trial.result.kills += send(signal.SIGKILL, lab.stack.facts["pids"]["redis"])
            lab.join().forget_password()  # nobody is woken up for it
            recover(trial, lab, tasks)
            wait_until(lab.redis_answers, "Redis was started again")


@scenario("redis-flushed")
def redis_flushed(trial: Trial) -> None:
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(4, 1)):
            tasks = three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            lab.wiring.queue.redis.flushall()
            recover(trial, lab, tasks)


@scenario("redis-emptied")
def redis_emptied(trial: Trial) -> None:
    """Redis is killed, loses its disk, and comes back empty."""
    with trial.lab(Plan(workers=2, own_valkey=True)) as lab:
        assert lab.valkey
        for _ in range(trial.few(3, 1)):
            tasks = three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            lab.valkey.stop(wipe=True)
            time.sleep(trial.chance.uniform(0, 2))
            lab.valkey.start()
            recover(trial, lab, tasks)
            trial.result.kills += 1


@scenario("redis-cut")
def redis_cut(trial: Trial) -> None:
    """Every connection to Redis is reset for 40 s, new ones too."""
    _cut_off(trial, Lab.cut_redis)


@scenario("redis-stalled")
def redis_stalled(trial: Trial) -> None:
    """Nothing passes between Redis and the rest for 40 s, and nobody is told."""
    _cut_off(trial, Lab.stall_redis)


def _cut_off(trial: Trial, cut: Callable[[Lab], None]) -> None:
    with trial.lab(Plan(workers=2, own_valkey=True)) as lab:
        assert lab.redis_line
        tasks = three_exports(lab)
        lab.wait_for_claim(tasks[0])
        cut(lab)
        healed_at = time.monotonic() + trial.few(LINE_CUT_S, 3)
        person = lab.join(100)
        tasks.append(person.export())  # accepted all the same: the ledger has it
        person.forget_password()
        time.sleep(max(0.0, healed_at - time.monotonic()))
        lab.redis_line.heal()
        recover(trial, lab, tasks)


@scenario("database-down", "postgresql")
def database_down(trial: Trial) -> None:
    """PostgreSQL cannot be reached for longer than a lease; then for a moment."""
    with trial.lab(Plan(workers=2, database_proxy=True)) as lab:
        assert lab.database_line
        for down_s in (LEASE_S + 3, 1)[: trial.few(2, 1)]:
            tasks = three_exports(lab)
            lab.wait_for_claim(tasks[0])
            time.sleep(trial.chance.uniform(0, 0.5))
            lab.database_line.cut()
            time.sleep(down_s if not trial.quick else 2)
            lab.database_line.heal()
            recover(trial, lab, tasks)


@scenario("storage-errors")
def storage_errors(trial: Trial) -> None:
    """S3 answers 500 and 503 to a third of what it is asked, for some seconds."""
    errors = [Answer(500, "InternalError"), Answer(503, "SlowDown")]

    def rule(chance: Random, _call: Call) -> Fault | None:
        if chance.random() < 0.65:
            return None
        return chance.choice(errors)

    _storage(trial, rule)


@scenario("storage-slow")
def storage_slow(trial: Trial) -> None:
    """S3 takes seconds for each part: the lease must not depend on progress."""
    seconds = trial.few(LEASE_S + 2, 3)
    _storage(trial, lambda _, call: Slow(seconds) if "partNumber=1" in call.query else None)


@scenario("storage-reset")
def storage_reset(trial: Trial) -> None:
    """The connection to S3 is reset in the middle of a part, or when the answer is due."""

    def rule(chance: Random, call: Call) -> Fault | None:
        if not call.stores or chance.random() < 0.5:
            return None
        return Reset() if chance.random() < 0.5 else Lost()

    _storage(trial, rule)


def _storage(trial: Trial, rule: Callable[[Random, Call], Fault | None]) -> None:
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        people = three_people(lab)
        until = time.monotonic() + trial.few(8, 4)
        chance = trial.chance

        def for_some_seconds(call: Call) -> Fault | None:
            is_storage = not call.is_email and time.monotonic() < until
            return rule(chance, call) if is_storage else None

        lab.aws.rule = for_some_seconds
        while time.monotonic() < until:
            recover(trial, lab, [person.export() for person in people])
        trial.result.runs = lab.aws.injected


@scenario("disk-full")
def disk_full(trial: Trial) -> None:
    """No file of the workers may grow for longer than a lease; SQLite's log is one."""
    if not hasattr(resource, "prlimit"):
        raise Skipped("needs prlimit(2), which only Linux has")
    with trial.lab(Plan(workers=2)) as lab:
        tasks = three_exports(lab)
        lab.wait_for_claim(tasks[0])
        time.sleep(trial.chance.uniform(0, 0.5))
        workers = [psutil.Process(pid) for pid in lab.workers]
        limited = [*workers, *(one for worker in workers for one in worker.children())]
        for process in limited:
            _limit_files(process.pid, 4096)
        time.sleep(LEASE_S + 3 if not trial.quick else 2)
        # Work horses that were forked meanwhile have inherited the limit.
        for process in {*limited, *(one for worker in workers for one in worker.children())}:
            _limit_files(process.pid, resource.RLIM_INFINITY)
        recover(trial, lab, tasks)


def _limit_files(pid: int, size_bytes: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
    except ProcessLookupError:
        return

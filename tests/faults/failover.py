"""Servers that die, fall back, or move: what comes after is another machine, or an older state."""

import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from http import HTTPStatus

from tests.faults.actions import recover, three_exports
from tests.faults.lab import LEASE_S, Author, Lab, Plan
from tests.faults.trial import Skipped, Trial, scenario
from tests.harness.processes import run
from tests.harness.proxies import Proxy, to_port
from tests.harness.servers import Servers, Valkey
from tests.harness.waiting import wait_until

HALF_OPEN_S = 180
MOVED_TO = "127.0.0.2"
LONGEST_ANSWER_S = 55
"""How long a request may take that meets a dead connection: its time limit, and a second try."""

NOT_ENQUEUED = "could not enqueue"
"""What the API logs when it has to leave a task's job to the reconciler."""

REDIS_HOST, DATABASE_HOST = "redis.lab", "postgresql.lab"

IN_PLACE_OF_HOSTS = 'mount --bind "$0" /etc/hosts && exec "$@"'
"""Runs a command to which a file of its own is /etc/hosts."""


@scenario("redis-promoted")
def redis_promoted(trial: Trial) -> None:
    """The primary dies, and a replica that never got the last writes takes its place."""
    with trial.lab(Plan(workers=2, own_valkey=True)) as lab:
        for number in range(trial.few(3, 1)):
            with _replica(lab, number) as (replica, stall):
                early = three_exports(lab)
                stall()
                lost = three_exports(lab)
                lab.join().forget_password()  # nobody is woken up for it
                assert lab.valkey
                lab.valkey.stop()
                trial.result.kills += 1
                replica.promote()
                lab.fail_over(replica)
                recover(trial, lab, [*early, *lost])


@scenario("redis-demoted")
def redis_demoted(trial: Trial) -> None:
    """The primary becomes a replica of the new one and closes nothing: it refuses writes."""
    plan = Plan(workers=2, own_valkey=True)
    with trial.lab(plan) as lab, _replica(lab, 0) as (replica, _stall):
        tasks = three_exports(lab)
        lab.wait_for_claim(tasks[0])
        replica.promote()
        assert lab.valkey
        old = lab.valkey
        lab.fail_over(replica)
        old.follow(replica.port)
        began = time.monotonic()
        tasks += three_exports(lab)
        recover(trial, lab, tasks)
        # Each connection that the API keeps finds out once.
        wait_until(lambda: _all_are_enqueued(lab), "the API writes to the new primary")
        trial.result.notes["took_s"] = round(time.monotonic() - began, 1)


def _all_are_enqueued(lab: Lab) -> bool:
    before = lab.log.count(NOT_ENQUEUED)
    for task_id in [lab.join().export() for _ in range(5)]:
        lab.wait_for_end(task_id)
    return lab.log.count(NOT_ENQUEUED) == before


@contextmanager
def _replica(lab: Lab, number: int) -> Iterator[tuple[Valkey, Callable[[], None]]]:
    """A replica of the lab's Redis, and what stops it from hearing anything more."""
    assert lab.valkey
    line = Proxy(to_port(lab.valkey.port))
    replica = Valkey(lab.folder / f"replica-{number}")
    lab.defer(replica.stop)
    try:
        replica.follow(line.port)
        yield replica, line.stall
    finally:
        line.close()


@scenario("database-crash", "postgresql")
def database_crash(trial: Trial) -> None:
    """PostgreSQL, or one of its processes, is killed under load, and recovers from its log."""
    with Servers() as own:
        own.postgresql.make_durable()
        with replace(trial, servers=own).lab(Plan(workers=2)) as lab:
            for turn in range(trial.few(6, 2)):
                tasks = three_exports(lab)
                with _clients(lab) as answers:
                    lab.wait_for_claim(tasks[turn % 3])
                    time.sleep(trial.chance.uniform(0, 1.5))
                    own.postgresql.kill(whole=turn % 2 == 0)
                    trial.result.kills += 1
                    time.sleep(trial.chance.uniform(0, 3))
                    own.postgresql.recover()
                    recover(trial, lab, tasks)
                assert set(answers) <= {202, 409, 503}, sorted(set(answers))
                assert 202 in answers


@contextmanager
def _clients(lab: Lab) -> Iterator[list[int]]:
    """Somebody who asks for tasks all the time; the statuses of the answers."""
    person, answers, done = lab.join(50), list[int](), threading.Event()

    def ask() -> None:
        while not done.wait(0.05):
            answers.append(person.try_counting())

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        yield answers
    finally:
        done.set()
        thread.join()


@scenario("half-open", "postgresql")
def half_open(trial: Trial) -> None:
    """The connections to both are half open for minutes: nobody says so, and new ones work."""
    with trial.lab(Plan(workers=2, own_valkey=True, database_proxy=True)) as lab:
        assert lab.redis_line
        assert lab.database_line
        for _ in range(trial.few(2, 1)):
            tasks = three_exports(lab)
            lab.wait_for_claim(tasks[0])
            lab.redis_line.freeze()
            lab.database_line.freeze()
            began = time.monotonic()
            answers = [_longest_answer_s(lab) for _ in range(trial.few(40, 20))]
            trial.result.notes["longest_answer_s"] = round(max(answers), 1)
            assert max(answers) <= LONGEST_ANSWER_S, f"a client waited {max(answers):.0f} s"
            recover(trial, lab, tasks)
            left_s = began + trial.few(HALF_OPEN_S, 0) - time.monotonic()
            time.sleep(max(0.0, left_s))
            recover(trial, lab, [lab.join(50).export() for _ in range(5)])


def _longest_answer_s(lab: Lab) -> float:
    began = time.monotonic()
    lab.join().try_counting()
    return time.monotonic() - began


@scenario("dependency-moved", "postgresql")
def dependency_moved(trial: Trial) -> None:
    """The names of Redis and PostgreSQL lead to another address, and the old one is silent."""
    if sys.platform != "linux" or run("unshare", "--mount", "true").returncode:
        raise Skipped("needs a mount namespace of its own, as root on Linux")
    with Servers() as place:
        hosts = place.folder / "hosts"
        hosts.write_text(_hosts("127.0.0.1"))
        plan = Plan(
            workers=2,
            own_valkey=True,
            database_proxy=True,
            redis_host=REDIS_HOST,
            database_host=DATABASE_HOST,
            prefix=(shutil.which("unshare") or "", "--mount", "sh", "-c", IN_PLACE_OF_HOSTS,
                    str(hosts)),
        )  # fmt: skip
        with trial.lab(plan) as lab:
            tasks = three_exports(lab)
            lab.wait_for_claim(tasks[0])
            with _new_address(lab):
                hosts.write_text(_hosts(MOVED_TO))
                for line in filter(None, (lab.redis_line, lab.database_line)):
                    line.freeze()
                    line.refuse()
                people = [lab.join(50) for _ in range(trial.few(5, 2))]
                for person in people:
                    _insist(person)
                tasks += [person.export() for person in people]
                recover(trial, lab, tasks)
                time.sleep(trial.few(2 * LEASE_S, 0))
                recover(trial, lab, [lab.join(50).export()])


def _insist(person: Author) -> None:
    """Ask until a task is accepted: a request that meets an old connection is refused in time."""
    wait_until(lambda: person.try_counting() == HTTPStatus.ACCEPTED, "a task is accepted")


def _hosts(address: str) -> str:
    return f"127.0.0.1 localhost\n{address} {REDIS_HOST} {DATABASE_HOST}\n"


@contextmanager
def _new_address(lab: Lab) -> Iterator[None]:
    """Both servers are at home at another address, at the same ports."""
    assert lab.valkey
    assert lab.redis_line
    assert lab.database_line
    lines = [
        Proxy(to_port(lab.valkey.port), address=(MOVED_TO, lab.redis_line.port)),
        Proxy(lab.to_database, address=(MOVED_TO, lab.database_line.port)),
    ]
    for line in lines:
        lab.defer(line.close)
    yield

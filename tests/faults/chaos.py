"""Faults done to workers: what is done, how often, and what must hold besides the oracle."""

import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from random import Random

from tests.faults.actions import (
    MANY_POSTS,
    all_stopped_well,
    is_listening,
    kill,
    no_horse,
    recover,
    stop,
)
from tests.faults.lab import Author, Lab, Plan, parent_of, send
from tests.faults.trial import Trial, scenario
from tests.harness.processes import ROOT
from tests.harness.servers import DATABASES
from tests.harness.waiting import wait_until

CANCELS_WITHIN_S = 2.0


@scenario("kill-horse", *DATABASES)
def kill_horse(trial: Trial) -> None:
    """Kill -9 of the work horse in mid-export, again and again."""
    _kills(trial, "horse", times=trial.few(30, 2))


@scenario("kill-parent", *DATABASES)
def kill_parent(trial: Trial) -> None:
    """Kill -9 of the worker's parent process; its horse must notice and release the task."""
    _kills(trial, "parent", times=trial.few(24, 2))


@scenario("kill-both", *DATABASES)
def kill_both(trial: Trial) -> None:
    """Kill -9 of parent and horse at once; only the lease tells."""
    _kills(trial, "both", times=trial.few(16, 1))


def _kills(trial: Trial, whom: str, *, times: int) -> None:
    with trial.lab(Plan(workers=4)) as lab:
        people = [lab.join(posts) for posts in (3_000, 25_000, 60_000)]
        left = Countdown(times)
        seeds = [trial.chance.random() for _ in people]
        with ThreadPoolExecutor(len(people)) as pool:
            lives = [
                pool.submit(_die_often, lab, person, Random(seed), whom, left)
                for person, seed in zip(people, seeds, strict=True)
            ]
            trial.result.kills += sum(life.result() for life in lives)
        trial.result.runs += times


class Countdown:
    def __init__(self, times: int) -> None:
        self._left = times
        self._lock = threading.Lock()

    def use(self) -> bool:
        """Whether there was one left; it is not any more."""
        with self._lock:
            was_left = self._left > 0
            self._left -= was_left
            return was_left

    def give_back(self) -> None:
        with self._lock:
            self._left += 1


def _die_often(lab: Lab, person: Author, chance: Random, whom: str, left: Countdown) -> int:
    """Request exports and kill who works on them, up to three times each."""
    killed = 0
    while left.use():
        left.give_back()
        task_id, claim = person.export(), 0
        for _ in range(chance.randint(1, 3)):
            look = lab.wait_for_claim(task_id, above=claim)
            if look.is_over or not left.use():
                break
            time.sleep(chance.uniform(0, len(person.posts) / 30_000))
            if not (count := kill(lab, task_id, whom)):
                left.give_back()
                break
            killed += count
            claim = look.claim
        lab.wait_for_end(task_id)
    return killed


@scenario("poison")
def poison(trial: Trial) -> None:
    """A task that kills every worker fails with a reason, and the queue goes on."""
    with trial.lab(Plan(workers=1, settings={"TASK_MAX_ATTEMPTS": "3"})) as lab:
        victim, bystander = lab.join(MANY_POSTS), lab.join(50)
        task_id, claim = victim.export(outcomes=("failed",)), 0
        for _ in range(3):
            look = lab.wait_for_claim(task_id, above=claim)
            assert not look.is_over, look
            claim = look.claim
            trial.result.kills += kill(lab, task_id, "horse")
            trial.result.runs += 1
        lab.wait_for_end(bystander.export())
        error = victim.task(task_id)["error"]
        assert error["code"] == "worker_lost", error


@scenario("stopped-horse", *DATABASES)
def stopped_horse(trial: Trial) -> None:
    """SIGSTOP of a horse past its lease, then CONT: the zombie must change nothing."""
    with trial.lab(Plan(workers=2)) as lab:
        for number in range(trial.few(2, 1)):
            task_id = lab.join(60_000).export()
            look = lab.wait_for_claim(task_id)
            time.sleep(trial.chance.uniform(0, 1.5))
            horses = lab.horses(parent_of(look))
            trial.result.runs += send(signal.SIGSTOP, *horses)
            lab.watch.killed(task_id, look.claim)
            try:
                if number % 2:
                    lab.wait_for_end(task_id)
                else:  # the zombie awakes while its successor works
                    lab.wait_for_claim(task_id, above=look.claim)
            finally:
                send(signal.SIGCONT, *horses)
            lab.wait_for_end(task_id)
            no_horse(lab)


@scenario("term", *DATABASES)
def term(trial: Trial) -> None:
    """SIGTERM of an idle worker, and of a busy one: exit 0 in time, no attempt is used up."""
    with trial.lab(Plan(workers=2)) as lab:
        idle = lab.workers[0]
        wait_until(lambda: is_listening(lab, idle), "the worker listens")
        stop(lab, idle, trial)
        for _ in range(trial.few(4, 2)):
            person = lab.join(60_000)
            task_id = person.export()
            look = lab.wait_for_claim(task_id)
            time.sleep(trial.chance.uniform(0, 1))
            began = time.monotonic()
            stop(lab, parent_of(look), trial, twice_after_s=trial.chance.uniform(0, 0.2))
            look = lab.wait_for_claim(task_id, above=look.claim)
            trial.result.recovered_s.append(time.monotonic() - began)
            look = lab.wait_for_end(task_id)
            assert look.failures == 0, look
        all_stopped_well(lab)


@scenario("term-dequeuing", *DATABASES)
def term_dequeuing(trial: Trial) -> None:
    """SIGTERM while jobs come and go: none is lost, none is counted as a crash."""
    with trial.lab(Plan(workers=3)) as lab:
        people = [lab.join() for _ in range(6)]
        stopping = threading.Event()
        with ThreadPoolExecutor(len(people)) as pool:
            clients = [pool.submit(_ask_again_and_again, lab, who, stopping) for who in people]
            try:
                for _ in range(trial.few(12, 3)):
                    time.sleep(trial.chance.uniform(0.5, 1.5))
                    pid = trial.chance.choice(lab.workers)
                    # One that was started just now dies of the signal, as any process would.
                    if lab.is_worker(pid) and is_listening(lab, pid):
                        twice_after_s = trial.chance.choice([None, 0, 0.05])
                        stop(lab, pid, trial, twice_after_s=twice_after_s)
            finally:
                stopping.set()
            trial.result.notes["jobs"] = sum(client.result() for client in clients)
        recovered = [look for look in lab.watch.latest.values() if look.failures]
        assert not recovered, recovered
        all_stopped_well(lab)


def _ask_again_and_again(lab: Lab, person: Author, stopping: threading.Event) -> int:
    count = 0
    while not stopping.is_set():
        lab.wait_for_end(person.count_seconds(0))
        count += 1
    return count


@scenario("delivered-ten-times", *DATABASES)
def delivered_ten_times(trial: Trial) -> None:
    """The same job is in the queue ten times: one claim, one file, one email."""
    with trial.lab(Plan(workers=4)) as lab:
        for _ in range(trial.few(5, 2)):
            person = lab.join(trial.chance.choice([0, 3_000, MANY_POSTS]))
            task_id = person.export()
            with ThreadPoolExecutor(10) as pool:
                list(pool.map(lab.push, [task_id] * 10))
            recover(trial, lab, [task_id])
            assert lab.watch.latest[task_id].claim == 1, lab.watch.latest[task_id]


@scenario("posts-change", *DATABASES)
def posts_change(trial: Trial) -> None:
    """Posts are added and deleted while they are exported, and the horse is killed besides."""
    with trial.lab(Plan(workers=2)) as lab:
        person = lab.join(MANY_POSTS)
        numbers = list(lab.post_ids(person))
        task_id = person.export()
        look = lab.wait_for_claim(task_id)
        gone = set()
        for turn in range(trial.few(60, 15)):
            index = trial.chance.randrange(len(numbers))
            if index not in gone:
                gone.add(index)
                person.call("DELETE", f"/v1/posts/{numbers[index]}", status=204)
            person.write("late")
            if turn == 5 and kill(lab, task_id, "horse"):
                trial.result.kills += 1
            trial.result.runs += 1
        lab.wait_for_end(task_id)
        lab.may_miss(task_id, gone)
        assert look.claim == 1


@scenario("clock-off", "postgresql")
def clock_off(trial: Trial) -> None:
    """One worker's clock is an hour ahead, the other's an hour behind; leases do not care."""
    shim = str(ROOT / "tests" / "faults" / "clocks")
    with trial.lab(Plan(workers=2, settings={"PYTHONPATH": shim, "CLOCKS_OFF_S": "3600"})) as lab:
        for _ in range(trial.few(3, 1)):
            tasks = [lab.join(MANY_POSTS).export(), lab.join(MANY_POSTS).export()]
            recover(trial, lab, tasks)
            assert not any(lab.watch.latest[one].failures for one in tasks), "a lease was lost"
            task_id = lab.join(MANY_POSTS).export()
            look = lab.wait_for_claim(task_id)
            if kill(lab, task_id, trial.chance.choice(["horse", "both"])):
                trial.result.kills += 1
                lab.wait_for_claim(task_id, above=look.claim)
        assert "clock is off by 3600 s" in lab.log
        assert "clock is off by -3600 s" in lab.log


@scenario("account-erased", *DATABASES)
def account_erased(trial: Trial) -> None:
    """The account is deleted in mid-export: no file and no email comes back."""
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(4, 1)):
            person = lab.join(60_000)
            task_id = person.export(outcomes=("erased",))
            lab.wait_for_claim(task_id)
            time.sleep(trial.chance.uniform(0, 1.5))
            emails = set(lab.mail_dir.glob("*.eml"))
            person.call("DELETE", "/v1/me", status=204)
            trial.result.runs += 1
            no_horse(lab)
            late = set(lab.mail_dir.glob("*.eml")) - emails
            assert lab.was_published(task_id) or not late, "an email after the account was gone"


@scenario("cancelled", *DATABASES)
def cancelled(trial: Trial) -> None:
    """Cancel in mid-export acts within two seconds and cleans up."""
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(5, 2)):
            person = lab.join(60_000)
            task_id = person.export(outcomes=("cancelled", "succeeded"))
            lab.wait_for_claim(task_id)
            time.sleep(trial.chance.uniform(0, 1))
            answer = person.cancel(task_id)
            began = time.monotonic()
            look = lab.wait_for_end(task_id)
            took_s = time.monotonic() - began
            if answer.status_code == 202:
                trial.result.runs += 1
                trial.result.recovered_s.append(took_s)
                assert look.status == "cancelled", look
                assert took_s <= CANCELS_WITHIN_S, f"cancelling took {took_s:.1f} s"


@scenario("medley")
def medley(trial: Trial) -> None:
    """One of each on one stack with a short lease: what `make test` plays."""
    with trial.lab(Plan(settings={"LEASE_S": "5", "SWEEP_INTERVAL_S": "1"})) as lab:
        person = lab.join(30_000)
        for whom in ("horse", "both"):
            for _ in range(20):  # a fast machine may be done before it is hit
                task_id = person.export()
                lab.wait_for_claim(task_id)
                killed = kill(lab, task_id, whom)
                lab.wait_for_end(task_id)
                if killed:
                    break
            trial.result.kills += killed
        task_id = person.export()
        look = lab.wait_for_claim(task_id)
        stop(lab, parent_of(look), trial)
        lab.push(task_id)
        assert not lab.wait_for_end(task_id).failures
        task_id = person.export(outcomes=("cancelled", "succeeded"))
        lab.wait_for_claim(task_id)
        person.cancel(task_id)
        lab.wait_for_end(task_id)
        trial.result.runs += 4

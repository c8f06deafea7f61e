"""Faults done to real processes: what is done, how often, and what must hold besides the oracle."""

import resource
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from random import Random

import psutil
import sqlalchemy as sa

from chalicelib.db.models import OutboxMessage
from tests.faults.aws import Answer, Call, Fault, Lost, Reset, Slow, well
from tests.faults.lab import LEASE_S, SETTLED_WITHIN_S, Author, Lab, Plan, parent_of, send
from tests.faults.trial import Skipped, Trial, scenario
from tests.faults.watch import in_progress
from tests.harness.processes import ROOT
from tests.harness.waiting import wait_until

BOTH = ("sqlite", "postgresql")

STOPS_WITHIN_S = 10
CANCELS_WITHIN_S = 2.0
LINE_CUT_S = 40
SES_TIMEOUT_S = 60
SES_SLOW_S = 3
MANY_POSTS = 40_000
"""Some 10 MB in three parts, a second or two of work."""


@scenario("kill-horse", *BOTH)
def kill_horse(trial: Trial) -> None:
    """Kill -9 of the work horse in mid-export, again and again."""
    _kills(trial, "horse", times=trial.few(30, 2))


@scenario("kill-parent", *BOTH)
def kill_parent(trial: Trial) -> None:
    """Kill -9 of the worker's parent process; its horse must notice and release the task."""
    _kills(trial, "parent", times=trial.few(24, 2))


@scenario("kill-both", *BOTH)
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
    """So many times, shared by threads."""

    def __init__(self, times: int) -> None:
        self._left = times
        self._lock = threading.Lock()

    def use(self) -> bool:
        """Whether there was one left; it is not any more."""
        with self._lock:
            self._left -= 1
            return self._left >= 0

    def give_back(self) -> None:
        """One was used in vain."""
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
            if not (count := _kill(lab, task_id, whom)):
                left.give_back()
                break
            killed += count
            claim = look.claim
        lab.wait_for_end(task_id)
    return killed


def kill_worker(lab: Lab, chance: Random) -> int:
    """Kill any worker, and its horse with it half of the time; the horses' tasks are watched."""
    alive = [pid for pid in lab.workers if lab.is_worker(pid)]
    if not alive:
        return 0
    parent = chance.choice(alive)
    horses = lab.horses(parent) if chance.random() < 0.5 else []
    killed = send(signal.SIGKILL, parent, *horses)
    for look in in_progress(lab.watch.latest):
        if look.status == "running" and look.worker and parent_of(look) == parent:
            lab.watch.killed(look.task_id, look.claim)
    return killed


def _kill(lab: Lab, task_id: str, whom: str) -> int:
    look = lab.watch.latest[task_id]
    count = 0 if look.status != "running" else lab.kill(look, whom)
    if count:
        lab.watch.killed(task_id, look.claim)
    return count


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
            trial.result.kills += _kill(lab, task_id, "horse")
            trial.result.runs += 1
        lab.wait_for_end(bystander.export())
        error = victim.task(task_id)["error"]
        assert error["code"] == "worker_lost", error


@scenario("stopped-horse", *BOTH)
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
            _no_horse(lab)


@scenario("term", *BOTH)
def term(trial: Trial) -> None:
    """SIGTERM of an idle worker, and of a busy one: exit 0 in time, no attempt is used up."""
    with trial.lab(Plan(workers=2)) as lab:
        idle = lab.workers[0]
        wait_until(lambda: _listens(lab, idle), "the worker listens")
        _stop(lab, idle, trial)
        for _ in range(trial.few(4, 2)):
            person = lab.join(60_000)
            task_id = person.export()
            look = lab.wait_for_claim(task_id)
            time.sleep(trial.chance.uniform(0, 1))
            began = time.monotonic()
            _stop(lab, parent_of(look), trial, twice_after_s=trial.chance.uniform(0, 0.2))
            look = lab.wait_for_claim(task_id, above=look.claim)
            trial.result.recovered_s.append(time.monotonic() - began)
            look = lab.wait_for_end(task_id)
            assert look.failures == 0, look
        _all_stopped_well(lab)


def _stop(lab: Lab, pid: int, trial: Trial, *, twice_after_s: float | None = None) -> None:
    trial.result.runs += send(signal.SIGTERM, pid)
    if twice_after_s is not None:
        time.sleep(twice_after_s)
        send(signal.SIGTERM, pid)
    wait_until(lambda: not lab.is_worker(pid), "the worker stops", within_s=STOPS_WITHIN_S)


def _all_stopped_well(lab: Lab) -> None:
    ends = [line for line in lab.log.splitlines() if "; starting it again" in line]
    bad = [line for line in ends if "ended with status 0;" not in line]
    assert ends, "no worker ended"
    assert not bad, bad


@scenario("term-dequeuing", *BOTH)
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
                    if lab.is_worker(pid) and _listens(lab, pid):
                        twice_after_s = trial.chance.choice([None, 0, 0.05])
                        _stop(lab, pid, trial, twice_after_s=twice_after_s)
            finally:
                stopping.set()
            trial.result.notes["jobs"] = sum(client.result() for client in clients)
        crashed = [look for look in lab.watch.latest.values() if look.failures]
        assert not crashed, crashed
        _all_stopped_well(lab)


def _listens(lab: Lab, pid: int) -> bool:
    """Whether a worker has come so far that it knows what to do about signals."""
    ready = {"idle", "busy"}
    return any(one.pid == pid and one.state in ready for one in lab.wiring.queue.workers())


def _ask_again_and_again(lab: Lab, person: Author, stopping: threading.Event) -> int:
    count = 0
    while not stopping.is_set():
        lab.wait_for_end(person.count_seconds(0))
        count += 1
    return count


@scenario("redis-killed")
def redis_killed(trial: Trial) -> None:
    """Kill -9 of the stack's own Redis, which comes back with what was on its disk."""
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(4, 1)):
            tasks = _three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            trial.result.kills += send(signal.SIGKILL, lab.stack.facts["pids"]["redis"])
            lab.join().forget_password()  # nobody is woken up for it
            _recover(trial, lab, tasks)
            wait_until(lab.redis_answers, "Redis was started again")


@scenario("redis-flushed")
def redis_flushed(trial: Trial) -> None:
    """FLUSHALL with tasks queued and running."""
    with trial.lab(Plan(workers=2)) as lab:
        for _ in range(trial.few(4, 1)):
            tasks = _three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            lab.wiring.queue.redis.flushall()
            _recover(trial, lab, tasks)


@scenario("redis-emptied")
def redis_emptied(trial: Trial) -> None:
    """Redis is killed, loses its disk, and comes back empty."""
    with trial.lab(Plan(workers=2, own_valkey=True)) as lab:
        assert lab.valkey
        for _ in range(trial.few(3, 1)):
            tasks = _three_exports(lab)
            time.sleep(trial.chance.uniform(0, 1))
            lab.valkey.stop(wipe=True)
            time.sleep(trial.chance.uniform(0, 2))
            lab.valkey.start()
            _recover(trial, lab, tasks)
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
        tasks = _three_exports(lab)
        lab.wait_for_claim(tasks[0])
        cut(lab)
        healed_at = time.monotonic() + trial.few(LINE_CUT_S, 3)
        person = lab.join(100)
        tasks.append(person.export())  # accepted all the same: the ledger has it
        person.forget_password()
        time.sleep(max(0.0, healed_at - time.monotonic()))
        lab.redis_line.heal()
        _recover(trial, lab, tasks)


def _three_people(lab: Lab) -> list[Author]:
    return [lab.join(posts) for posts in (MANY_POSTS, 10_000, 50)]


def _three_exports(lab: Lab) -> list[str]:
    return [person.export() for person in _three_people(lab)]


def _recover(trial: Trial, lab: Lab, tasks: list[str]) -> None:
    """Wait for the end of tasks, and note how long it took from here."""
    began = time.monotonic()
    for task_id in tasks:
        lab.wait_for_end(task_id)
    trial.result.recovered_s.append(time.monotonic() - began)
    trial.result.runs += 1


@scenario("database-down", "postgresql")
def database_down(trial: Trial) -> None:
    """PostgreSQL cannot be reached for longer than a lease; then for a moment."""
    with trial.lab(Plan(workers=2, database_proxy=True)) as lab:
        assert lab.database_line
        for down_s in (LEASE_S + 3, 1)[: trial.few(2, 1)]:
            tasks = _three_exports(lab)
            lab.wait_for_claim(tasks[0])
            time.sleep(trial.chance.uniform(0, 0.5))
            lab.database_line.cut()
            time.sleep(down_s if not trial.quick else 2)
            lab.database_line.heal()
            _recover(trial, lab, tasks)


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
        people = _three_people(lab)
        until = time.monotonic() + trial.few(8, 4)
        chance = trial.chance

        def for_some_seconds(call: Call) -> Fault | None:
            is_storage = not call.is_email and time.monotonic() < until
            return rule(chance, call) if is_storage else None

        lab.aws.rule = for_some_seconds
        while time.monotonic() < until:
            _recover(trial, lab, [person.export() for person in people])
        trial.result.runs = lab.aws.injected


@scenario("email-refused")
def email_refused(trial: Trial) -> None:
    """SES is throttled, then paused: it is asked again, and one email arrives."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        refusals = [
            Answer(429, "TooManyRequestsException"),
            Answer(400, "SendingPausedException"),
            Answer(429, "LimitExceededException"),
        ]

        def rule(call: Call) -> Fault | None:
            return refusals.pop() if call.is_email and refusals else None

        lab.aws.rule = rule
        tasks = [lab.join(50).export() for _ in range(3)]
        _recover(trial, lab, tasks)
        began = time.monotonic()
        _emails_are_settled(lab, tasks)
        trial.result.recovered_s.append(time.monotonic() - began)
        trial.result.runs = lab.aws.injected
        assert _email_states(lab, tasks) == {"sent"}


def _emails_are_settled(lab: Lab, tasks: list[str], *, within_s: float = 90) -> None:
    wait_until(
        lambda: all(lab.watch.latest[one].is_settled for one in tasks),
        "the emails are settled",
        within_s=within_s,
    )


def _email_states(lab: Lab, tasks: list[str]) -> set[str | None]:
    return {lab.watch.latest[one].email_state for one in tasks}


@scenario("email-unanswered")
def email_unanswered(trial: Trial) -> None:
    """SES accepts an email and its answer is lost: at once, and after the time limit."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        losses = [Lost(), Lost(SES_TIMEOUT_S + 5)][: trial.few(2, 1)]

        def rule(call: Call) -> Fault | None:
            return losses.pop() if call.is_email and losses else None

        lab.aws.rule = rule
        tasks = [lab.join(50).export() for _ in range(trial.few(2, 1))]
        _recover(trial, lab, tasks)
        _emails_are_settled(lab, tasks, within_s=SES_TIMEOUT_S + 30)
        assert _email_states(lab, tasks) == {"unknown"}
        trial.result.runs = lab.aws.injected


@scenario("link-unanswered")
def link_unanswered(trial: Trial) -> None:
    """SES does not say whether it accepted a link, or fails: another one is sent."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        assert lab.aws
        faults: list[Fault] = [
            Lost(),
            Answer(500, "InternalFailure"),
            Answer(503, "ServiceUnavailable"),
        ]

        def rule(call: Call) -> Fault | None:
            return faults.pop() if call.is_email and faults else None

        lab.aws.rule = rule
        for _ in range(3):
            lab.join().forget_password()
        _links_are_sent(lab)
        trial.result.runs = lab.aws.injected


def _links_are_sent(lab: Lab) -> None:
    statement = sa.select(OutboxMessage.state).where(OutboxMessage.task_id.is_(None))

    def are_sent() -> bool:
        with lab.wiring.database.read() as session:
            return set(session.scalars(statement)) <= {"sent"}

    wait_until(are_sent, "the links are sent", within_s=SETTLED_WITHIN_S)


@scenario("sender-killed", *BOTH)
def sender_killed(trial: Trial) -> None:
    """Kill -9 of a sender in the act: a link is sent again, an email about an export is not."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        for _ in range(trial.few(2, 1)):
            (task_id,) = _leave_to_senders(lab, 1)
            lab.join().forget_password()
            for _ in range(2):
                trial.result.kills += _while_sending(lab, signal.SIGKILL)
                trial.result.runs += 1
            lab.aws.rule = well  # type: ignore[union-attr]
            _emails_are_settled(lab, [task_id], within_s=SETTLED_WITHIN_S)
            assert _email_states(lab, [task_id]) <= {"unknown", "sent"}
            _links_are_sent(lab)


@scenario("sender-stopped", *BOTH)
def sender_stopped(trial: Trial) -> None:
    """SIGSTOP of a sender past its lease, then CONT: the fate of the email is settled by then."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        (task_id,) = _leave_to_senders(lab, 1)
        process = _sender(lab)
        process.suspend()
        trial.result.runs += 1
        try:
            _emails_are_settled(lab, [task_id], within_s=SETTLED_WITHIN_S)
            assert _email_states(lab, [task_id]) == {"unknown"}
        finally:
            process.resume()


@scenario("sender-stopping", *BOTH)
def sender_stopping(trial: Trial) -> None:
    """SIGTERM of a worker whose sender is in the act: the email is sent, and the ledger knows."""
    with trial.lab(Plan(workers=2, aws_proxy=True)) as lab:
        for _ in range(trial.few(4, 2)):
            tasks = _leave_to_senders(lab, 1)
            lab.join().forget_password()
            parent = _sender(lab).ppid()
            _stop(lab, parent, trial)
            lab.aws.rule = well  # type: ignore[union-attr]
            _emails_are_settled(lab, tasks)
            assert _email_states(lab, tasks) == {"sent"}
        _all_stopped_well(lab)


def _leave_to_senders(lab: Lab, count: int) -> list[str]:
    """Have work horses finish exports, and SES refuse their emails once; then it is slow."""
    assert lab.aws
    left = [Answer(429, "TooManyRequestsException")] * count

    def rule(call: Call) -> Fault | None:
        if not call.is_email:
            return None
        return left.pop() if left else Slow(SES_SLOW_S)

    lab.aws.rule = rule
    tasks = [lab.join(50).export() for _ in range(count)]
    for task_id in tasks:
        lab.wait_for_end(task_id)
    wait_until(lambda: not left, "the emails were refused")
    return tasks


def _sender(lab: Lab) -> psutil.Process:
    """Whoever sends an email just now."""
    found: list[psutil.Process] = []

    def is_there() -> bool:
        found.extend(filter(None, [lab.sender()]))
        return bool(found)

    wait_until(is_there, "an email is being sent")
    return found[0]


def _while_sending(lab: Lab, number: int) -> int:
    return send(_sender(lab).pid, number)


@scenario("delivered-ten-times", *BOTH)
def delivered_ten_times(trial: Trial) -> None:
    """The same job is in the queue ten times: one claim, one file, one email."""
    with trial.lab(Plan(workers=4)) as lab:
        for _ in range(trial.few(5, 2)):
            person = lab.join(trial.chance.choice([0, 3_000, MANY_POSTS]))
            task_id = person.export()
            with ThreadPoolExecutor(10) as pool:
                list(pool.map(lab.push, [task_id] * 10))
            _recover(trial, lab, [task_id])
            assert lab.watch.latest[task_id].claim == 1, lab.watch.latest[task_id]


@scenario("disk-full")
def disk_full(trial: Trial) -> None:
    """No file of the workers may grow for longer than a lease; SQLite's log is one."""
    if not hasattr(resource, "prlimit"):
        raise Skipped("needs prlimit(2), which only Linux has")
    with trial.lab(Plan(workers=2)) as lab:
        tasks = _three_exports(lab)
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
        _recover(trial, lab, tasks)


def _limit_files(pid: int, size_bytes: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size_bytes, resource.RLIM_INFINITY))
    except ProcessLookupError:
        return


@scenario("posts-change", *BOTH)
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
            if turn == 5 and _kill(lab, task_id, "horse"):
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
            _recover(trial, lab, tasks)
            assert not any(lab.watch.latest[one].failures for one in tasks), "a lease was lost"
            task_id = lab.join(MANY_POSTS).export()
            look = lab.wait_for_claim(task_id)
            if _kill(lab, task_id, trial.chance.choice(["horse", "both"])):
                trial.result.kills += 1
                lab.wait_for_claim(task_id, above=look.claim)
        assert "clock is off by 3600 s" in lab.log
        assert "clock is off by -3600 s" in lab.log


@scenario("account-erased", *BOTH)
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
            _no_horse(lab)
            late = set(lab.mail_dir.glob("*.eml")) - emails
            assert lab.was_published(task_id) or not late, "an email after the account was gone"


def _no_horse(lab: Lab) -> None:
    wait_until(lambda: not any(lab.horses(pid) for pid in lab.workers), "the workers are idle")


@scenario("cancelled", *BOTH)
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
                killed = _kill(lab, task_id, whom)
                lab.wait_for_end(task_id)
                if killed:
                    break
            trial.result.kills += killed
        task_id = person.export()
        look = lab.wait_for_claim(task_id)
        _stop(lab, parent_of(look), trial)
        lab.push(task_id)
        assert not lab.wait_for_end(task_id).failures
        task_id = person.export(outcomes=("cancelled", "succeeded"))
        lab.wait_for_claim(task_id)
        person.cancel(task_id)
        lab.wait_for_end(task_id)
        trial.result.runs += 4

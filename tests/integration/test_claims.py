from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import Task, User
from chalicelib.errors import CancelRequested, ClaimLost
from chalicelib.microblog import posts
from chalicelib.outbox import messages
from chalicelib.outbox.messages import MAX_TRIES, MailHolder
from chalicelib.tasks import leases, notifications
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import Holder
from tests.conftest import both_databases
from tests.harness.ledgers import FILE, LEASE_S, lapse, launch, make_user, now, put, take, the_task


def try_to_take(database: Database, task_id: str) -> Holder | None:
    """Claim a task, if it can be claimed."""
    taken = leases.take(database, task_id, worker="other", lease_s=LEASE_S, now=now())
    return taken[0] if taken else None


def cancel(database: Database, task_id: str) -> None:
    """Ask to cancel a task."""
    with database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=LEASE_S, now=now())


def last_seq(database: Database, user_id: int) -> int:
    """The number of the user's last notification."""
    with database.read() as session:
        return session.get_one(User, user_id).notification_seq


@pytest.fixture
def user_id(database: Database) -> int:
    """A user."""
    return make_user(database)


@pytest.fixture
def task_id(database: Database, user_id: int) -> str:
    """An export of theirs, queued."""
    return launch(database, user_id)


@both_databases
def test_one_of_ten_wins(database: Database, user_id: int, task_id: str) -> None:
    """However many workers hear the bell, one gets the task, and only that is news."""
    before = last_seq(database, user_id)
    with ThreadPoolExecutor(10) as pool:
        holders = list(pool.map(lambda _: try_to_take(database, task_id), range(10)))
    (holder,) = [one for one in holders if one is not None]
    task = the_task(database, task_id)
    assert (task.status, task.claim, task.attempt) == ("running", holder.claim, 1)
    assert last_seq(database, user_id) == before + 1


@both_databases
def test_first_claim_fixes_what_is_seen(database: Database, user_id: int, task_id: str) -> None:
    """The start and the newest post's number are those of the first attempt, not of the next."""
    with database.write() as session:
        post_id = posts.write_post(session, user_id, "before", now=now()).id
    take(database, task_id).hand_back(now=now())
    started_at = the_task(database, task_id).started_at
    with database.write() as session:
        posts.write_post(session, user_id, "after", now=now())
    take(database, task_id)
    task = the_task(database, task_id)
    assert (task.started_at, task.cutoff) == (started_at, post_id)


WRITES: dict[str, Callable[[Holder], object]] = {
    "report": lambda one: one.report(1, 2, now=now(), checkpoint={"a": 1}, object_key="x"),
    "succeed": lambda one: one.succeed(now=now(), file=FILE, expires_at=now()),
    "finish": lambda one: one.succeed(now=now(), result={"seconds": 1}),
    "fail": lambda one: one.fail("broken", "It broke.", now=now()),
    "cancel": lambda one: one.cancel(now=now()),
    "put_off": lambda one: one.put_off("away", "It was away.", now=now()),
    "hand_back": lambda one: one.hand_back(now=now()),
}


@both_databases
def test_fence(database: Database, user_id: int, task_id: str) -> None:
    """Who lost the claim changes nothing: whoever has it now, and however the task ended."""

    def nothing_changes(stale: Holder) -> None:
        before = vars(the_task(database, task_id)).copy(), last_seq(database, user_id)
        for name, write in WRITES.items():
            with pytest.raises(ClaimLost):
                write(stale)
            assert name
        assert stale.renew() is None
        assert not stale.bury(now=now())
        after = vars(the_task(database, task_id)).copy(), last_seq(database, user_id)
        for facts in (before[0], after[0]):
            facts.pop("_sa_instance_state")
        assert after == before

    old = take(database, task_id)
    assert old.bury(now=now())
    nothing_changes(old)  # queued again
    lapse(database, task_id)
    new = take(database, task_id)
    nothing_changes(old)  # somebody else's
    new.succeed(now=now(), file=FILE, expires_at=now())
    nothing_changes(old)
    nothing_changes(new)  # over


@both_databases
def test_erased_task_is_lost(database: Database, user_id: int, task_id: str) -> None:
    """A task that is gone with its account is a lost claim, not a crash."""
    holder = take(database, task_id)
    with database.write() as session:
        session.execute(sa.delete(User).where(User.id == user_id))
    for write in WRITES.values():
        with pytest.raises(ClaimLost):
            write(holder)
    assert holder.renew() is None
    assert not holder.bury(now=now())
    assert try_to_take(database, task_id) is None


@both_databases
def test_hand_back_costs_nothing(database: Database, task_id: str) -> None:
    """A worker that must stop leaves the task as it is: due at once, the same attempt."""
    holder = take(database, task_id)
    holder.report(1, 2, now=now(), checkpoint={"page": 1}, object_key="key")
    holder.hand_back(now=now())
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.percent) == ("queued", 0, 50)
    assert (task.checkpoint, task.object_key) == ({"page": 1}, "key")
    take(database, task_id)
    assert the_task(database, task_id).attempt == 1


@both_databases
def test_faults_cost_attempts_up_to_the_last(database: Database, task_id: str) -> None:
    """A passing fault is tried again after longer and longer pauses; the last one is final."""
    for failures, most_s in ((1, 1), (2, 2)):
        holder = take(database, task_id)
        assert the_task(database, task_id).attempt == failures
        at = now()
        holder.put_off("away", "It was away.", now=now())
        task = the_task(database, task_id)
        assert (task.status, task.failures, task.error_code) == ("queued", failures, None)
        assert at + timedelta(seconds=most_s / 2 - 0.01) <= task.due_at
        assert task.due_at <= now() + timedelta(seconds=most_s)
        lapse(database, task_id)
    take(database, task_id).put_off("away", "It was away.", now=now())
    task = the_task(database, task_id)
    assert (task.status, task.error_code, task.error_detail) == ("failed", "away", "It was away.")
    assert (task.attempt, task.mail_state) == (3, "pending")


def test_pauses_have_a_limit(database: Database, task_id: str) -> None:
    """After many faults the pause is a minute at most."""
    put(database, task_id, failures=40, max_attempts=100)
    at = now()
    take(database, task_id).put_off("away", "It was away.", now=now())
    due_at = the_task(database, task_id).due_at
    assert at + timedelta(seconds=29) <= due_at <= now() + timedelta(seconds=60)


@both_databases
def test_not_before_its_pause_is_over(database: Database, task_id: str) -> None:
    """An early bell is not heard."""
    put(database, task_id, due_at=now() + timedelta(seconds=10))
    assert try_to_take(database, task_id) is None
    lapse(database, task_id)
    assert try_to_take(database, task_id)


@both_databases
def test_crash_on_the_last_attempt(database: Database, task_id: str) -> None:
    """A worker that dies costs an attempt; after the last the task failed, and says why."""
    for _ in range(3):
        assert the_task(database, task_id).status == "queued"
        assert take(database, task_id).bury(now=now())
        lapse(database, task_id)
    task = the_task(database, task_id)
    assert (task.status, task.error_code, task.attempt) == ("failed", "worker_lost", 3)
    assert (task.object_key, task.checkpoint) == (None, None)


@both_databases
def test_cancelling(database: Database, task_id: str) -> None:
    """A task that is to be cancelled can only end so, even when its worker dies."""
    holder = take(database, task_id)
    cancel(database, task_id)
    for name in ("report", "succeed", "fail", "hand_back"):
        with pytest.raises(CancelRequested):
            WRITES[name](holder)
    assert holder.renew() == "cancelling"
    assert holder.bury(now=now())
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.error_code) == ("cancelled", 0, None)
    assert task.finished_at


@both_databases
def test_cancel_and_fault_together(database: Database, task_id: str) -> None:
    """A passing fault of a task that is to be cancelled ends it; nobody tries again."""
    holder = take(database, task_id)
    cancel(database, task_id)
    holder.put_off("away", "It was away.", now=now())
    assert the_task(database, task_id).status == "cancelled"


def test_percent_never_falls(database: Database, task_id: str) -> None:
    """Neither less work done, nor more to do, nor a new attempt takes a percentage back."""
    holder = take(database, task_id)
    reports = [((1, 4), 25), ((0, 4), 25), ((2, 100), 25), ((0, 0), 25), ((400, 100), 99)]
    for (done, total), percent in reports:
        assert holder.report(done, total, now=now()) == percent
    holder.bury(now=now())
    assert the_task(database, task_id).percent == 99
    lapse(database, task_id)
    assert take(database, task_id).report(0, 100, now=now()) == 99


@both_databases
def test_hundred_percent_is_success(database: Database, task_id: str) -> None:
    """All done is 99 until the outcome is written."""
    holder = take(database, task_id)
    assert holder.report(2, 2, now=now()) == 99
    holder.succeed(now=now(), file=FILE, expires_at=now())
    task = the_task(database, task_id)
    assert (task.status, task.percent, task.done, task.total) == ("succeeded", 100, 2, 2)


def test_success_is_all_done(database: Database, task_id: str) -> None:
    """A task without a file that succeeded has nothing left, however seldom it told."""
    holder = take(database, task_id)
    holder.report(1, 3, now=now())
    holder.succeed(now=now(), result={})
    task = the_task(database, task_id)
    assert (task.percent, task.done, task.total) == (100, 3, 3)


@both_databases
def test_every_change_is_told(database: Database, user_id: int, task_id: str) -> None:
    """A notification goes with each change of a task, and with nothing else."""
    seen: list[int] = []

    def told() -> str:
        with database.read() as session:
            found, _ = notifications.since(session, user_id, after=seen[-1] if seen else 0)
        assert len(found) == 1
        seen.append(found[0].seq)
        return str(found[0].data["status"])

    assert told() == "queued"
    holder = take(database, task_id)
    assert told() == "running"
    holder.report(1, 2, now=now())
    assert told() == "running"
    holder.hand_back(now=now())
    assert told() == "queued"
    cancel(database, task_id)
    assert told() == "cancelled"
    cancel(database, task_id)  # changes nothing
    with database.read() as session:
        assert notifications.since(session, user_id, after=seen[-1])[0] == []


# --- The mail ledger ---


def mail_of(task: Task) -> tuple[str, str | None, bool]:
    """What the ledger says about a task's mail."""
    return task.mail_state, task.mail_message_id, task.mail_sent_at is not None


def claim_mail(database: Database, task_id: str) -> MailHolder | None:
    """Take the duty to send a mail, if there is one."""
    claimed = messages.claim(database, task_id, lease_s=LEASE_S, now=now())
    return claimed[0] if claimed else None


@pytest.fixture
def mailing(database: Database, task_id: str) -> str:
    """A task whose mail is to be sent."""
    take(database, task_id).fail("broken", "It broke.", now=now())
    return task_id


@both_databases
def test_no_mail_before_the_end(database: Database, user_id: int, task_id: str) -> None:
    """Before an export's end there is nothing to mail, and never about other tasks."""
    assert claim_mail(database, task_id) is None
    take(database, task_id)
    assert claim_mail(database, task_id) is None
    example = launch(database, user_id, "example")
    take(database, example).succeed(now=now(), result={"seconds": 1})
    assert claim_mail(database, example) is None


@both_databases
def test_one_of_ten_mails(database: Database, mailing: str) -> None:
    """However many hear of it, one sends the mail."""
    with ThreadPoolExecutor(10) as pool:
        holders = list(pool.map(lambda _: claim_mail(database, mailing), range(10)))
    (holder,) = [one for one in holders if one is not None]
    assert mail_of(the_task(database, mailing)) == ("sending", None, False)
    holder.settle("sent", message_id="m1", now=now())
    assert mail_of(the_task(database, mailing)) == ("sent", "m1", True)
    assert claim_mail(database, mailing) is None
    holder.settle("failed", now=now())  # too late: what was sent stays sent
    assert mail_of(the_task(database, mailing)) == ("sent", "m1", True)


@both_databases
@pytest.mark.parametrize("state", ["failed", "unknown"])
def test_mail_that_was_not_sent(database: Database, mailing: str, state: messages.Final) -> None:
    """Refused for good, or nobody knows: it is not sent again by itself."""
    holder = claim_mail(database, mailing)
    assert holder
    holder.settle(state, now=now())
    assert mail_of(the_task(database, mailing)) == (state, None, False)
    lapse(database, mailing)
    assert claim_mail(database, mailing) is None


@both_databases
def test_mail_postponed(database: Database, mailing: str) -> None:
    """Refused for now, it is tried again after its pause, but not for ever."""
    for tries in range(1, MAX_TRIES + 1):
        assert the_task(database, mailing).mail_state == "pending"
        holder = claim_mail(database, mailing)
        assert holder
        assert the_task(database, mailing).mail_tries == tries
        holder.postpone(pause_s=60, now=now())
        assert claim_mail(database, mailing) is None
        lapse(database, mailing)
    assert the_task(database, mailing).mail_state == "failed"


@both_databases
def test_mail_of_the_past_is_disowned(database: Database, mailing: str) -> None:
    """Who still sends for an outcome that was taken back writes nothing about the new one."""
    holder = claim_mail(database, mailing)
    assert holder
    with database.write() as session:
        task_requests.retry_task(session, mailing, now=now())
    holder.settle("sent", message_id="m1", now=now())
    assert mail_of(the_task(database, mailing)) == ("none", None, False)
    take(database, mailing).fail("broken", "It broke again.", now=now())
    holder.postpone(pause_s=60, now=now())
    assert claim_mail(database, mailing)


def test_mail_of_an_erased_account(database: Database, user_id: int, mailing: str) -> None:
    """Nobody is left to write to, and there is nothing to write about."""
    holder = claim_mail(database, mailing)
    assert holder
    with database.write() as session:
        session.execute(sa.delete(User).where(User.id == user_id))
    holder.settle("sent", now=now())
    holder.postpone(pause_s=0, now=now())
    assert claim_mail(database, mailing) is None

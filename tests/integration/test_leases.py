from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import Task, User
from chalicelib.errors import CancelRequested, ClaimLost
from chalicelib.microblog import posts
from chalicelib.outbox import messages
from chalicelib.outbox.messages import Message
from chalicelib.tasks import leases, notifications
from chalicelib.tasks import requests as task_requests
from chalicelib.tasks.leases import Lease
from chalicelib.tasks.registry import TASKS
from tests.conftest import both_databases
from tests.harness.ledgers import (
    LEASE_S,
    a_file,
    claim,
    lapse,
    launch,
    now,
    put,
    the_email,
    the_export,
    the_task,
)


def try_to_claim(database: Database, task_id: str) -> Lease | None:
    """Claim a task, if it can be claimed."""
    claimed = leases.claim(database, task_id, worker="other", lease_s=LEASE_S, now=now())
    return claimed.lease if claimed else None


def cancel(database: Database, task_id: str) -> None:
    with database.write() as session:
        task_requests.cancel_task(session, task_id, lease_s=LEASE_S, now=now())


def last_seq(database: Database, user_id: int) -> int:
    with database.read() as session:
        return session.get_one(User, user_id).notification_seq


@both_databases
def test_one_of_ten_wins(database: Database, user_id: int, task_id: str) -> None:
    """However many workers get the hint, one claims the task, and only that is news."""
    before = last_seq(database, user_id)
    with ThreadPoolExecutor(10) as pool:
        claims = list(pool.map(lambda _: try_to_claim(database, task_id), range(10)))
    (lease,) = [one for one in claims if one is not None]
    task = the_task(database, task_id)
    assert (task.status, task.claim, task.attempt) == ("running", lease.claim, 1)
    assert last_seq(database, user_id) == before + 1


@both_databases
def test_first_claim_fixes_what_is_seen(database: Database, user_id: int, task_id: str) -> None:
    """The start and the newest post's number are those of the first attempt, not of the next."""
    with database.write() as session:
        post_id = posts.write_post(session, user_id, "before", now=now()).id
    claim(database, task_id).release(now=now())
    started_at = the_task(database, task_id).started_at
    with database.write() as session:
        posts.write_post(session, user_id, "after", now=now())
    claim(database, task_id)
    task = the_task(database, task_id)
    assert task.started_at == started_at
    assert the_export(database, task_id).snapshot == {"posts": post_id}


def others_wait(database: Database) -> bool:
    with database.read() as session:
        return leases.others_wait(session)


def publish(lease: Lease) -> None:
    """End an export well; its task may be gone."""
    task = Task(id=lease.task_id, user_id=1)
    lease.succeed(a_file(task, lease.claim), total=2, now=now())


WRITES: dict[str, Callable[[Lease], object]] = {
    "report": lambda one: one.report(1, 2, now=now(), checkpoint={"a": 1}),
    "succeed": publish,
    "finish": lambda one: one.succeed({"seconds": 1}, now=now()),
    "fail": lambda one: one.fail("broken", "It broke.", now=now()),
    "cancel": lambda one: one.cancel(now=now()),
    "retry_later": lambda one: one.retry_later("away", "It was away.", now=now()),
    "release": lambda one: one.release(now=now()),
    "make_room": lambda one: one.release(now=now(), to_end=True),
    "time_out": lambda one: one.time_out(60, now=now()),
}


@both_databases
def test_fence(database: Database, user_id: int, task_id: str) -> None:
    """Who lost the claim changes nothing: whoever has it now, and however the task ended."""

    def nothing_changes(stale: Lease) -> None:
        before = vars(the_task(database, task_id)).copy(), last_seq(database, user_id)
        for name, write in WRITES.items():
            with pytest.raises(ClaimLost):
                write(stale)
            assert name
        assert stale.renew() is None
        assert not stale.recover(now=now())
        after = vars(the_task(database, task_id)).copy(), last_seq(database, user_id)
        for facts in (before[0], after[0]):
            facts.pop("_sa_instance_state")
        assert after == before

    old = claim(database, task_id)
    assert old.recover(now=now())
    nothing_changes(old)  # queued again
    lapse(database, task_id)
    new = claim(database, task_id)
    nothing_changes(old)  # somebody else's
    publish(new)
    nothing_changes(old)
    nothing_changes(new)  # over


@both_databases
def test_erased_task_is_lost(database: Database, user_id: int, task_id: str) -> None:
    """A task that is gone with its account is a lost claim, not a crash."""
    lease = claim(database, task_id)
    with database.write() as session:
        session.execute(sa.delete(User).where(User.id == user_id))
    for write in WRITES.values():
        with pytest.raises(ClaimLost):
            write(lease)
    assert lease.renew() is None
    assert not lease.recover(now=now())
    assert try_to_claim(database, task_id) is None


@both_databases
def test_release_costs_nothing(database: Database, task_id: str) -> None:
    """A worker that must stop leaves the task as it is: due at once, the same attempt."""
    lease = claim(database, task_id)
    lease.report(1, 2, now=now(), checkpoint={"page": 1, "key": "key"})
    lease.release(now=now())
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.percent) == ("queued", 0, 50)
    assert task.checkpoint == {"page": 1, "key": "key"}
    claim(database, task_id)
    assert the_task(database, task_id).attempt == 1


@both_databases
def test_making_room(database: Database, user_id: int, task_id: str) -> None:
    """A task that makes room goes on after those that wait, and says so until it does."""
    lease = claim(database, task_id)
    lease.report(1, 2, now=now(), checkpoint={"page": 1})
    assert not others_wait(database)
    other = launch(database, user_id, "example")
    assert others_wait(database)
    lease.release(now=now(), to_end=True)
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.percent) == ("queued", 0, 50)
    assert task.checkpoint == {"page": 1}
    assert task.yielded_at
    assert task.yielded_at - task.queued_at < timedelta(seconds=1)  # two looks at one clock
    assert task.queued_at > the_task(database, other).queued_at
    claim(database, task_id)
    assert the_task(database, task_id).yielded_at is None


@both_databases
def test_who_cannot_be_claimed_does_not_wait(
    database: Database, user_id: int, task_id: str
) -> None:
    """Neither a pause that is not over nor a task that runs is a reason to make room."""
    claim(database, task_id)
    other = launch(database, user_id, "example")
    put(database, other, due_at=now() + timedelta(seconds=60))
    assert not others_wait(database)
    lapse(database, other)
    claim(database, other)
    assert not others_wait(database)


@both_databases
def test_out_of_time(database: Database, task_id: str) -> None:
    """An attempt that got nowhere fails; whatever checkpoint an earlier one left counts not."""
    claim(database, task_id).report(1, 2, now=now(), checkpoint={"page": 1})
    put(database, task_id, status="queued")
    lease = claim(database, task_id)
    lease.report(1, 2, now=now(), checkpoint={"page": 1})  # the same again gets nobody on
    lease.report(1, 2, now=now())
    assert lease.time_out(60, now=now()) == "failed"
    task = the_task(database, task_id)
    assert (task.status, task.error_code) == ("failed", "timeout")
    assert task.error_detail == "The task took longer than 60 seconds."


@both_databases
def test_out_of_time_but_further(database: Database, task_id: str) -> None:
    """An attempt that moved the checkpoint costs nothing, and the task goes on at the end."""
    lease = claim(database, task_id)
    lease.report(1, 2, now=now(), checkpoint={"page": 1})
    assert lease.time_out(60, now=now()) == "released"
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.checkpoint) == ("queued", 0, {"page": 1})
    assert task.yielded_at
    assert task.yielded_at - task.queued_at < timedelta(seconds=1)  # two looks at one clock


@both_databases
def test_out_of_time_and_cancelled(database: Database, task_id: str) -> None:
    """Whoever asked to cancel gets that, not a failure, nor another attempt."""
    lease = claim(database, task_id)
    lease.report(1, 2, now=now(), checkpoint={"page": 1})
    cancel(database, task_id)
    assert lease.time_out(60, now=now()) == "cancelled"
    assert the_task(database, task_id).status == "cancelled"


@both_databases
def test_errors_cost_attempts_up_to_the_last(database: Database, task_id: str) -> None:
    """A transient error is tried again after longer and longer pauses; the last one is final."""
    for failures, most_s in ((1, 1), (2, 2)):
        lease = claim(database, task_id)
        assert the_task(database, task_id).attempt == failures
        at = now()
        lease.retry_later("away", "It was away.", now=now())
        task = the_task(database, task_id)
        assert (task.status, task.failures, task.error_code) == ("queued", failures, None)
        assert at + timedelta(seconds=most_s / 2 - 0.01) <= task.due_at
        assert task.due_at <= now() + timedelta(seconds=most_s)
        lapse(database, task_id)
    claim(database, task_id).retry_later("away", "It was away.", now=now())
    task = the_task(database, task_id)
    assert (task.status, task.error_code, task.error_detail) == ("failed", "away", "It was away.")
    assert (task.attempt, email_of(database, task_id)[0]) == (3, "pending")


def test_pauses_have_a_limit(
    database: Database, task_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After many faults the pause is a minute at most."""
    monkeypatch.setattr("random.uniform", lambda _least, most: most)
    put(database, task_id, failures=40, max_attempts=100)
    at = now()
    claim(database, task_id).retry_later("away", "It was away.", now=now())
    due_at = the_task(database, task_id).due_at
    assert at + timedelta(seconds=59.5) <= due_at <= now() + timedelta(seconds=60.5)


@both_databases
def test_not_before_its_pause_is_over(database: Database, task_id: str) -> None:
    """An early hint has no effect."""
    put(database, task_id, due_at=now() + timedelta(seconds=10))
    assert try_to_claim(database, task_id) is None
    lapse(database, task_id)
    assert try_to_claim(database, task_id)


@both_databases
def test_a_kind_that_this_code_does_not_know(database: Database, task_id: str) -> None:
    """A task that newer code queued, before a rollback, waits for newer code."""
    put(database, task_id, name="of_tomorrow")
    assert try_to_claim(database, task_id) is None
    task = the_task(database, task_id)
    assert (task.status, task.claim) == ("queued", 0)


@both_databases
def test_crash_on_the_last_attempt(database: Database, task_id: str) -> None:
    """A worker that dies costs an attempt; after the last the task failed, and says why."""
    for _ in range(3):
        assert the_task(database, task_id).status == "queued"
        assert claim(database, task_id).recover(now=now())
        lapse(database, task_id)
    task = the_task(database, task_id)
    assert (task.status, task.error_code, task.attempt) == ("failed", "worker_lost", 3)
    assert (the_export(database, task_id).object_key, task.checkpoint) == (None, None)


@both_databases
def test_cancelling(database: Database, task_id: str) -> None:
    """A task that is to be cancelled can only end so, even when its worker dies."""
    lease = claim(database, task_id)
    cancel(database, task_id)
    for name in ("report", "succeed", "fail", "release"):
        with pytest.raises(CancelRequested):
            WRITES[name](lease)
    assert lease.renew() == "cancelling"
    assert lease.recover(now=now())
    task = the_task(database, task_id)
    assert (task.status, task.failures, task.error_code) == ("cancelled", 0, None)
    assert task.finished_at


@both_databases
def test_cancel_and_error_together(database: Database, task_id: str) -> None:
    """A transient error of a task that is to be cancelled ends it; nobody tries again."""
    lease = claim(database, task_id)
    cancel(database, task_id)
    lease.retry_later("away", "It was away.", now=now())
    assert the_task(database, task_id).status == "cancelled"


def test_percent_never_falls(database: Database, task_id: str) -> None:
    """Neither less work done, nor more to do, nor a new attempt takes a percentage back."""
    lease = claim(database, task_id)
    reports = [((1, 4), 25), ((0, 4), 25), ((2, 100), 25), ((0, 0), 25), ((400, 100), 99)]
    for (done, total), percent in reports:
        assert lease.report(done, total, now=now()) == percent
    lease.recover(now=now())
    assert the_task(database, task_id).percent == 99
    lapse(database, task_id)
    assert claim(database, task_id).report(0, 100, now=now()) == 99


@both_databases
def test_hundred_percent_is_success(database: Database, task_id: str) -> None:
    """All done is 99 until the outcome is written."""
    lease = claim(database, task_id)
    assert lease.report(2, 2, now=now()) == 99
    publish(lease)
    task = the_task(database, task_id)
    assert (task.status, task.percent, task.done, task.total) == ("succeeded", 100, 2, 2)


def test_success_is_all_done(database: Database, user_id: int) -> None:
    """A task without a file that succeeded has nothing left, however seldom it told."""
    task_id = launch(database, user_id, "example")
    lease = claim(database, task_id)
    lease.report(1, 3, now=now())
    lease.succeed({}, now=now())
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
    lease = claim(database, task_id)
    assert told() == "running"
    lease.report(1, 2, now=now())
    assert told() == "running"
    lease.release(now=now())
    assert told() == "queued"
    cancel(database, task_id)
    assert told() == "cancelled"
    cancel(database, task_id)  # changes nothing
    with database.read() as session:
        assert notifications.since(session, user_id, after=seen[-1])[0] == []


# --- The email about the outcome ---


def email_of(database: Database, task_id: str) -> tuple[str, str | None, bool]:
    """What the ledger says about a task's email."""
    email = the_email(database, task_id)
    return (
        (email.state, email.message_id, email.sent_at is not None)
        if email
        else ("none", None, False)
    )


def claim_email(database: Database, task_id: str) -> Message | None:
    """Claim the email about a task, if there is one to be sent."""
    claimed = messages.claim_of_task(database, task_id, lease_s=LEASE_S)
    return claimed[0] if claimed else None


@pytest.fixture
def emailing(database: Database, task_id: str) -> str:
    """A task about which an email is to be sent."""
    claim(database, task_id).fail("broken", "It broke.", now=now())
    return task_id


@both_databases
def test_no_email_before_the_end(database: Database, user_id: int, task_id: str) -> None:
    """Before an export's end there is nothing to email, and never about other tasks."""
    assert claim_email(database, task_id) is None
    claim(database, task_id)
    assert claim_email(database, task_id) is None
    example = launch(database, user_id, "example")
    claim(database, example).succeed({"seconds": 1}, now=now())
    assert claim_email(database, example) is None


@both_databases
def test_one_of_ten_emails(database: Database, emailing: str) -> None:
    """However many try, one sends the email."""
    with ThreadPoolExecutor(10) as pool:
        found = list(pool.map(lambda _: claim_email(database, emailing), range(10)))
    (message,) = [one for one in found if one is not None]
    assert email_of(database, emailing) == ("sending", None, False)
    message.lease.settle("sent", message_id="m1", now=now())
    assert email_of(database, emailing) == ("sent", "m1", True)
    assert claim_email(database, emailing) is None
    message.lease.settle("failed", now=now())  # too late: what was sent stays sent
    assert email_of(database, emailing) == ("sent", "m1", True)


@both_databases
@pytest.mark.parametrize("state", ["failed", "unknown"])
def test_email_that_was_not_sent(database: Database, emailing: str, state: messages.Final) -> None:
    """Refused for good, or nobody knows: it is not sent again by itself."""
    message = claim_email(database, emailing)
    assert message
    message.lease.settle(state, now=now())
    assert email_of(database, emailing) == (state, None, False)
    lapse(database, emailing)
    assert claim_email(database, emailing) is None


@both_databases
def test_email_tried_again(database: Database, emailing: str) -> None:
    """Refused for now, it is tried again after its pause; each try is counted."""
    for tries in (1, 2, 3):
        message = claim_email(database, emailing)
        assert message
        assert message.tries == tries
        message.lease.retry_later(pause_s=60, now=now())
        assert claim_email(database, emailing) is None
        lapse(database, emailing)


@both_databases
def test_email_about_the_past(database: Database, emailing: str) -> None:
    """Whoever still sends about an outcome that was taken back writes nothing about the new one."""
    message = claim_email(database, emailing)
    assert message
    with database.write() as session:
        task_requests.retry_task(session, emailing, now=now())
    message.lease.settle("sent", message_id="m1", now=now())
    assert email_of(database, emailing) == ("none", None, False)
    claim(database, emailing).fail("broken", "It broke again.", now=now())
    message.lease.retry_later(pause_s=60, now=now())
    assert email_of(database, emailing) == ("pending", None, False)
    assert claim_email(database, emailing)


@both_databases
def test_email_about_the_past_is_withdrawn(database: Database, emailing: str) -> None:
    """An email about a failure that nobody has sent before the retry is never sent."""
    with database.write() as session:
        task_requests.retry_task(session, emailing, now=now())
    assert claim_email(database, emailing) is None


def test_email_to_an_erased_account(database: Database, user_id: int, emailing: str) -> None:
    """Nobody is left to write to, and there is nothing to write about."""
    message = claim_email(database, emailing)
    assert message
    with database.write() as session:
        session.execute(sa.delete(User).where(User.id == user_id))
    message.lease.settle("sent", message_id="m1", now=now())


@both_databases
@pytest.mark.parametrize("other", ["a_plain_kind", "the_plain_kind"])
def test_a_job_that_names_another_kind(
    database: Database, task_id: str, other: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a job says of its task is checked: a claim without the kind's hook is of no use."""
    monkeypatch.setitem(TASKS, other, replace(TASKS["example"], name=other))
    facts: dict[str, Any] = {"worker": "w", "lease_s": 30, "now": now()}
    claimed = leases.claim(database, task_id, **facts, name=other)
    assert claimed is not None
    assert claimed.facts.username == "susan"

"""Schedules: what the API promises, and what the reconciler does with them."""

import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
import sqlalchemy as sa

from chalicelib.accounts import accounts
from chalicelib.db.engine import Database, db_clock
from chalicelib.db.models import AuditEntry, OutboxMessage, Schedule, Task
from chalicelib.operations.reconciler import Reconciler
from chalicelib.settings import Settings
from chalicelib.tasks import schedule_runs, schedules
from chalicelib.tasks.registry import TASKS
from chalicelib.values.fields import parse_time
from chalicelib.wiring import Wiring
from tests.conftest import Rewire, both_databases
from tests.harness.ledgers import LEASE_S, claim, fail, launch, now, put
from tests.harness.people import Person, pointers, refused
from tests.harness.processes import ROOT
from tests.harness.stacks import emails_in
from tests.harness.waiting import wait_until
from worker.outbox import sender

MONTHLY = "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3"
NEW = {"task": {"name": "export_posts"}, "rrule": MONTHLY, "timezone": "Europe/Madrid"}


def create(person: Person, **more: Any) -> Any:
    """Add a schedule over the API; return it as it is shown."""
    return person.call("POST", "/v1/schedules", {**NEW, **more}, 201)


def make_due(
    database: Database, schedule_id: str, *, since: timedelta = timedelta(hours=1)
) -> None:
    """Let a schedule be one that was due some time ago, as time would.

    By then it was made long ago, with a rule of every hour.
    """
    then = now() - since
    with database.write() as session:
        session.execute(
            sa.update(Schedule)
            .where(Schedule.id == schedule_id)
            .values(
                rrule="FREQ=HOURLY",
                anchor=then - timedelta(hours=1),
                settled_at=then - timedelta(minutes=30),
                next_run_at=then,
            )
        )


def the_schedule(database: Database, schedule_id: str) -> Schedule:
    with database.read() as session:
        return session.get_one(Schedule, schedule_id)


def tasks_of(database: Database, user_id: int) -> list[Task]:
    with database.read() as session:
        mine = sa.select(Task).where(Task.user_id == user_id).order_by(Task.created_at)
        return list(session.scalars(mine))


def sweep(wiring: Wiring) -> int:
    """Make a pass; return how many tasks were launched by schedules."""
    return wiring.reconciler.sweep(now=now())["scheduled"]


# --- The API ---


@both_databases
def test_create(susan: Person, now: datetime) -> None:
    """It is answered with its next five times, by the clock of its zone."""
    answer = susan.post("/v1/schedules", NEW)
    shown = answer.json_body
    assert answer.status_code == 201
    assert answer.headers["Location"] == shown["links"]["self"] == f"/v1/schedules/{shown['id']}"
    assert shown["task"] == {"name": "export_posts", "params": {}}
    assert (shown["rrule"], shown["timezone"]) == (MONTHLY, "Europe/Madrid")
    assert (shown["enabled"], shown["last_task"]) == (True, None)
    assert (shown["skipped"], shown["failures"]) == (0, 0)
    runs = [parse_time(one) for one in shown["next_runs"]]
    local = [one.astimezone(ZoneInfo("Europe/Madrid")) for one in runs]
    assert [(one.day, one.hour, one.minute, one.second) for one in local] == [(1, 3, 0, 0)] * 5
    assert now < runs[0] < runs[1] < runs[4]
    assert runs[4] - now < timedelta(days=160)
    assert susan.get(shown["links"]["self"]).json_body == shown


def test_a_rule_that_ends(susan: Person) -> None:
    """There are fewer than five times when the rule has no more."""
    shown = create(susan, rrule="FREQ=DAILY;COUNT=2")
    assert len(shown["next_runs"]) == 2


@pytest.mark.parametrize(
    ("wrong", "where"),
    [
        ({"rrule": "FREQ=MINUTELY"}, {"/rrule"}),
        ({"rrule": "every day"}, {"/rrule"}),
        ({"rrule": ""}, {"/rrule"}),
        ({"rrule": 1}, {"/rrule"}),
        ({"rrule": "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"}, {"/rrule"}),
        ({"rrule": "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30"}, {"/rrule"}),
        ({"rrule": "FREQ=DAILY;UNTIL=20200101"}, {"/rrule"}),
        ({"timezone": "Europe/Nowhere"}, {"/timezone"}),
        ({"timezone": "../etc/passwd"}, {"/timezone"}),
        ({"timezone": None}, {"/timezone"}),
        ({"rrule": "x", "timezone": "x"}, {"/rrule", "/timezone"}),
        ({"task": {"name": "nothing"}}, {"/task/name"}),
        ({"task": {"name": "import_posts", "params": {"import_id": "x"}}}, {"/task/name"}),
        ({"task": {}}, {"/task/name"}),
        ({"task": "export_posts"}, {"/task"}),
        ({"task": {"name": "example"}}, {"/task/params/seconds"}),
        ({"task": {"name": "example", "params": {"seconds": 99}}}, {"/task/params/seconds"}),
        ({"task": {"name": "export_posts", "params": {"x": 1}}}, {"/task/params/x"}),
        ({"task": {"name": "export_posts", "when": 1}}, {"/task/when"}),
        ({"task": {"name": "x"}, "rrule": "x"}, {"/task/name", "/rrule"}),
        ({"start": "now"}, {"/start"}),
    ],
)
def test_what_is_not_valid(susan: Person, wrong: dict[str, Any], where: set[str]) -> None:
    """Everything that is wrong is named by its pointer, and nothing is kept."""
    assert pointers(refused(susan.post("/v1/schedules", {**NEW, **wrong}), 422, "invalid")) == where
    created = create(susan)
    problem = refused(susan.patch(created["links"]["self"], wrong), 422, "invalid")
    assert pointers(problem) == where
    assert susan.get(created["links"]["self"]).json_body == created
    assert len(susan.get("/v1/schedules").json_body["items"]) == 1


@both_databases
def test_list(susan: Person, david: Person) -> None:
    """A user's own schedules, the newest first, a page at a time."""
    create(david)
    ids = [create(susan, rrule=f"FREQ=DAILY;BYHOUR={hour}")["id"] for hour in range(5)]
    found, path = [], "/v1/schedules?limit=2"
    while path:
        answer = susan.get(path)
        found += [one["id"] for one in answer.json_body["items"]]
        following = answer.json_body["next"]
        path = f"/v1/schedules?limit=2&cursor={following}" if following else ""
        assert ("Link" in answer.headers) == bool(following)
    assert found == ids[::-1]


@both_databases
def test_pause_and_resume(susan: Person, database: Database) -> None:
    """A paused schedule has no next times; resumed, it goes on from now on."""
    created = create(susan)
    path = created["links"]["self"]
    paused = susan.call("PATCH", path, {"enabled": False}, 200)
    assert (paused["enabled"], paused["next_runs"]) == (False, [])
    assert the_schedule(database, created["id"]).next_run_at is None
    resumed = susan.call("PATCH", path, {"enabled": True}, 200)
    assert resumed == created
    assert susan.call("PATCH", path, {}, 200) == created


@both_databases
def test_time_while_paused_is_not_caught_up(susan: Person, wiring: Wiring) -> None:
    """What would have run while a schedule was paused does not run when it is resumed."""
    created = create(susan)
    make_due(wiring.database, created["id"], since=timedelta(days=2))
    susan.call("PATCH", created["links"]["self"], {"enabled": False})
    assert sweep(wiring) == 0
    susan.call("PATCH", created["links"]["self"], {"enabled": True})
    assert sweep(wiring) == 0


@both_databases
def test_change(susan: Person, database: Database) -> None:
    """A new rule, zone or task takes the place of the old one, and counts from now on."""
    created = create(susan, rrule="FREQ=DAILY;COUNT=1")
    path = created["links"]["self"]
    changed = susan.call("PATCH", path, {"rrule": "FREQ=DAILY;BYHOUR=0", "timezone": "Asia/Seoul"})
    assert {one[10:] for one in changed["next_runs"]} == {"T15:00:00Z"}
    changed = susan.call("PATCH", path, {"task": {"name": "example", "params": {"seconds": 2}}})
    assert changed["task"] == {"name": "example", "params": {"seconds": 2}}
    assert (changed["rrule"], changed["timezone"]) == ("FREQ=DAILY;BYHOUR=0", "Asia/Seoul")
    assert the_schedule(database, created["id"]).next_run_at == parse_time(changed["next_runs"][0])


def test_rule_that_has_ended_is_not_resumed(susan: Person, database: Database) -> None:
    """It would promise what never comes; a new rule goes on."""
    created = create(susan, rrule="FREQ=DAILY;COUNT=1")
    path = created["links"]["self"]
    susan.call("PATCH", path, {"enabled": False})
    with database.write() as session:
        long_ago = sa.update(Schedule).values(anchor=now() - timedelta(days=9))
        session.execute(long_ago)
    refused(susan.patch(path, {"enabled": True}), 409, "schedule_ended")
    assert susan.get(path).json_body["enabled"] is False
    shown = susan.call("PATCH", path, {"enabled": True, "rrule": "FREQ=DAILY"})
    assert (shown["enabled"], len(shown["next_runs"])) == (True, 5)


@both_databases
def test_delete(susan: Person, wiring: Wiring) -> None:
    """It is gone, and launches nothing; the tasks that it launched stay."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 1
    assert susan.delete(created["links"]["self"]).status_code == 204
    refused(susan.delete(created["links"]["self"]), 404, "not_found")
    refused(susan.get(created["links"]["self"]), 404, "not_found")
    (task,) = tasks_of(wiring.database, susan.user_id)
    claim(wiring.database, task.id).fail("broken", "It broke.", now=now())  # nobody counts it
    assert sweep(wiring) == 0


def test_what_is_anothers_is_not_there(susan: Person, david: Person) -> None:
    """Whatever David does to Susan's schedule, it does not exist."""
    path = create(susan)["links"]["self"]
    for answer in (david.get(path), david.patch(path, {"enabled": False}), david.delete(path)):
        refused(answer, 404, "not_found")
    assert susan.get(path).json_body["enabled"] is True


@both_databases
def test_as_many_as_one_may(susan: Person, david: Person, monkeypatch: pytest.MonkeyPatch) -> None:
    """One more is refused until one is deleted; others have theirs."""
    monkeypatch.setattr(schedules, "MOST_PER_USER", 2)
    paths = [create(susan)["links"]["self"] for _ in range(2)]
    refused(susan.post("/v1/schedules", NEW), 409, "too_many_schedules")
    create(david)
    assert susan.delete(paths[0]).status_code == 204
    create(susan)


# --- The reconciler ---


@both_databases
def test_what_is_due_is_launched(susan: Person, wiring: Wiring) -> None:
    """One task, enqueued in the same pass; the schedule names it, and its next time is ahead."""
    created = create(susan, task={"name": "example", "params": {"seconds": 3}})
    assert sweep(wiring) == 0
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 1
    (task,) = tasks_of(wiring.database, susan.user_id)
    assert (task.name, task.params, task.status) == ("example", {"seconds": 3}, "queued")
    assert wiring.queue.waiting_ids() == {task.id}
    shown = susan.get(created["links"]["self"]).json_body
    assert shown["last_task"] == susan.task(task.id)
    assert shown["links"]["last_task"] == f"/v1/tasks/{task.id}"
    assert shown["skipped"] == 0
    following = the_schedule(wiring.database, created["id"]).next_run_at
    assert following is not None
    assert now() < following <= now() + timedelta(hours=1)
    assert sweep(wiring) == 0
    (news,) = susan.get("/v1/notifications").json_body["items"]
    assert news["data"]["task_id"] == task.id


@both_databases
def test_after_three_days_one_run(susan: Person, wiring: Wiring) -> None:
    """Seventy-two times have passed while nothing worked, and one run catches up."""
    created = create(susan)
    make_due(wiring.database, created["id"], since=timedelta(days=3))
    assert [sweep(wiring) for _ in range(3)] == [1, 0, 0]
    assert len(tasks_of(wiring.database, susan.user_id)) == 1
    assert the_schedule(wiring.database, created["id"]).skipped == 0


@both_databases
def test_one_in_progress_is_skipped(susan: Person, wiring: Wiring) -> None:
    """A run for which one of the kind is still in progress is counted, and the next one is due."""
    created = create(susan)
    launch(wiring.database, susan.user_id)
    for skipped in (1, 2):
        make_due(wiring.database, created["id"])
        assert sweep(wiring) == 0
        shown = susan.get(created["links"]["self"]).json_body
        assert (shown["skipped"], shown["last_task"]) == (skipped, None)
    assert len(tasks_of(wiring.database, susan.user_id)) == 1
    following = the_schedule(wiring.database, created["id"]).next_run_at
    assert following is not None
    assert following > now()


@both_databases
def test_the_cooldown_holds(susan: Person, rewire: Rewire) -> None:
    """What operators set for all exports, a schedule does not go around."""
    wiring = rewire(EXPORT_COOLDOWN_S="3600")
    created = create(susan)
    task_id = launch(wiring.database, susan.user_id)
    put(wiring.database, task_id, status="succeeded", finished_at=now())
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 0
    assert the_schedule(wiring.database, created["id"]).skipped == 1


@both_databases
def test_last_run_of_a_rule(susan: Person, wiring: Wiring) -> None:
    """After the last time there is no next one, and the schedule stays for its owner to see."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    with wiring.database.write() as session:
        session.execute(sa.update(Schedule).values(rrule="FREQ=HOURLY;COUNT=1"))
    assert sweep(wiring) == 1
    shown = susan.get(created["links"]["self"]).json_body
    assert (shown["enabled"], shown["next_runs"]) == (True, [])
    assert sweep(wiring) == 0


@both_databases
def test_zone_whose_rules_have_changed(susan: Person, wiring: Wiring) -> None:
    """A time that old rules of a zone planned too early waits for the new one."""
    created = create(susan)
    with wiring.database.write() as session:
        session.execute(sa.update(Schedule).values(next_run_at=now() - timedelta(minutes=1)))
    assert sweep(wiring) == 0
    schedule = the_schedule(wiring.database, created["id"])
    assert schedule.next_run_at == parse_time(created["next_runs"][0])
    assert tasks_of(wiring.database, susan.user_id) == []


@both_databases
def test_one_that_cannot_be_launched(susan: Person, david: Person, wiring: Wiring) -> None:
    """A rule or a kind that this code does not know keeps nobody else from theirs."""
    broken, unknown, good = create(susan), create(susan), create(david)
    for one in (broken, unknown, good):
        make_due(wiring.database, one["id"])
    with wiring.database.write() as session:
        of = sa.update(Schedule)
        session.execute(of.where(Schedule.id == broken["id"]).values(timezone="Mars/Base"))
        session.execute(of.where(Schedule.id == unknown["id"]).values(name="of_the_future"))
    assert sweep(wiring) == 1
    assert len(tasks_of(wiring.database, david.user_id)) == 1
    assert susan.get(broken["links"]["self"]).json_body["next_runs"] == []
    assert tasks_of(wiring.database, susan.user_id) == []


@both_databases
def test_nothing_is_half_done(
    susan: Person, wiring: Wiring, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The task and the next time are one commit: a pass that breaks between them did nothing."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    with monkeypatch.context() as broken:
        broken.setattr(schedules, "_plan_next", lambda _schedule: 1 / 0)
        assert sweep(wiring) == 0
    assert tasks_of(wiring.database, susan.user_id) == []
    assert sweep(wiring) == 1
    assert len(tasks_of(wiring.database, susan.user_id)) == 1


@both_databases
def test_paused_after_it_was_seen_to_be_due(susan: Person, wiring: Wiring) -> None:
    """A reconciler that listed a schedule as due looks again under the lock: it was paused."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    susan.call("PATCH", created["links"]["self"], {"enabled": False})
    with wiring.database.write() as session:
        session.execute(sa.update(Schedule).values(settled_at=now() - timedelta(days=1)))
    request = wiring.reconciler._request
    assert not schedules._launch(wiring.database, created["id"], susan.user_id, request)
    assert tasks_of(wiring.database, susan.user_id) == []


@both_databases
def test_fifty_reconcilers_at_once(susan: Person, wiring: Wiring, database_url: str) -> None:
    """Fifty look at what is due at the same time; each schedule gets one task."""
    kinds = [{"name": "export_posts"}, {"name": "example", "params": {"seconds": 1}}]
    created = [create(susan, task=kind) for kind in kinds]
    for one in created:
        make_due(wiring.database, one["id"], since=timedelta(days=1))
    start, launched = threading.Barrier(50), []

    def reconcile() -> None:
        start.wait()
        count = schedules.launch_due(wiring.database, wiring.reconciler._request, most=10)
        launched.append(count)

    assert database_url
    threads = [threading.Thread(target=reconcile) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(launched), sum(launched)) == (50, 2)
    found = tasks_of(wiring.database, susan.user_id)
    assert sorted(task.name for task in found) == ["example", "export_posts"]
    assert {the_schedule(wiring.database, one["id"]).skipped for one in created} == {0}


PROCESS = """
import sys
from chalicelib.wiring import Wiring
wiring = Wiring.from_environment(pool_size=1)
sys.stdout.write("ready\\n"); sys.stdout.flush(); sys.stdin.readline()
print(wiring.reconciler.sweep(now=wiring.now())["scheduled"])
"""


@both_databases
def test_reconcilers_in_processes(
    susan: Person, wiring: Wiring, environment: dict[str, str]
) -> None:
    """So do six processes, let go at once."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    command = [sys.executable, "-c", PROCESS]
    running = [
        subprocess.Popen(
            command,
            cwd=ROOT,
            env={**environment, "PATH": "/usr/bin:/bin"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(6)
    ]
    for one in running:
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    outs = []
    for one in running:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()
    for one in running:
        out, _ = one.communicate(timeout=120)
        assert one.returncode == 0
        outs.append(int(out.splitlines()[-1]))
    assert sorted(outs) == [0, 0, 0, 0, 0, 1]
    assert len(tasks_of(wiring.database, susan.user_id)) == 1


# --- Failures ---


def run_and_fail(wiring: Wiring, schedule_id: str, user_id: int) -> str:
    """Let a schedule be due, launch it, and fail the task; return its id."""
    make_due(wiring.database, schedule_id)
    assert sweep(wiring) == 1
    task_id = the_schedule(wiring.database, schedule_id).last_task_id
    assert task_id in {task.id for task in tasks_of(wiring.database, user_id)}
    fail(wiring.database, task_id or "")
    return task_id or ""


@both_databases
def test_three_failures_in_a_row(susan: Person, wiring: Wiring) -> None:
    """The third one disables the schedule in its own commit, and tells the owner by email."""
    created = create(susan)
    for failures in (1, 2, 3):
        task_id = run_and_fail(wiring, created["id"], susan.user_id)
        shown = susan.get(created["links"]["self"]).json_body
        assert (shown["failures"], shown["enabled"]) == (failures, failures < 3)
    assert shown["next_runs"] == []
    assert shown["last_task"]["id"] == task_id
    with wiring.database.read() as session:
        about = sa.select(OutboxMessage).where(OutboxMessage.topic == "schedule")
        (message,) = session.scalars(about)
    assert (message.state, message.user_id, message.task_id) == ("pending", susan.user_id, task_id)
    assert message.payload["schedule_id"] == created["id"]
    resumed = susan.call("PATCH", created["links"]["self"], {"enabled": True})
    assert (resumed["enabled"], resumed["failures"], len(resumed["next_runs"])) == (True, 0, 5)


@both_databases
def test_success_begins_anew(susan: Person, wiring: Wiring) -> None:
    """Only failures in a row count; a cancelled task is neither one nor the other."""
    created = create(susan, task={"name": "example", "params": {"seconds": 1}})
    for expected in (1, 2):
        run_and_fail(wiring, created["id"], susan.user_id)
        assert the_schedule(wiring.database, created["id"]).failures == expected
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 1
    task_id = the_schedule(wiring.database, created["id"]).last_task_id or ""
    assert susan.cancel(task_id).status_code == 200
    assert the_schedule(wiring.database, created["id"]).failures == 2
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 1
    task_id = the_schedule(wiring.database, created["id"]).last_task_id or ""
    claim(wiring.database, task_id).succeed({}, now=now(), kind=TASKS["example"])
    assert the_schedule(wiring.database, created["id"]).failures == 0


@both_databases
def test_one_run_fails_once(susan: Person, wiring: Wiring) -> None:
    """A task that its user tries again and that fails again is no other run."""
    created = create(susan)
    task_id = run_and_fail(wiring, created["id"], susan.user_id)
    for _ in range(3):
        assert susan.post(f"/v1/tasks/{task_id}/retry").status_code == 202
        fail(wiring.database, task_id)
    assert the_schedule(wiring.database, created["id"]).failures == 1


@both_databases
def test_tasks_of_their_own_do_not_count(susan: Person, wiring: Wiring) -> None:
    """What a user launches by hand and fails is no failure of the schedule."""
    created = create(susan)
    for _ in range(4):
        fail(wiring.database, launch(wiring.database, susan.user_id))
    assert the_schedule(wiring.database, created["id"]).failures == 0


@both_databases
def test_lost_workers_count(susan: Person, wiring: Wiring) -> None:
    """The last attempt that crashes is a failure like any other."""
    created = create(susan)
    make_due(wiring.database, created["id"])
    assert sweep(wiring) == 1
    task_id = the_schedule(wiring.database, created["id"]).last_task_id or ""
    put(wiring.database, task_id, max_attempts=1)
    claim(wiring.database, task_id).recover(now=now())
    assert the_schedule(wiring.database, created["id"]).failures == 1


@pytest.mark.parametrize(
    ("language", "subject"),
    [
        ("en", "Your schedule was paused"),
        ("es", "Se pausó tu programación"),
        ("ko", "예약이 일시 중지되었습니다"),
    ],
)
def test_the_email(
    susan: Person,
    wiring: Wiring,
    mail_dir: Path,
    language: str,
    subject: str,
) -> None:
    """It says in the user's language which task, by which rule, and why, and leads to the page."""
    susan.call("PATCH", "/v1/me", {"language": language})
    created = create(susan, task={"name": "example", "params": {"seconds": 1}})
    for _ in range(schedule_runs.MAX_FAILURES):
        run_and_fail(wiring, created["id"], susan.user_id)
    assert sender.send_due(wiring) == 1
    (email,) = wait_until(lambda: emails_in(mail_dir), "the email is a file")
    assert (email["Subject"], email["To"]) == (subject, "susan <susan@example.com>")
    body = email.get_body(("plain",))
    assert body is not None
    text = body.get_content()
    assert "FREQ=HOURLY" in text
    assert "Europe/Madrid" in text
    assert f"{wiring.settings.public_url}/schedules" in text


# --- The audit, and the end of an account ---


@both_databases
def test_audit(susan: Person, wiring: Wiring) -> None:
    """The database notes what becomes of a schedule."""
    created = create(susan)
    path = created["links"]["self"]
    susan.call("PATCH", path, {"rrule": "FREQ=DAILY"})
    susan.call("PATCH", path, {"enabled": False})
    susan.call("PATCH", path, {"enabled": True})
    susan.delete(path)
    with wiring.database.read() as session:
        mine = sa.select(AuditEntry.event).where(AuditEntry.user_id == susan.user_id)
        events = list(session.scalars(mine.order_by(AuditEntry.id)))
    assert events == [
        "scheduled", "schedule_changed", "schedule_off", "schedule_on", "unscheduled",
    ]  # fmt: skip


@both_databases
def test_erased_account_has_no_schedules(susan: Person, wiring: Wiring) -> None:
    """They go with the account, also while one is due."""
    make_due(wiring.database, create(susan)["id"])
    with wiring.database.write() as session:
        accounts.erase(session, susan.user_id, lease_s=LEASE_S, now=now())
    assert sweep(wiring) == 0
    with wiring.database.read() as session:
        assert session.scalar(sa.select(sa.func.count()).select_from(Schedule)) == 0


@both_databases
def test_by_the_databases_clock(susan: Person, wiring: Wiring, environment: dict[str, str]) -> None:
    """A reconciler whose machine's clock is a day ahead launches nothing before its time."""
    created = create(susan, rrule="FREQ=HOURLY")
    settings = Settings.from_mapping(environment)
    ahead = Reconciler(wiring.database, wiring.queue, lambda: wiring.object_store, settings.lease_s)
    assert ahead.sweep(now=datetime.now(UTC) + timedelta(days=1))["scheduled"] == 0
    with wiring.database.read() as session:
        clock = session.execute(sa.select(db_clock())).scalar_one()
    schedule = the_schedule(wiring.database, created["id"])
    assert abs(schedule.created_at - clock) < timedelta(minutes=1)

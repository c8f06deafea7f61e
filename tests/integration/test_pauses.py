"""Pause and resume: of a kind of task, and of the whole queue."""

from chalicelib.operations import backlog
from chalicelib.tasks import leases, pauses
from chalicelib.wiring import Wiring
from tests.conftest import Join, both_databases
from tests.harness.ledgers import LEASE_S, claim, lapse, launch, now, the_task
from tests.harness.pages import Browser
from tests.harness.people import Person, pointers, refused
from tests.integration.test_admin import worker_alive


def can_claim(wiring: Wiring, task_id: str) -> bool:
    found = leases.claim(wiring.database, task_id, worker="w", lease_s=LEASE_S, now=now())
    return found is not None


@both_databases
def test_a_paused_kind_is_not_claimed(susan: Person, join: Join, wiring: Wiring) -> None:
    """Its tasks stay queued and say why; other kinds go on, and so does what runs already."""
    root = join("root", is_admin=True)
    running = claim(wiring.database, launch(wiring.database, root.user_id))
    shown = root.call("POST", "/v1/admin/queue/pause", {"name": "export_posts"}, 200)
    assert shown["paused"] == ["export_posts"]
    assert running.renew() == "running"
    assert running.report(1, 2, now=now()) == 50
    with worker_alive(wiring):
        task = susan.call("POST", "/v1/exports", {}, 202)
        assert (task["status"], task["waiting_for"], task["queue_position"]) == (
            "queued", "paused", None,
        )  # fmt: skip
        assert susan.task(task["id"]) == task
    assert not can_claim(wiring, task["id"])
    assert can_claim(wiring, launch(wiring.database, susan.user_id, "example"))


@both_databases
def test_resumed_at_once(susan: Person, join: Join, wiring: Wiring) -> None:
    """With the resumption the tasks have jobs again, and can be claimed."""
    root = join("root", is_admin=True)
    root.call("POST", "/v1/admin/queue/pause", {"name": "export_posts"})
    task = susan.call("POST", "/v1/exports", {}, 202)
    wiring.queue.redis.flushdb()  # a worker looked, and was refused
    assert wiring.reconciler.sweep(now=now())["enqueued"] == 0
    shown = root.call("POST", "/v1/admin/queue/resume", {"name": "export_posts"}, 200)
    assert shown["paused"] == []
    assert wiring.queue.waiting_ids() == {task["id"]}
    assert susan.task(task["id"])["waiting_for"] == "worker"
    assert can_claim(wiring, task["id"])


@both_databases
def test_the_whole_queue(susan: Person, join: Join, wiring: Wiring) -> None:
    """Without a name everything is paused, and everything is resumed, kinds that were, too."""
    root = join("root", is_admin=True)
    ids = [launch(wiring.database, susan.user_id, name) for name in ("export_posts", "example")]
    root.call("POST", "/v1/admin/queue/pause", {"name": "example"})
    for _ in range(2):
        assert root.call("POST", "/v1/admin/queue/pause", {})["paused"] == ["*", "example"]
    assert not any(can_claim(wiring, task_id) for task_id in ids)
    assert {susan.task(task_id)["waiting_for"] for task_id in ids} == {"paused"}
    assert root.call("POST", "/v1/admin/queue/resume", {})["paused"] == []
    assert wiring.queue.waiting_ids() == set(ids)
    assert all(can_claim(wiring, task_id) for task_id in ids)


@both_databases
def test_a_kind_under_a_paused_queue(susan: Person, wiring: Wiring) -> None:
    """To resume one kind does not end the pause of all."""
    task_id = launch(wiring.database, susan.user_id)
    with wiring.database.write() as session:
        pauses.pause(session)
        pauses.pause(session, "export_posts")
        assert pauses.resume(session, "export_posts") == []
        assert pauses.resume(session, "example") == []
    assert not can_claim(wiring, task_id)


@both_databases
def test_released_task_waits_too(susan: Person, wiring: Wiring) -> None:
    """A task that its worker gave back, or lost, is not begun again while its kind is paused."""
    task_id = launch(wiring.database, susan.user_id)
    lease = claim(wiring.database, task_id)
    with wiring.database.write() as session:
        pauses.pause(session, "export_posts")
    lease.release(now=now())
    assert not can_claim(wiring, task_id)
    with wiring.database.write() as session:
        assert pauses.resume(session, "export_posts") == [(task_id, "export_posts")]
    assert can_claim(wiring, task_id)


@both_databases
def test_paused_tasks_start_no_workers(susan: Person, wiring: Wiring) -> None:
    """What nobody may begin is no reason to add workers."""
    launch(wiring.database, susan.user_id)
    assert backlog.measure(wiring.database, wiring.queue).unfinished == 1
    with wiring.database.write() as session:
        pauses.pause(session)
    assert backlog.measure(wiring.database, wiring.queue).unfinished == 0


@both_databases
def test_paused_tasks_make_nobody_wait(susan: Person, david: Person, wiring: Wiring) -> None:
    """A long task makes no room for those that cannot begin."""
    claim(wiring.database, launch(wiring.database, susan.user_id))
    launch(wiring.database, david.user_id, "example")
    for name, others in ((None, True), ("export_posts", True), ("example", False)):
        with wiring.database.write() as session:
            if name is not None:
                pauses.pause(session, name)
            assert leases.others_wait(session) is others


@both_databases
def test_cancel_while_paused(susan: Person, wiring: Wiring) -> None:
    """A paused task is cancelled at once, like any that is queued."""
    task_id = launch(wiring.database, susan.user_id)
    with wiring.database.write() as session:
        pauses.pause(session)
    assert susan.cancel(task_id).json_body["status"] == "cancelled"
    assert the_task(wiring.database, task_id).status == "cancelled"


@both_databases
def test_others_wait_for_their_pause(susan: Person, wiring: Wiring) -> None:
    """A resumption enqueues no task that waits for its next attempt."""
    task_id = launch(wiring.database, susan.user_id)
    claim(wiring.database, task_id).recover(now=now())
    with wiring.database.write() as session:
        pauses.pause(session)
        assert pauses.resume(session) == []
    lapse(wiring.database, task_id)
    assert can_claim(wiring, task_id)


def test_who_may(susan: Person, nobody: Person, join: Join) -> None:
    """Administrators alone; a kind that there is none of is said to be."""
    root = join("root", is_admin=True)
    for verb in ("pause", "resume"):
        path = f"/v1/admin/queue/{verb}"
        refused(nobody.post(path, {}), 401, "unauthenticated")
        refused(susan.post(path, {}), 403, "forbidden")
        assert pointers(refused(root.post(path, {"name": "x"}), 422, "invalid")) == {"/name"}
        assert pointers(refused(root.post(path, {"name": "*"}), 422, "invalid")) == {"/name"}


def test_page(join: Join, susan: Person, wiring: Wiring) -> None:
    """Operators pause and resume with the buttons of their page, and users read why they wait."""
    root = join("root", is_admin=True)
    browser, hers = Browser(root.client, root.token), Browser(susan.client, susan.token)
    susan.call("POST", "/v1/exports", {}, 202)
    assert b"Paused" not in browser.get("/admin").body
    for name in ("export_posts", "*"):
        assert browser.send("/admin/pause", name=name).status_code == 303
        assert b"Paused" in browser.get("/admin").body
        assert b"Paused for now; it will start automatically" in hers.get("/").body
        assert browser.send("/admin/resume", name=name).status_code == 303
        assert b"Paused" not in browser.get("/admin").body
    assert browser.send("/admin/pause", name="nothing").status_code == 404
    assert browser.send("/admin/pause").status_code == 404
    with wiring.database.read() as session:
        assert pauses.list_paused(session) == []

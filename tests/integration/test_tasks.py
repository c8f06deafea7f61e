from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Timer
from time import monotonic
from typing import Any

import pytest

from app import app
from chalicelib.db.engine import Database
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import Join, Rewire, both_databases
from tests.harness import ledgers
from tests.harness.events import proxy_event, shown
from tests.harness.people import JSON, Person, pointers, refused

EXAMPLE = {"name": "example", "params": {"seconds": 23}}
EXPORT = {"name": "export_posts"}


def request_export(person: Person) -> str:
    answer = person.post("/v1/exports", {})
    assert answer.status_code == 202, answer.json_body
    task_id: str = answer.json_body["id"]
    return task_id


@both_databases
def test_launch(susan: Person, wiring: Wiring) -> None:
    """A task is accepted, says where it is, and a job with its id waits in the queue."""
    answer = susan.post("/v1/exports", {})
    task = answer.json_body
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/tasks/{task['id']}"
    assert int(answer.headers["Retry-After"]) >= 1
    assert wiring.queue.waiting_ids() == {task["id"]}
    assert susan.get(answer.headers["Location"]).json_body == task


def test_a_new_task_as_it_is_shown(susan: Person) -> None:
    """A task has exactly these members, in this form."""
    task = susan.post("/v1/tasks", EXAMPLE).json_body
    own = f"/v1/tasks/{task['id']}"
    assert task.pop("id")
    assert task.pop("created_at")
    assert task.pop("description")
    assert task == {
        "name": "example",
        "status": "queued",
        "progress": {"percent": 0, "done": 0, "total": 0},
        "attempt": 0,
        "max_attempts": 5,
        "waiting_for": "worker",
        "queue_position": 1,
        "last_seen_at": None,
        "started_at": None,
        "finished_at": None,
        "error": None,
        "result": None,
        "links": {"self": own, "cancel": f"{own}/cancel", "retry": None, "download": None},
    }


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"name": "nothing"}, "/name"),
        ({"name": "os.system"}, "/name"),
        ({"name": "a\0"}, "/name"),
        ({"params": {}}, "/name"),
        ({"name": "example"}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": "23"}}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": True}}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": 2.5}}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": -1}}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": 10**30}}, "/params/seconds"),
        ({"name": "example", "params": {"seconds": 1, "a/b": 1}}, "/params/a~1b"),
        ({"name": "example", "params": []}, "/params"),
        ({"name": "example", "params": {"seconds": 1}, "extra": 1}, "/extra"),
        ({"name": "export_posts", "params": {"user_id": 1}}, "/params/user_id"),
    ],
)
def test_launch_invalid(susan: Person, body: dict[str, Any], pointer: str) -> None:
    """Unknown names and bad parameters are named, and nothing is queued."""
    problem = refused(susan.post("/v1/tasks", body), 422, "invalid")
    assert pointers(problem) == {pointer}
    assert susan.get("/v1/tasks").json_body["items"] == []


@both_databases
def test_one_of_a_kind_at_a_time(susan: Person, david: Person, database: Database) -> None:
    """A second export has to wait for the first; other kinds and other users do not."""
    task_id = request_export(susan)
    for again in (susan.post("/v1/exports", {}), susan.post("/v1/tasks", EXPORT)):
        refused(again, 409, "task_in_progress")
        assert again.headers["Location"] == f"/v1/tasks/{task_id}"
    assert susan.post("/v1/tasks", EXAMPLE).status_code == 202
    request_export(david)
    ledgers.claim(database, task_id)
    refused(susan.post("/v1/exports", {}), 409, "task_in_progress")
    susan.post(f"/v1/tasks/{task_id}/cancel")
    refused(susan.post("/v1/exports", {}), 409, "task_in_progress")  # it is still cancelling


def at_once(person: Person, *headers: dict[str, str]) -> list[dict[str, Any]]:
    """Ask for an export in as many threads as there are headers; return the answers."""
    events = [
        proxy_event("POST", "/v1/exports", headers=person.headers | JSON | one, body="{}")
        for one in headers
    ]
    with ThreadPoolExecutor(len(events)) as pool:
        return list(pool.map(lambda event: app(event, None), events))


@both_databases
def test_ten_at_once_are_one(susan: Person) -> None:
    """Of ten requests at the same time one wins, and the others are told where it is."""
    answers = at_once(susan, *[{}] * 10)
    assert sorted(one["statusCode"] for one in answers) == [202] + [409] * 9
    assert len({one["headers"]["Location"] for one in answers}) == 1


@both_databases
def test_list(susan: Person, david: Person, database: Database) -> None:
    """One's own tasks are listed, the newest first, and can be filtered."""
    request_export(david)
    ids = []
    for _ in range(2):
        ids.append(susan.post("/v1/tasks", EXAMPLE).json_body["id"])
        ledgers.fail(database, ids[-1])
    ids.append(request_export(susan))
    ids.append(susan.post("/v1/tasks", EXAMPLE).json_body["id"])

    def listed(query: str) -> list[str]:
        answer = susan.get(f"/v1/tasks{query}")
        assert answer.status_code == 200
        return [task["id"] for task in answer.json_body["items"]]

    assert listed("") == ids[::-1]
    assert listed("?status=failed") == [ids[1], ids[0]]
    assert listed("?status=queued&name=example") == [ids[3]]
    assert listed("?status=running") == listed("?name=nothing") == []
    assert listed("?limit=1") == [ids[3]]


@both_databases
def test_pages_of_tasks_keep_their_filter(susan: Person, database: Database) -> None:
    """The link to the next page goes on with the same filter, and no task is lost."""
    ids = []
    for _ in range(4):
        ids.append(susan.post("/v1/tasks", EXAMPLE).json_body["id"])
        ledgers.fail(database, ids[-1])
    moment = ledgers.now()
    for task_id in ids:  # all in one microsecond
        ledgers.put(database, task_id, created_at=moment)
    request_export(susan)
    found, path = [], "/v1/tasks?limit=3&name=example&status=failed"
    while path:
        answer = susan.get(path)
        found += [task["id"] for task in answer.json_body["items"]]
        link = answer.headers.get("Link", "")
        path = link.removeprefix("<").removesuffix('>; rel="next"')
    assert found == sorted(ids, reverse=True)


@pytest.mark.parametrize("query", ["status=done", "status=", "status=null", "limit=0", "cursor=x"])
def test_list_invalid(susan: Person, query: str) -> None:
    """A filter that means nothing is refused."""
    problem = refused(susan.get(f"/v1/tasks?{query}"), 422, "invalid")
    assert pointers(problem) == {"?" + query.partition("=")[0]}


@both_databases
def test_what_belongs_to_another_does_not_exist(susan: Person, david: Person) -> None:
    """Every route answers for another's task exactly as for none."""
    task_id = request_export(susan)
    none = "00000000-0000-4000-8000-000000000000"
    for method, path in (
        ("GET", "/v1/tasks/{}"),
        ("POST", "/v1/tasks/{}/cancel"),
        ("POST", "/v1/tasks/{}/retry"),
        ("GET", "/v1/exports/{}/download"),
        ("DELETE", "/v1/exports/{}"),
        ("POST", "/v1/exports/{}/mail"),
        ("GET", "/exports/{}"),
    ):
        foreign = refused(david.ask(method, path.format(task_id)), 404, "not_found")
        assert foreign == refused(david.ask(method, path.format(none)), 404, "not_found")
    assert susan.get(f"/v1/tasks/{task_id}").json_body["status"] == "queued"


def test_etag(susan: Person) -> None:
    """What the client has already is not sent again."""
    path = f"/v1/tasks/{request_export(susan)}"
    etag = susan.get(path).headers["ETag"]
    for header in (etag, f'"other", {etag}', f"W/{etag}", "*"):
        answer = susan.get(path, headers={"If-None-Match": header})
        assert (answer.status_code, answer.body) == (304, b"")
        assert answer.headers["ETag"] == etag  # RFC 9110, section 15.4.5: as the 200 would have
    for header in ('"other"', etag.strip('"'), "x"):
        assert susan.get(path, headers={"If-None-Match": header}).status_code == 200


@both_databases
def test_etag_leaves_out_what_changes_by_itself(
    susan: Person, david: Person, database: Database
) -> None:
    """A sign of life and a move in the queue are no news; everything else is."""
    first, second = request_export(david), request_export(susan)
    before = susan.get(f"/v1/tasks/{second}")
    assert before.json_body["queue_position"] == 2
    ledgers.put(database, second, last_seen_at=ledgers.now())
    david.post(f"/v1/tasks/{first}/cancel")
    after = susan.get(f"/v1/tasks/{second}")
    assert after.json_body["queue_position"] == 1
    assert after.json_body["last_seen_at"]
    assert after.headers["ETag"] == before.headers["ETag"]
    assert susan.post(f"/v1/tasks/{second}/cancel").headers["ETag"] != before.headers["ETag"]


def test_wait_returns_as_soon_as_something_changes(susan: Person, database: Database) -> None:
    """A held answer comes early, with the change in it."""
    task_id = request_export(susan)
    lease = ledgers.claim(database, task_id)
    etag = susan.get(f"/v1/tasks/{task_id}").headers["ETag"]
    timer = Timer(0.2, ledgers.fail, [database, task_id, lease])
    timer.start()
    started = monotonic()
    answer = susan.get(f"/v1/tasks/{task_id}?wait=20", headers={"If-None-Match": etag})
    timer.join()
    assert (answer.status_code, answer.json_body["status"]) == (200, "failed")
    assert "Retry-After" not in answer.headers
    assert monotonic() - started < 15


def test_wait_ends(susan: Person) -> None:
    """Without news the answer is 304, not before the time and not long after."""
    path = f"/v1/tasks/{request_export(susan)}"
    etag = susan.get(path).headers["ETag"]
    started = monotonic()
    answer = susan.get(f"{path}?wait=0.3", headers={"If-None-Match": etag})
    assert answer.status_code == 304
    assert 0.3 <= monotonic() - started < 15


def test_wait_without_etag_or_with_an_old_one_holds_nothing(susan: Person) -> None:
    """Who does not know the task yet gets it at once."""
    path = f"/v1/tasks/{request_export(susan)}?wait=20"
    started = monotonic()
    assert susan.get(path).status_code == 200
    assert susan.get(path, headers={"If-None-Match": '"old"'}).status_code == 200
    assert monotonic() - started < 15


@pytest.mark.parametrize("wait", ["-1", "20.1", "nan", "inf", "x", ""])
def test_wait_out_of_bounds(susan: Person, wait: str) -> None:
    """Nobody waits longer than 20 seconds."""
    problem = refused(susan.get(f"/v1/tasks/x?wait={wait}"), 422, "invalid")
    assert pointers(problem) == {"?wait"}


@both_databases
def test_cancel_while_queued(susan: Person) -> None:
    """Nobody works on it, so it is cancelled at once; again changes nothing."""
    path = f"/v1/tasks/{request_export(susan)}"
    for _ in range(2):
        answer = susan.post(f"{path}/cancel")
        assert (answer.status_code, answer.json_body["status"]) == (200, "cancelled")
    task = susan.get(path).json_body
    assert task["finished_at"]
    assert task["links"]["retry"] == f"{path}/retry"
    assert task["links"]["cancel"] is None


@both_databases
def test_cancel_while_running(susan: Person, database: Database) -> None:
    """The attempt is asked to stop; again asks again."""
    task_id = request_export(susan)
    lease = ledgers.claim(database, task_id)
    for _ in range(2):
        answer = susan.post(f"/v1/tasks/{task_id}/cancel")
        assert (answer.status_code, answer.json_body["status"]) == (202, "cancelling")
        assert answer.headers["Location"] == f"/v1/tasks/{task_id}"
    assert lease.renew() == "cancelling"


def succeed(database: Database, task_id: str) -> None:
    ledgers.claim(database, task_id).succeed({"seconds": 1}, now=ledgers.now())


@pytest.mark.parametrize("end", [succeed, ledgers.fail])
def test_cancel_what_is_over(
    susan: Person, database: Database, end: Callable[[Database, str], None]
) -> None:
    """There is nothing left to cancel."""
    task_id = susan.post("/v1/tasks", EXAMPLE).json_body["id"]
    end(database, task_id)
    refused(susan.post(f"/v1/tasks/{task_id}/cancel"), 409, "task_ended")


@both_databases
def test_retry(susan: Person, database: Database, wiring: Wiring) -> None:
    """The same task is queued again, as if nothing had happened yet."""
    task_id = request_export(susan)
    fresh = susan.get(f"/v1/tasks/{task_id}").json_body
    lease = ledgers.claim(database, task_id)
    lease.report(1, 2, now=ledgers.now(), checkpoint={"page": 1})
    lease.fail("broken", "It broke.", now=ledgers.now())
    failed = susan.get(f"/v1/tasks/{task_id}").json_body
    assert failed["error"] == {"code": "broken", "detail": "It broke."}
    assert failed["progress"]["percent"] == 50
    wiring.queue.redis.flushall()

    answer = susan.post(f"/v1/tasks/{task_id}/retry")
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/tasks/{task_id}"
    assert answer.json_body == fresh
    assert wiring.queue.waiting_ids() == {task_id}
    ledgers.claim(database, task_id)
    task = ledgers.the_task(database, task_id)
    assert (task.attempt, task.checkpoint) == (1, None)


@both_databases
def test_retry_takes_the_export_anew(susan: Person, database: Database) -> None:
    """Posts that were added after the failure are in the export of the retry."""
    task_id = request_export(susan)
    ledgers.fail(database, task_id)
    post_id = susan.post("/v1/posts", {"body": "late"}).json_body["id"]
    susan.post(f"/v1/tasks/{task_id}/retry")
    ledgers.claim(database, task_id)
    assert ledgers.the_export(database, task_id).snapshot == {"posts": post_id}


def test_retry_after_cancel(susan: Person) -> None:
    """What was cancelled can be asked for again."""
    path = f"/v1/tasks/{request_export(susan)}"
    susan.post(f"{path}/cancel")
    assert susan.post(f"{path}/retry").json_body["status"] == "queued"


def test_retry_what_did_not_fail(susan: Person, database: Database) -> None:
    """Neither a task that goes on nor one that succeeded is tried again."""
    task_id = susan.post("/v1/tasks", EXAMPLE).json_body["id"]
    refused(susan.post(f"/v1/tasks/{task_id}/retry"), 409, "task_active")
    succeed(database, task_id)
    refused(susan.post(f"/v1/tasks/{task_id}/retry"), 409, "task_succeeded")


def test_retry_beside_another(susan: Person, database: Database) -> None:
    """One of a kind at a time, retried or new."""
    failed = request_export(susan)
    ledgers.fail(database, failed)
    running = request_export(susan)
    answer = susan.post(f"/v1/tasks/{failed}/retry")
    refused(answer, 409, "task_in_progress")
    assert answer.headers["Location"] == f"/v1/tasks/{running}"


@pytest.mark.parametrize("action", ["cancel", "retry"])
@pytest.mark.parametrize("body", [{"force": True}, b"[]", b"{"])
def test_actions_take_no_fields(susan: Person, action: str, body: object) -> None:
    """A field that means nothing is refused here as everywhere."""
    answer = susan.post(f"/v1/tasks/{request_export(susan)}/{action}", body)
    refused(answer, 422, "invalid" if isinstance(body, dict) else "malformed_json")


def test_launch_while_redis_is_away(susan: Person, rewire: Rewire) -> None:
    """The ledger has the task; the reconciler enqueues a job later."""
    rewire(REDIS_URL=f"redis://127.0.0.1:{free_port()}/0")
    task_id = request_export(susan)
    task = susan.get(f"/v1/tasks/{task_id}").json_body
    assert (task["status"], task["waiting_for"]) == ("queued", "queue")


# --- Idempotency-Key ---


def keyed(person: Person, key: str, body: object = EXPORT) -> Any:
    return person.post("/v1/tasks", body, headers={"Idempotency-Key": key})


@both_databases
def test_same_key_is_the_same_task_as_it_stands(susan: Person, database: Database) -> None:
    """Sent again, a request answers 202 with its task: in progress and after its end."""
    task_id = keyed(susan, "k").json_body["id"]
    for status in ("queued", "failed"):
        again = keyed(susan, "k")
        assert (again.status_code, again.json_body["id"]) == (202, task_id)
        assert again.json_body["status"] == status
        assert again.headers["Location"] == f"/v1/tasks/{task_id}"
        if status == "queued":
            ledgers.fail(database, task_id)
    assert len(susan.get("/v1/tasks").json_body["items"]) == 1


@both_databases
def test_same_key_at_once(susan: Person) -> None:
    """Two at once create one task, and both are told its name."""
    answers = at_once(susan, *[{"Idempotency-Key": "k"}] * 6)
    assert {one["statusCode"] for one in answers} == {202}
    assert len({shown(one)["id"] for one in answers}) == 1


def test_same_key_other_body(susan: Person) -> None:
    """A key that comes with something else is a mistake."""
    keyed(susan, "k", EXAMPLE)
    other = {"name": "example", "params": {"seconds": 24}}
    refused(keyed(susan, "k", other), 422, "idempotency_key_reused")
    refused(keyed(susan, "k"), 422, "idempotency_key_reused")


def test_keys_are_each_users_own(susan: Person, david: Person) -> None:
    """The same key of another user is another task."""
    assert keyed(susan, "k").json_body["id"] != keyed(david, "k").json_body["id"]


@both_databases
def test_refused_request_leaves_no_key(susan: Person) -> None:
    """The key goes with the task's own commit: no task, no key."""
    first = request_export(susan)
    refused(keyed(susan, "k"), 409, "task_in_progress")
    susan.post(f"/v1/tasks/{first}/cancel")
    assert keyed(susan, "k").json_body["id"] != first


@both_databases
@pytest.mark.parametrize(("hours", "same"), [(23, True), (24, False)])
def test_keys_last_a_day(susan: Person, rewire: Rewire, hours: int, *, same: bool) -> None:
    """A key names its task for 24 hours."""
    task_id = keyed(susan, "k").json_body["id"]
    susan.post(f"/v1/tasks/{task_id}/cancel")
    rewire(later=timedelta(hours=hours, seconds=1))
    assert (keyed(susan, "k").json_body["id"] == task_id) == same


@pytest.mark.parametrize("key", ["", "x" * 256, "\u00e9", "a\x01"])
def test_key_that_is_none(susan: Person, key: str) -> None:
    """A key is 1 to 255 printable ASCII characters."""
    refused(keyed(susan, key), 422, "invalid")


# --- Cooldown ---


@both_databases
def test_cooldown_counts_from_the_last_success(
    susan: Person, david: Person, database: Database, rewire: Rewire
) -> None:
    """After a success the next export has to wait; a failure, another kind or user does not."""
    wiring = rewire(EXPORT_COOLDOWN_S="60")
    ledgers.fail(database, request_export(susan))
    ledgers.publish(wiring, keyed(susan, "k").json_body["id"])
    for answer in (susan.post("/v1/exports", {}), susan.post("/v1/tasks", EXPORT)):
        refused(answer, 429, "cooling_down")
        assert 50 < int(answer.headers["Retry-After"]) <= 60
    assert keyed(susan, "k").status_code == 202  # not a new one
    assert susan.post("/v1/tasks", EXAMPLE).status_code == 202
    request_export(david)
    rewire(EXPORT_COOLDOWN_S="60", later=timedelta(seconds=60))
    request_export(susan)


def test_position_and_waiting(join: Join, database: Database) -> None:
    """Those who came first are next; a running task has no place in the queue."""
    names = ("susan", "david", "miguel")
    people = [join(name) for name in names]
    ids = [request_export(person) for person in people]

    def positions() -> list[int | None]:
        return [
            person.get(f"/v1/tasks/{task_id}").json_body["queue_position"]
            for person, task_id in zip(people, ids, strict=True)
        ]

    assert positions() == [1, 2, 3]
    ledgers.claim(database, ids[1])
    assert positions() == [1, None, 2]

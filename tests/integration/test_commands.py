"""Every command of `python -m worker`: what it does, what it says, how it exits."""

import hashlib
import io
import json
import os
import re
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import psutil
import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from chalicelib.accounts.accounts import check_password, find_user
from chalicelib.db.engine import Database, connect
from chalicelib.db.models import Base, OutboxMessage
from chalicelib.exports.archive import archive_kind
from chalicelib.microblog.models import Post
from chalicelib.microblog.posts import write_post
from chalicelib.outbox import webhooks
from chalicelib.tasks import schedules
from chalicelib.tasks.leases import claim
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.conftest import both_databases
from tests.harness import processes
from tests.harness.commands import Call
from tests.harness.ledgers import fail, launch, make_user, now, the_task, write_posts
from tests.harness.servers import PostgreSQL
from tests.harness.waiting import wait_until
from worker.commands import files
from worker.commands.operating import MIGRATIONS, upgrade
from worker.importing.json_lines import PostLine
from worker.importing.table import BATCH, store_posts
from worker.runner import alive_file, forget_dead

GOOD = '{"body": "one", "timestamp": "2026-01-02T03:04:05Z"}'
COMMANDS = [
    "run", "sweep", "migrate", "health", "tasks", "create-user", "set-admin", "shell",
    "load-posts", "export", "verify", "datasets", "schedules", "webhooks",
]  # fmt: skip


def bodies(database: Database) -> list[str]:
    """All posts, by number."""
    with database.read() as session:
        return list(session.scalars(sa.select(Post.body).order_by(Post.id)))


# --- The whole command line ---


@pytest.mark.parametrize(
    "command",
    [
        [],
        *([name] for name in COMMANDS),
        *(["tasks", one] for one in ("list", "show", "retry", "cancel", "pause", "resume")),
        *(["schedules", one] for one in ("list", "show", "pause", "resume", "delete")),
        *(["webhooks", one] for one in ("list", "show", "pause", "resume", "delete", "redeliver")),
    ],
    ids=" ".join,
)
def test_help(worker: Call, command: list[str]) -> None:
    """Every command explains itself."""
    done = worker(*command, "--help")
    assert done.status == 0
    assert done.out.startswith(f"Usage: python -m worker {' '.join(command)}".rstrip())


def test_all_commands_are_listed(worker: Call) -> None:
    """The help lists every command."""
    out = worker("--help").out
    assert [name for name in COMMANDS if f"\n  {name} " not in out] == []


def test_datasets(worker: Call, database: Database, user_id: int) -> None:
    """A line for each dataset: rows, bytes, seconds and formats; whose they are must be known."""
    write_posts(database, user_id, ["one", "two"])
    header, *lines = worker("datasets", "--user", "susan").out.splitlines()
    assert header.split() == ["dataset", "rows", "bytes", "seconds", "formats"]
    rows = {line.split()[0]: line.split()[1:] for line in lines}
    assert list(rows) == [one.name for one in archive_kind().datasets]
    assert rows["posts"][0] == "2"
    assert rows["posts"][3:] == ["json,", "ndjson,", "csv,", "activitystreams"]
    done = worker("datasets", "--user", "nobody")
    assert (done.status, "no user named nobody" in done.err) == (1, True)


def test_lists_as_json(worker: Call, database: Database, user_id: int) -> None:
    """With --json a list is an object a line, and nothing at all when there is nothing."""
    assert worker("tasks", "list", "--json").out == ""
    task_id = launch(database, user_id)
    (task,) = map(json.loads, worker("tasks", "list", "--json").out.splitlines())
    assert (task["id"], task["user_id"], task["status"]) == (task_id, user_id, "queued")
    found = map(json.loads, worker("datasets", "--user", "susan", "--json").out.splitlines())
    rows = {one["name"]: one["rows"] for one in found}
    assert (list(rows), rows["posts"]) == ([one.name for one in archive_kind().datasets], 0)


@pytest.mark.parametrize("key", ["DATABASE_URL", "REDIS_URL", "EXPORT_BUCKET", "MAIL_SENDER"])
def test_a_missing_setting(worker: Call, monkeypatch: pytest.MonkeyPatch, key: str) -> None:
    """A missing setting stops a command with the key's name."""
    monkeypatch.delenv(key)
    done = worker("tasks", "list")
    assert done.status == 1
    assert done.err.startswith("Error: ")
    assert key in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    "command",
    [
        ["tasks", "list"],
        ["sweep"],
        ["create-user", "susan", "--email", "susan@example.com"],
        ["export", "--user", "susan", "--out", "posts.json"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("state", ["missing", "empty"])
def test_a_database_that_is_not_ready(
    worker: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, command: list[str], state: str
) -> None:
    """A database that is missing or was never migrated makes for a message, not a traceback."""
    path = tmp_path / ("nowhere" if state == "missing" else ".") / "empty.db"
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{path}")
    done = worker(*command, given="correct horse\n")
    assert done.status == 1
    assert done.err.splitlines()[-1].startswith("Error: ")
    assert "database" in done.err
    assert "Traceback" not in done.err
    if state == "empty":
        assert "python -m worker migrate" in done.err


def test_a_postgresql_that_is_not_there(worker: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that does not answer makes for a message without the password."""
    url = f"postgresql+psycopg://carryout:hunter2@127.0.0.1:{free_port()}/carryout"
    monkeypatch.setenv("DATABASE_URL", url)
    done = worker("tasks", "list")
    assert done.status == 1
    assert done.err.startswith("Error: ")
    assert "hunter2" not in done.err


# --- People ---


def test_create_user(worker: Call, database: Database) -> None:
    """A user with the password from standard input; what a password holds is kept."""
    arguments = ["create-user", "susan", "--email", "susan@example.com"]
    done = worker(*arguments, "--admin", "--language", "ko", given="  correct horse 말 \n")
    assert (done.status, done.err) == (0, "")
    with database.read() as session:
        user = find_user(session, "susan")
    assert user is not None
    assert (user.email, user.is_admin, user.language) == ("susan@example.com", True, "ko")
    assert check_password(user, "  correct horse 말 ") == user.id


@pytest.mark.parametrize(
    ("arguments", "password", "said"),
    [
        (["su san", "--email", "susan@example.com"], "correct horse", "username may only"),
        (["susan", "--email", "susan"], "correct horse", "email must be an email address"),
        (["susan", "--email", "susan@example.com"], "short", "password must be at least 8"),
        (["susan", "--email", "susan@example.com"], "", "password must be at least 8"),
        (
            ["susan", "--email", "susan@example.com", "--language", "xx"],
            "correct horse",
            "language must be one of en, es, ko",
        ),
    ],
)
def test_create_user_invalid(
    worker: Call, database: Database, arguments: list[str], password: str, said: str
) -> None:
    """What the API would refuse is refused, in plain words."""
    done = worker("create-user", *arguments, given=password)
    assert done.status == 2
    assert said in done.err
    with database.read() as session:
        assert find_user(session, "susan") is None


@pytest.mark.parametrize("taken", ["username", "email"])
def test_create_user_twice(worker: Call, user_id: int, taken: str) -> None:
    """A name or an address that is taken is said to be."""
    assert user_id
    name, email = ("SUSAN", "x@example.com") if taken == "username" else ("x", "SUSAN@example.com")
    done = worker("create-user", name, "--email", email, given="correct horse")
    assert done.status == 1
    assert "taken" in done.err or "in use" in done.err


def test_set_admin(worker: Call, database: Database, user_id: int) -> None:
    """Administrators are made and unmade."""
    assert user_id
    for state, expected in (("on", True), ("off", False)):
        assert worker("set-admin", "susan", state).status == 0
        with database.read() as session:
            user = find_user(session, "susan")
        assert user is not None
        assert user.is_admin is expected
    said = "Error: no user named nobody; create one with create-user\n"
    assert worker("set-admin", "nobody", "on").err == said
    assert worker("set-admin", "susan", "perhaps").status == 2


def test_shell(worker: Call, user_id: int) -> None:
    """The shell has models and a session."""
    done = worker("shell", given=f"print(session.get(User, {user_id}).username, Task.__name__)\n")
    assert done.status == 0
    assert "susan Task" in done.out


# --- Posts ---


@both_databases
def test_load_posts(worker: Call, database: Database, user_id: int, tmp_path: Path) -> None:
    """Posts are loaded in the file's order, and what was done is said."""
    assert user_id
    lines = [
        json.dumps({"body": f"{n} \u2028 😀", "timestamp": f"20{99 - n}-01-01T00:00:00Z"})
        for n in range(9)
    ]
    (tmp_path / "posts.jsonl").write_text("\n".join(lines))
    done = worker("load-posts", "posts.jsonl", "--user", "susan")
    assert (done.status, done.out) == (0, "loaded 9 posts for susan\n")
    assert bodies(database) == [f"{n} \u2028 😀" for n in range(9)]


def test_load_posts_from_standard_input(worker: Call, database: Database, user_id: int) -> None:
    """A dash is standard input; nothing in it is nothing loaded."""
    assert user_id
    assert worker("load-posts", "-", "--user", "SUSAN", given=GOOD).status == 0
    assert bodies(database) == ["one"]
    assert worker("load-posts", "-", "--user", "susan").out == "loaded 0 posts for susan\n"


def test_load_posts_as_editors_write_them(
    worker: Call, database: Database, user_id: int, tmp_path: Path
) -> None:
    """A byte order mark, line ends of Windows and blank lines at the end are no posts."""
    assert user_id
    (tmp_path / "posts.jsonl").write_bytes(
        b"\xef\xbb\xbf" + f"{GOOD}\r\n".encode() * 2 + b"\r\n \n"
    )
    done = worker("load-posts", "posts.jsonl", "--user", "susan")
    assert (done.status, done.out) == (0, "loaded 2 posts for susan\n")
    assert bodies(database) == ["one", "one"]


def test_a_growing_file_is_read_up_to_its_first_size(tmp_path: Path) -> None:
    """Somebody may write to it as fast as it is read."""
    path = tmp_path / "posts.jsonl"
    path.write_bytes(b"x" * 100_000)
    with path.open("rb") as file, click.progressbar(length=1, file=io.StringIO()) as bar:
        read = files._reading(file, bar)
        with path.open("ab") as writer:
            writer.write(b"more")
        assert read(70_000) + read(70_000) == b"x" * 100_000
        assert read(70_000) == b""


BAD = [GOOD, "not json", GOOD, '{"body": "", "timestamp": "2026-01-02T03:04:05Z"}']


def test_a_bad_line(worker: Call, database: Database, user_id: int) -> None:
    """A bad line is named by its number, and nothing of the file is kept."""
    assert user_id
    done = worker("load-posts", "-", "--user", "susan", given="\n".join(BAD))
    assert done.status == 1
    assert "line 2: not JSON" in done.err
    assert "--skip-bad" in done.err
    assert bodies(database) == []


def test_a_bad_line_after_many_good_ones(worker: Call, database: Database, user_id: int) -> None:
    """Nothing is kept, however many rows were written before the bad line came."""
    assert user_id
    done = worker("load-posts", "-", "--user", "susan", given=f"{GOOD}\n" * 6000 + "{}")
    assert done.status == 1
    assert "line 6001: body is required" in done.err
    assert bodies(database) == []


@both_databases
def test_others_write_while_posts_are_read(database: Database, user_id: int) -> None:
    """A load keeps nobody waiting while its file is read, and shows nothing before it is whole."""

    def posts() -> Iterator[PostLine]:
        for number in range(2 * BATCH + 1):
            if number % BATCH == 0:
                with database.write() as session:
                    write_post(session, user_id, f"by somebody else {number}", now=now())
                assert len(bodies(database)) == number // BATCH + 1
            yield PostLine(str(number), now())

    assert store_posts(database, posts(), user_id=user_id) == 2 * BATCH + 1
    stored = bodies(database)
    assert [one for one in stored if one.isdigit()] == [str(n) for n in range(2 * BATCH + 1)]
    assert len(stored) == 2 * BATCH + 1 + 3


def test_skip_bad(worker: Call, database: Database, user_id: int) -> None:
    """Bad lines are counted, reported and left out; that is a success."""
    assert user_id
    done = worker("load-posts", "-", "--user", "susan", "--skip-bad", given="\n".join(BAD))
    assert (done.status, done.out) == (0, "loaded 2 posts for susan, skipped 2 lines\n")
    assert "skipped line 2: not JSON" in done.err
    assert "skipped line 4: body must be at least 1 character long" in done.err
    assert bodies(database) == ["one", "one"]


@pytest.mark.parametrize("command", [["load-posts", "-"], ["export", "--out", "x.json"]])
def test_unknown_user(worker: Call, command: list[str]) -> None:
    """A user that does not exist is said not to, with what to do."""
    done = worker(*command, "--user", "nobody")
    assert done.status == 1
    assert done.err == "Error: no user named nobody; create one with create-user\n"


def test_export_to_nowhere(worker: Call, user_id: int) -> None:
    """A folder that is not there is named; there is no traceback."""
    assert user_id
    done = worker("export", "--user", "susan", "--out", "nowhere/posts.json")
    assert done.status != 0
    assert "nowhere" in done.err
    assert "Traceback" not in done.err


@both_databases
def test_export_and_verify(worker: Call, database: Database, user_id: int, tmp_path: Path) -> None:
    """What is exported is whole, and is said to be."""
    write_posts(database, user_id, ["one", "two"])
    done = worker("export", "--user", "susan", "--out", "posts.json")
    data = (tmp_path / "posts.json").read_bytes()
    assert (done.status, done.out) == (0, f"wrote 2 posts, {len(data)} bytes to posts.json\n")
    digest = hashlib.sha256(data).hexdigest()
    for arguments in ([], ["--sha256", digest], ["--sha256", digest.upper()]):
        done = worker("verify", "posts.json", *arguments)
        assert done.status == 0
        assert done.out.splitlines() == [
            "posts:   2",
            f"bytes:   {len(data)}",
            f"sha256:  {digest}",
            "the file is intact",
        ]


@both_databases
def test_an_archive(worker: Call, database: Database, user_id: int, tmp_path: Path) -> None:
    """An archive of chosen datasets and formats is written, and found intact."""
    write_posts(database, user_id, ["one", "=two"])
    chosen = ["--dataset", "profile", "--dataset", "posts", "--format", "json", "--format", "csv"]
    done = worker("export", "--user", "susan", "--out", "all.zip", "--archive", *chosen)
    size = (tmp_path / "all.zip").stat().st_size
    assert (done.status, done.out) == (0, f"wrote 1 profile, 2 posts, {size} bytes to all.zip\n")
    with zipfile.ZipFile(tmp_path / "all.zip") as found:
        names = [name for name in found.namelist() if not name.startswith(("index", "viewer"))]
        assert b"'=two," in found.read("spreadsheets/posts.csv")
    assert names == [
        "README.txt",
        "data/profile.json",
        "data/posts.json",
        "spreadsheets/profile.csv",
        "spreadsheets/posts.csv",
        "manifest.json",
    ]
    done = worker("verify", "all.zip")
    assert (done.status, "fault" in done.err) == (0, False)
    assert {"profile:  1", "posts:    2", "the file is intact"} <= set(done.out.splitlines())


def test_an_archive_of_everything(worker: Call, user_id: int, tmp_path: Path) -> None:
    """Without a choice it has every dataset, and a damaged one is not intact."""
    assert user_id
    assert worker("export", "--user", "susan", "--out", "all.zip", "--archive").status == 0
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path) as found:
        manifest = json.loads(found.read("manifest.json"))
    assert {"profile", "posts"} <= {one["name"] for one in manifest["datasets"]}
    path.write_bytes(path.read_bytes()[:-5])
    done = worker("verify", path)
    assert (done.status, "the file is intact" in done.out) == (1, False)
    assert "fault:" in done.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--format", "csv"], "need --archive"),
        (["--dataset", "posts", "--dataset", "posts"], "need --archive"),
        (["--archive", "--dataset", "nothing"], "no dataset named nothing"),
        (["--archive", "--format", "xml"], "is not one of"),
    ],
)
def test_options_of_an_archive(worker: Call, user_id: int, options: list[str], said: str) -> None:
    """What does not go together, or is not there, is said."""
    assert user_id
    done = worker("export", "--user", "susan", "--out", "x", *options)
    assert done.status != 0
    assert said in done.err


@pytest.fixture
def exported(worker: Call, database: Database, user_id: int, tmp_path: Path) -> Path:
    write_posts(database, user_id, ["one", "two"])
    assert worker("export", "--user", "susan", "--out", "posts.json").status == 0
    return tmp_path / "posts.json"


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: data, "the SHA-256 checksum doesn't match the one given"),
        (
            lambda data: data.replace(b'"count":2', b'"count":3'),
            "count is 3, but there are 2 rows",
        ),
        (lambda data: data[:-30], "not valid JSON"),
        (lambda _data: b"", "not valid JSON"),
    ],
    ids=["digest", "count", "truncated", "empty"],
)
def test_verify_refuses(
    worker: Call, exported: Path, damage: Callable[[bytes], bytes], said: str
) -> None:
    """A file that is not what it should be exits with 1 and says why."""
    exported.write_bytes(damage(exported.read_bytes()))
    arguments = ["--sha256", "0" * 64] if "SHA" in said else []
    done = worker("verify", exported, *arguments)
    assert done.status == 1
    assert said in done.err
    assert "the file is intact" not in done.out


def test_verify_nothing(worker: Call) -> None:
    """A file that is not there is named."""
    done = worker("verify", "nowhere.json")
    assert done.status == 2
    assert "nowhere.json" in done.err


# --- Tasks ---


def test_tasks(worker: Call, database: Database, user_id: int) -> None:
    """Tasks are listed, by state and by kind, and shown."""
    assert worker("tasks", "list").out == "no tasks\n"
    export_id, example_id = launch(database, user_id), launch(database, user_id, "example")
    fail(database, export_id)
    lines = worker("tasks", "list").out.splitlines()
    assert {line.split()[0] for line in lines} == {export_id, example_id}
    assert worker("tasks", "list", "--status", "failed").out.split()[0] == export_id
    assert worker("tasks", "list", "--name", "example").out.split()[0] == example_id
    assert len(worker("tasks", "list", "--limit", "1").out.splitlines()) == 1
    done = worker("tasks", "show", export_id)
    shown = json.loads(done.out)
    assert (shown["id"], shown["status"], shown["error"]["code"]) == (export_id, "failed", "broken")
    assert shown["history"][0]["event"] == "requested"


@pytest.mark.parametrize(
    "wrong",
    [["--status", "done"], ["--limit", "0"], ["--limit", "-1"], ["--limit", str(2**63 - 1)]],
)
def test_list_of_nothing(worker: Call, wrong: list[str]) -> None:
    """A filter that means nothing is a mistake, not an empty list."""
    done = worker("tasks", "list", *wrong)
    assert (done.status, wrong[0] in done.err) == (2, True)


def test_retry_and_cancel(worker: Call, database: Database, user_id: int, wiring: Wiring) -> None:
    """A failed task is queued again, with a job; a queued one is cancelled at once."""
    task_id = launch(database, user_id)
    fail(database, task_id)
    assert worker("tasks", "retry", task_id).out == "queued\n"
    assert wiring.queue.waiting_ids() == {task_id}
    assert worker("tasks", "cancel", task_id).out == "cancelled\n"
    assert the_task(database, task_id).status == "cancelled"
    assert worker("tasks", "retry", task_id).status == 0
    assert claim(database, task_id, worker="w", lease_s=30, now=now()) is not None
    assert worker("tasks", "cancel", task_id).out == "cancelling\n"


def test_launch_a_task(worker: Call, database: Database, user_id: int, wiring: Wiring) -> None:
    """A task can be launched for a user, with parameters, as over the API."""
    assert user_id
    done = worker("tasks", "launch", "example", "--user", "susan", "--params", '{"seconds": 7}')
    task = the_task(database, done.out.strip())
    assert (task.name, task.params, task.status) == ("example", {"seconds": 7}, "queued")
    assert wiring.queue.waiting_ids() == {task.id}
    again = worker("tasks", "launch", "example", "--user", "susan", "--params", '{"seconds": 7}')
    assert (again.status, "already in progress" in again.err) == (1, True)


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("nothing",), "no task named nothing; there are export_posts, "),
        (("example",), "--params: /seconds is required"),
        (("example", "--params", "{"), "--params is no JSON"),
        (("example", "--params", '{"seconds": 61}'), "--params: /seconds must be at most 60"),
    ],
)
def test_launch_of_nothing(
    worker: Call, user_id: int, arguments: tuple[str, ...], complaint: str
) -> None:
    """A task that there is not, or parameters that it does not take, are named."""
    assert user_id
    done = worker("tasks", "launch", *arguments, "--user", "susan")
    assert (done.status, complaint in done.err) == (2, True)


@pytest.mark.parametrize("command", ["show", "retry", "cancel"])
def test_no_such_task(worker: Call, command: str) -> None:
    """A task that does not exist is said not to."""
    done = worker("tasks", command, "nothing")
    assert done.status == 1
    assert done.err == "Error: This doesn't exist, or you don't have access to it.\n"


def test_what_cannot_be_done(worker: Call, database: Database, user_id: int) -> None:
    """A queued task cannot be retried, a failed one cannot be cancelled: a line says so."""
    task_id = launch(database, user_id)
    done = worker("tasks", "retry", task_id)
    assert (done.status, done.err.startswith("Error: ")) == (1, True)
    fail(database, task_id)
    done = worker("tasks", "cancel", task_id)
    assert (done.status, done.err) == (
        1,
        "Error: The task has already ended, so it can't be cancelled.\n",
    )


def test_without_redis(
    worker: Call, database: Database, user_id: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tasks are looked after without Redis, too; the next sweep enqueues."""
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    task_id = launch(database, user_id)
    fail(database, task_id)
    done = worker("tasks", "retry", task_id)
    assert (done.status, done.out) == (0, "queued\n")
    assert "Redis isn't responding" in done.err
    assert worker("sweep").status == 0


# --- Running ---


def test_sweep(worker: Call, database: Database, user_id: int, wiring: Wiring) -> None:
    """A pass finds what was lost and says how much."""
    task_id = launch(database, user_id)
    done = worker("sweep")
    assert (done.status, done.err) == (0, "")
    assert "enqueued: 1" in done.out
    assert wiring.queue.waiting_ids() == {task_id}
    assert "enqueued: 0" in worker("sweep").out


on_databases_of_ones_own = pytest.mark.parametrize(
    "database_url", ["sqlite", "owner"], indirect=True
)
"""Who migrates is the owner; the application's role may not."""


@on_databases_of_ones_own
def test_migrate(worker: Call, database: Database) -> None:
    """Migrating twice does nothing the second time."""
    for _ in range(2):
        done = worker("migrate")
        assert (done.status, done.err) == (0, "")
    with database.read() as session:
        assert session.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 1


def test_migrations_wait_for_each_other(
    postgresql: PostgreSQL, environment: dict[str, str]
) -> None:
    """Of migrations that start at once, one does the work and the others find it done.

    A deployment that lost sight of its migration is started again and runs another.
    """
    with postgresql.database(template="template1", owner=True) as url:
        given = {**os.environ, **environment, "DATABASE_URL": url}
        command = [sys.executable, "-m", "worker", "migrate"]
        running = [
            subprocess.Popen(command, env=given, stderr=subprocess.PIPE, text=True)
            for _ in range(4)
        ]
        said = [one.communicate(timeout=120)[1] for one in running]
        assert [one.returncode for one in running] == [0] * 4, said
        ledger = connect(url)
        with ledger.read() as session:
            assert session.scalar(sa.text("SELECT count(*) FROM alembic_version")) == 1
        ledger.close()


@on_databases_of_ones_own
def test_migrate_after_a_rollback(worker: Call, database: Database) -> None:
    """Old code leaves the schema of newer code as it is, and says so: a rollback can go on."""
    with database.write() as session:
        session.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    done = worker("migrate")
    assert (done.status, done.out) == (
        0,
        "the schema is newer than this code and was left unchanged\n",
    )
    with database.read() as session:
        assert session.scalar(sa.text("SELECT version_num FROM alembic_version")) == "9999"


def test_migrate_makes_the_database(
    worker: Call, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A SQLite database that is not there yet is made."""
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path / 'new.db'}")
    assert worker("migrate").status == 0
    assert worker("tasks", "list").out == "no tasks\n"


@pytest.mark.filterwarnings("ignore:Skipped unsupported reflection of expression-based index")
@pytest.mark.filterwarnings(
    "ignore:autogenerate skipping metadata-specified expression-based index"
)
@both_databases
def test_the_schema_is_the_models(database: Database) -> None:
    """What the migrations make is what the models say, but for indexes on expressions."""
    upgrade(database)
    with database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, Base.metadata)
    functional = {"uq_users_username", "uq_users_email"}
    assert [one for one in differences if getattr(one[1], "name", None) not in functional] == []


@both_databases
def test_functional_indexes_are_there(database: Database) -> None:
    """The indexes that the comparison cannot see exist and are unique."""
    for column in ("username", "email"):
        make_user(database, f"some-{column}")
    with pytest.raises(sa.exc.IntegrityError):
        make_user(database, "SOME-USERNAME")


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="Linux tells who catches what")
def test_run_can_be_stopped_before_it_has_reached_redis(
    environment: dict[str, str], tmp_path: Path
) -> None:
    """A container's first process is told to stop in vain unless it listens from the beginning."""
    away = environment | {"REDIS_URL": f"redis://127.0.0.1:{free_port()}/0"}
    with processes.worker(away, log=tmp_path / "log") as process:
        wait_until(lambda: _catches(process.pid, signal.SIGTERM), "it listens to signals")


def _catches(pid: int, number: int) -> bool:
    caught = re.search(r"^SigCgt:\s*(\w+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return caught is not None and bool(int(caught[1], 16) & 1 << (number - 1))


def test_cheap_health_check(wiring: Wiring, tmp_path: Path) -> None:
    """A container's check says the same, and imports nothing that would cost its processor."""
    command = [sys.executable, "-S", "-X", "importtime", "-m", "worker.alive"]
    given = {**os.environ, "TMPDIR": str(tmp_path)}

    def check() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=MIGRATIONS.parents[1],
            env=given,
            capture_output=True,
            text=True,
            check=False,
        )

    assert check().returncode == 1
    sign = tmp_path / alive_file(wiring).name
    sign.touch()
    done = check()
    assert done.returncode == 0
    imported = {line.split("|")[-1].strip().split(".")[0] for line in done.stderr.splitlines()}
    assert imported - sys.stdlib_module_names - {"imported package"} <= {"worker"}
    os.utime(sign, times=(0, 0))
    assert check().returncode == 1


def test_health(worker: Call, wiring: Wiring) -> None:
    """A machine is healthy when a worker showed a sign of life there lately."""
    alive = alive_file(wiring)
    alive.unlink(missing_ok=True)
    done = worker("health")
    assert done.status == 1
    assert done.err.startswith("Error: no worker")
    alive.touch()
    try:
        done = worker("health")
        assert (done.status, done.out) == (0, "alive\n")
    finally:
        alive.unlink()


def test_health_of_one_that_was_killed(worker: Call, wiring: Wiring, tmp_path: Path) -> None:
    """The sign of life that a killed worker left behind is none, from the first moment on."""
    process = processes.start(["sleep", "600"], log=tmp_path / "log")
    sign = alive_file(wiring)
    sign = sign.with_name(f"{sign.name.rpartition('-')[0]}-{process.pid}")
    sign.touch()
    try:
        assert worker("health").status == 0
        process.kill()
        wait_until(lambda: process.status() == psutil.STATUS_ZOMBIE, "it is dead, and not reaped")
        assert worker("health").status == 1
        process.wait()
        assert worker("health").status == 1
        forget_dead(wiring)
        assert not sign.exists()
    finally:
        sign.unlink(missing_ok=True)


# --- Schedules and pauses ---


@both_databases
def test_schedules(worker: Call, database: Database, user_id: int) -> None:
    """They are listed, shown, paused, resumed and deleted."""
    assert worker("schedules", "list").out == "no schedules\n"
    plan = schedules.Plan(
        name="export_posts", params={}, rrule="FREQ=DAILY;BYHOUR=3", timezone="Asia/Seoul"
    )
    with database.write() as session:
        schedule_id = schedules.create(session, user_id, plan).id
    listed = worker("schedules", "list").out
    assert re.fullmatch(
        schedule_id + r"  export_posts   enabled  \S+T18:00:00Z FREQ=DAILY;BYHOUR=3\n", listed
    )
    assert worker("schedules", "list", "--user", "susan").out == listed
    make_user(database, "david")
    assert worker("schedules", "list", "--user", "david").out == "no schedules\n"
    shown = json.loads(worker("schedules", "show", schedule_id).out)
    assert (shown["id"], shown["user_id"], len(shown["next_runs"])) == (schedule_id, user_id, 5)
    assert worker("schedules", "pause", schedule_id).out == "paused\n"
    assert json.loads(worker("schedules", "show", schedule_id).out)["next_runs"] == []
    assert " paused   -  " in worker("schedules", "list").out
    assert worker("schedules", "resume", schedule_id).out == "enabled\n"
    assert worker("schedules", "list").out == listed
    assert worker("schedules", "delete", schedule_id).out == "deleted\n"
    for verb in ("show", "pause", "resume", "delete"):
        done = worker("schedules", verb, schedule_id)
        assert (done.status, done.out) == (1, "")
        assert done.err == "Error: This doesn't exist, or you don't have access to it.\n"


@both_databases
def test_pause_and_resume_tasks(worker: Call, wiring: Wiring, task_id: str) -> None:
    """A kind or all of them; a resumption wakes the workers up."""
    assert worker("tasks", "pause", "export_posts").out == "paused: export_posts\n"
    assert worker("tasks", "pause").out == "paused: *, export_posts\n"
    assert worker("tasks", "resume", "export_posts").out == "paused: *\n"
    assert wiring.queue.waiting_ids() == set()
    assert worker("tasks", "resume").out == "paused: nothing\n"
    assert wiring.queue.waiting_ids() == {task_id}
    for verb in ("pause", "resume"):
        done = worker("tasks", verb, "nothing")
        assert done.status == 2
        assert "no task named nothing; there are export_posts" in done.err


def test_resume_without_redis(
    worker: Call, monkeypatch: pytest.MonkeyPatch, database: Database
) -> None:
    """What Redis cannot be told, the reconciler does."""
    launch(database, make_user(database))
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    assert worker("tasks", "pause").status == 0
    done = worker("tasks", "resume")
    assert (done.status, done.out) == (0, "paused: nothing\n")
    assert "Redis isn't responding" in done.err


# --- Webhooks ---


def test_webhooks(worker: Call, wiring: Wiring, user_id: int) -> None:
    """They are listed, shown without their secret, paused, resumed, delivered to and deleted."""
    assert worker("webhooks", "list").out == "no webhooks\n"
    with wiring.database.write() as session:
        new = webhooks.create_webhook(
            session, user_id, url="https://example.com/s3cret", events=webhooks.EVENTS, now=now()
        )
    listed = worker("webhooks", "list", "--user", "susan").out
    assert listed.split() == [new.id, "user", str(user_id), "enabled", "https://example.com"]
    assert worker("webhooks", "pause", new.id).out == "paused\n"
    assert "paused" in worker("webhooks", "list").out
    assert worker("webhooks", "resume", new.id).out == "enabled\n"
    fail(wiring.database, launch(wiring.database, user_id))
    done = worker("webhooks", "redeliver", new.id, 1)
    assert (done.status, done.err) == (1, "Error: This delivery is still on its way.\n")
    with wiring.database.write() as session:
        session.execute(sa.update(OutboxMessage).values(state="sent"))
    assert worker("webhooks", "redeliver", new.id, 1).out == "delivery 2\n"
    shown = json.loads(worker("webhooks", "show", new.id).out)
    assert [one["n"] for one in shown["deliveries"]] == [2, 1]
    assert "secret" not in shown
    assert worker("webhooks", "delete", new.id).out == "deleted\n"
    assert worker("webhooks", "show", new.id).status == 1

"""What holds for all commands of `python -m worker`: JSON, an example, one line for a mistake."""

import json
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import sqlalchemy as sa

from chalicelib.db.engine import Database
from chalicelib.db.models import OutboxMessage
from chalicelib.outbox import webhooks
from chalicelib.tasks import schedules
from chalicelib.wiring import Wiring
from infra.local.stack import free_port
from tests.harness.commands import Call, Done
from tests.harness.ledgers import fail, launch, now, write_posts
from tests.harness.processes import ROOT
from worker.__main__ import main
from worker.commands.printing import PROGRAM
from worker.runner import alive_file


def commands(group: click.Group, *path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command, by what is typed for it, groups first."""
    yield " ".join(path), group
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, *path, name)
        else:
            yield " ".join((*path, name)), one


EVERY = dict(commands(main))
LEAVES = {name: one for name, one in EVERY.items() if not isinstance(one, click.Group)}

SILENT = {
    "run": "it logs",
    "shell": "a person types there",
    "completion": "what it prints is for the shell",
}
"""Commands that print no facts, and why."""

UNKNOWN = "0b9e8e6c-6f0e-4d3e-9d3f-1a2b3c4d5e6f"

GIVEN = {
    "sweep": "",
    "migrate": "",
    "health": "",
    "tasks list": "",
    "tasks show": UNKNOWN,
    "tasks retry": UNKNOWN,
    "tasks cancel": UNKNOWN,
    "tasks launch": "example --user susan --params '{\"seconds\": 0}'",
    "tasks pause": "example",
    "tasks resume": "example",
    "create-user": "maria --email maria@example.com",
    "set-admin": "susan on",
    "load-posts": "posts.jsonl --user susan",
    "export": "--user susan --out posts.json",
    "verify": "posts.json",
    "datasets": "--user susan",
    "import": "posts.jsonl --user susan",
    "schedules list": "--user susan",
    "schedules show": UNKNOWN,
    "schedules pause": UNKNOWN,
    "schedules resume": UNKNOWN,
    "schedules delete": UNKNOWN,
    "webhooks list": "--user susan",
    "outbox list": "--state failed --topic webhook",
    "outbox count": "",
    "imports list": "",
    "limits": "",
    "webhooks show": UNKNOWN,
    "webhooks pause": UNKNOWN,
    "webhooks resume": UNKNOWN,
    "webhooks redeliver": f"{UNKNOWN} 1",
    "webhooks delete": UNKNOWN,
}
"""What each command is given, in an order in which each can do its work."""

WITHOUT_DATABASE = {"health", "verify", "limits"}

NEEDS_REDIS = {"limits"}


@pytest.fixture
def files(tmp_path: Path) -> None:
    """The files that commands read, where they are run."""
    line = '{"body": "one", "timestamp": "2026-01-02T03:04:05Z"}\n'
    (tmp_path / "posts.jsonl").write_text(line)
    posts = '"posts":[{"body":"one","timestamp":"2026-01-02T03:04:05Z"}]'
    (tmp_path / "posts.json").write_text(f'{{{posts},"count":1}}')


def complains(done: Done, *, status: int = 1) -> bool:
    """Whether a command said in one line what is wrong."""
    (line,) = done.err.splitlines() or [""]
    return done.status == status and line.startswith("Error: ") and done.out == ""


def test_every_command_prints_json() -> None:
    """Whatever prints facts prints them for programs, too."""
    printing = {
        name
        for name, one in LEAVES.items()
        if any("--json" in parameter.opts for parameter in one.params)
    }
    assert set(LEAVES) - printing == set(SILENT)
    assert printing == set(GIVEN)


@pytest.mark.usefixtures("files")
def test_json_of_every_command(worker: Call, wiring: Wiring, user_id: int) -> None:
    """With --json there is an object a line, and nothing else on standard output."""
    database = wiring.database
    write_posts(database, user_id, ["one"])
    task_id = launch(database, user_id)
    schedule_id, webhook_id = plan(database, user_id), listen(database, user_id)
    fail(database, task_id)
    with database.write() as session:
        session.execute(sa.update(OutboxMessage).values(state="failed"))
    ids = {"tasks": task_id, "schedules": schedule_id, "webhooks": webhook_id}
    wiring.queue.redis.hset(wiring.rate_limiter.refusals_key(), "exports:user|1", "2")
    alive = alive_file(wiring)
    alive.touch()
    try:
        for name, given in GIVEN.items():
            arguments = shlex.split(given.replace(UNKNOWN, ids.get(name.split()[0], "")))
            done = worker(*name.split(), *arguments, "--json", given="correct horse\n")
            assert (done.status, name) == (0, name), done.err
            shown = [json.loads(line) for line in done.out.splitlines()]
            assert shown, name
            assert all(isinstance(one, dict) and one for one in shown), name
    finally:
        alive.unlink()


def plan(database: Database, user_id: int) -> str:
    """A schedule of the user's."""
    daily = schedules.Plan(name="export_posts", params={}, rrule="FREQ=DAILY", timezone="UTC")
    with database.write() as session:
        return schedules.create(session, user_id, daily).id


def listen(database: Database, user_id: int) -> str:
    """A webhook of the user's."""
    url, events = "https://example.com/hook", webhooks.EVENTS
    with database.write() as session:
        new = webhooks.create_webhook(session, user_id, url=url, events=events, now=now())
        return str(new.id)


def test_json_of_what_is_wrong(worker: Call, tmp_path: Path) -> None:
    """A file that is not intact says so for programs, too, and fails."""
    (tmp_path / "posts.json").write_text('{"posts":[],"count":1}')
    done = worker("verify", "posts.json", "--json")
    shown = json.loads(done.out)
    assert (done.status, shown["intact"], bool(shown["faults"])) == (1, False, True)


@pytest.mark.parametrize("name", EVERY, ids=lambda name: str(name) or "all")
def test_examples(name: str) -> None:
    """Each help ends with an example that the command itself understands."""
    command = EVERY[name]
    lines = (command.epilog or "").partition("Example:\n")[2].splitlines()
    assert lines
    for line in lines:
        words = shlex.split(line, comments=False)
        assert words[:3] == PROGRAM.split()
        group, arguments = command, words[3 + len(name.split()) :]
        while isinstance(group, click.Group):  # a group's example is one of its commands
            group, arguments = group.commands[arguments[0]], arguments[1:]
        assert words[3:][: len(name.split())] == name.split()
        context = click.Context(group, info_name=name)
        group.make_parser(context).parse_args(arguments)  # raises for what it does not know


@pytest.mark.usefixtures("files")
def test_without_a_database(
    worker: Call, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Whatever needs the database says which setting to look at, or how to make the schema."""
    assert environment
    gone = f"postgresql+psycopg://carryout:hunter2@127.0.0.1:{free_port()}/carryout"
    for url, remedy in (
        (f"sqlite:///{tmp_path / 'nowhere' / 'x.db'}", "check DATABASE_URL"),
        (f"sqlite:///{tmp_path / 'empty.db'}", "run python -m worker migrate"),
        (gone, "check DATABASE_URL"),
    ):
        monkeypatch.setenv("DATABASE_URL", url)
        for name in GIVEN.keys() - WITHOUT_DATABASE - {"migrate"}:
            done = worker(*name.split(), *shlex.split(GIVEN[name]), given="correct horse\n")
            assert complains(done), (url, name, done)
            assert remedy in done.err, name
            assert "hunter2" not in done.err


@pytest.mark.usefixtures("files")
def test_without_redis(worker: Call, user_id: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever can do without Redis does so; nothing ends with a traceback."""
    assert user_id
    monkeypatch.setenv("REDIS_URL", f"redis://127.0.0.1:{free_port()}/0")
    for name, given in GIVEN.items():
        arguments = shlex.split(given)
        done = worker(*name.split(), *arguments, "--json", given="correct horse\n")
        assert done.status == 0 or complains(done), (name, done)
        if UNKNOWN not in given and name not in NEEDS_REDIS | {"health"}:
            assert done.status == 0, (name, done)


def test_unknown_users(worker: Call, tmp_path: Path) -> None:
    """A user whom nobody knows is said to be one, with how to make one."""
    (tmp_path / "posts.jsonl").touch()
    naming = [name for name, given in GIVEN.items() if "susan" in given]
    assert len(naming) == 8
    for name in naming:
        done = worker(*name.split(), *shlex.split(GIVEN[name].replace("susan", "nobody")))
        assert complains(done), (name, done)
        assert done.err == "Error: no user named nobody; create one with create-user\n"


def test_unknown_ids(worker: Call) -> None:
    """What does not exist is said not to."""
    for name, given in GIVEN.items():
        if UNKNOWN in given:
            done = worker(*name.split(), *given.split())
            assert complains(done), (name, done)
            assert "doesn't exist" in done.err


def test_bad_numbers(worker: Call) -> None:
    """A number that is none, or out of bounds, is a wrong use of the command; its help is named."""
    for name, one in LEAVES.items():
        for parameter in one.params:
            if isinstance(parameter.type, click.IntRange):
                words = shlex.split(GIVEN[name].replace(" 1", ""))
                for wrong in ("x", "0", "1.5", str(2**63)):
                    flag = parameter.opts if isinstance(parameter, click.Option) else []
                    done = worker(*name.split(), *words, *flag[:1], wrong)
                    assert complains(done, status=2), (name, done)
                    assert f"see {PROGRAM} {name} --help" in done.err


def test_wrong_files(worker: Call, user_id: int, tmp_path: Path) -> None:
    """A file that is not there, is a folder, or is no file of ours is named with what is wrong."""
    assert user_id
    (tmp_path / "folder").mkdir()
    (tmp_path / "binary").write_bytes(b"\x00\xff")
    for name, given in GIVEN.items():
        if not given.startswith("posts."):
            continue
        for wrong, status in (("nowhere", 2), ("folder", 2), ("binary", 1)):
            words = shlex.split(given.replace(given.split()[0], wrong))
            done = worker(*name.split(), *words)
            assert done.status == status, (name, wrong, done)
            assert len(done.err.splitlines()) == 1
            assert name == "verify" or complains(done, status=status), (name, wrong, done)
    for out in ("nowhere/posts.json", "folder"):
        assert complains(worker("export", "--user", "susan", "--out", out)), out


def test_wrong_use(worker: Call) -> None:
    """A command or an option that there is not is answered with the help to look at."""
    for words in (["lst"], ["tasks", "lst"], ["tasks", "list", "--al"], ["set-admin", "susan"]):
        done = worker(*words)
        assert complains(done, status=2), done
        assert f"see {PROGRAM}" in done.err


def test_a_mistake_of_ours(
    worker: Call, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """What nobody foresaw is a line, too; the log has where it came from."""
    monkeypatch.setattr("worker.runner.is_alive", lambda _wiring: 1 / 0)
    done = worker("health")
    assert complains(done)
    assert "ZeroDivisionError" in done.err
    assert any(record.exc_info for record in caplog.records)


# --- Completion ---


def ask(shell: str, *typed: str) -> list[str]:
    """What a shell is told when Tab is pressed after what was typed."""
    words = ["carryout", *typed]
    environment = {
        "PATH": "/usr/bin:/bin",
        "_CARRYOUT_COMPLETE": f"{shell}_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": typed[-1] if shell == "fish" else str(len(words) - 1),
    }
    done = subprocess.run(
        [ROOT / "bin" / "carryout"], env=environment, capture_output=True, text=True, check=True
    )
    return done.stdout.split("\n")


def test_shells_ask_the_program() -> None:
    """Zsh and fish hear of commands by the name that their scripts run."""
    assert "list" in ask("zsh", "tasks", "li")
    assert any(line.startswith("plain,--status") for line in ask("fish", "tasks", "list", "--st"))


def test_bash_completes(worker: Call, tmp_path: Path) -> None:
    """With the script, bash itself completes commands, options and their values."""
    script = tmp_path / "carryout.bash"
    script.write_text(worker("completion", "bash").out)
    pressed = """
    source ./carryout.bash
    COMP_WORDS=(carryout tasks list --status f) COMP_CWORD=4
    _carryout_completion carryout
    echo "${COMPREPLY[@]}"
    """
    done = subprocess.run(
        ["bash", "--norc", "-c", pressed],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "failed\n"


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_of_other_shells(worker: Call, shell: str) -> None:
    """They name the folder of the program, and ask it."""
    out = worker("completion", shell).out
    assert str(ROOT / "bin") in out
    assert f"_CARRYOUT_COMPLETE={shell}_complete" in out

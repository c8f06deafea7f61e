"""`export --out`: a file appears whole or not at all, and nothing else is ever replaced."""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from chalicelib.db.engine import Database
from chalicelib.microblog.datasets import POSTS
from tests.harness.ledgers import START, make_user, write_posts
from worker.export.local import NotAFileError, document, write_file

ROOT = Path(__file__).parents[2]


@pytest.fixture
def user_id(database: Database) -> int:
    user_id = make_user(database)
    write_posts(database, user_id, ["one", "two"])
    return user_id


def export(
    database: Database, user_id: int, out: Path, *, progress: Callable[[int], object] = str
) -> int:
    posts = document(database, POSTS, user_id=user_id, now=START)
    return write_file(posts, out, progress=progress)["posts"]


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("kept", [0o600, 0o640, 0o444])
def test_an_old_file_keeps_its_mode(
    database: Database, user_id: int, tmp_path: Path, kept: int
) -> None:
    """What nobody else could read before, nobody else can read after."""
    out, seen = tmp_path / "posts.json", list[int]()
    out.write_text("an old one")
    out.chmod(kept)
    partial = tmp_path / ".posts.json.partial"
    export(database, user_id, out, progress=lambda _percent: seen.append(mode(partial)))
    assert json.loads(out.read_bytes())["count"] == 2
    assert (mode(out), set(seen)) == (kept, {kept})


def test_a_new_file_has_the_usual_mode(database: Database, user_id: int, tmp_path: Path) -> None:
    """A file that was not there is made as any other program makes one."""
    out, other = tmp_path / "posts.json", tmp_path / "other"
    other.touch()
    assert export(database, user_id, out) == 2
    assert mode(out) == mode(other)


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_link(path: Path) -> None:
    path.with_name("target").write_text("precious")
    path.symlink_to("target")


def make_dangling_link(path: Path) -> None:
    path.symlink_to("nowhere")


def make_folder(path: Path) -> None:
    path.mkdir()


@pytest.mark.parametrize("make", [make_fifo, make_link, make_dangling_link, make_folder])
def test_what_is_no_file_stays(
    database: Database, user_id: int, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """A pipe, a link or a folder is not replaced, and nothing is left beside it."""
    out = tmp_path / "posts.json"
    make(out)
    before = {path.name: path.lstat().st_mode for path in tmp_path.iterdir()}
    with pytest.raises(NotAFileError, match="is no regular file, so it is not replaced"):
        export(database, user_id, out)
    assert {path.name: path.lstat().st_mode for path in tmp_path.iterdir()} == before
    target = tmp_path / "target"
    assert not target.exists() or target.read_text() == "precious"


def test_a_failure_leaves_the_old_file(database: Database, user_id: int, tmp_path: Path) -> None:
    """An export that breaks off leaves what was there, and nothing beside it."""
    out = tmp_path / "posts.json"
    out.write_text("an old one")

    def fail(_percent: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        export(database, user_id, out, progress=fail)
    assert out.read_text() == "an old one"
    assert list(tmp_path.glob("*.json*")) == list(tmp_path.glob("posts*")) == [out]
    assert list(tmp_path.glob(".*")) == []


@pytest.mark.parametrize("make", [make_fifo, make_link, Path.touch])
def test_what_a_killed_export_left(
    database: Database, user_id: int, tmp_path: Path, make: Callable[[Path], None]
) -> None:
    """What stands in the way of the new file is removed, and never written through."""
    make(tmp_path / ".posts.json.partial")
    export(database, user_id, tmp_path / "posts.json")
    assert list(tmp_path.glob(".*")) == []
    target = tmp_path / "target"
    assert not target.exists() or target.read_text() == "precious"


@pytest.mark.usefixtures("user_id")
def test_commands(tmp_path: Path, environment: dict[str, str]) -> None:
    """`-` is standard output, without a word around the document; a pipe is refused in a line."""
    whole_environment = {**os.environ, **environment}

    def run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
        command = [sys.executable, "-m", "worker", "export", "--user", "susan", *arguments]
        return subprocess.run(
            command, cwd=ROOT, env=whole_environment, capture_output=True, timeout=60, check=False
        )

    piped = run("--out", "-")
    assert (piped.returncode, piped.stderr) == (0, b"")
    assert json.loads(piped.stdout)["count"] == 2
    assert not (ROOT / "-").exists()
    make_fifo(tmp_path / "fifo")
    refused = run("--out", str(tmp_path / "fifo"))
    assert (refused.returncode, refused.stdout) == (1, b"")
    assert b"is no regular file, so it is not replaced" in refused.stderr
    assert b"Traceback" not in refused.stderr
    unknown = run("--out", "-", "--dataset", "orders")
    assert unknown.returncode == 1
    assert b"no dataset named orders; there is posts" in unknown.stderr
    nowhere = run("--out", str(tmp_path / "nowhere" / "posts.json"))
    assert nowhere.returncode == 1
    assert b"Traceback" not in nowhere.stderr

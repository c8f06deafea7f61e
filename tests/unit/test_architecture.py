import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOMAIN = ("db/models", "exports", "microblog", "outbox", "tasks")
"""Folders and files that know no framework."""
SLOW = {"boto3", "botocore", "s3transfer", "jinja2", "alembic", "click", "ijson", "orjson"}


def modules(*folders: str) -> list[Path]:
    """Every module of ours under some folders, or at the root."""
    found = [path for folder in folders for path in (ROOT / folder).rglob("*.py")]
    assert found
    return found


def imported(path: Path) -> Iterator[str]:
    """Everything that a module imports anywhere in it, by its full name."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def offenders(paths: list[Path], *forbidden: str) -> list[str]:
    """Which modules import something that they must not."""
    return [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in paths
        for name in imported(path)
        if name.split(".")[0] in forbidden
    ]


@pytest.mark.parametrize(
    ("folder", "forbidden"),
    [
        ("chalicelib", ("app", "worker", "infra", "tests")),
        ("worker", ("app", "infra", "tests", "chalice")),
        ("infra", ("tests",)),
    ],
)
def test_arrows_point_one_way(folder: str, forbidden: tuple[str, ...]) -> None:
    """The app and the worker know what they share; nothing that is shared knows them."""
    assert offenders(modules(folder), *forbidden) == []


def test_one_edge_to_each_library() -> None:
    """Each outside service is spoken to in one place of what API and worker share."""
    edges = {
        "chalice": {"web"},
        "boto3": {"adapters"},
        "rq": {"adapters"},
        "argon2": {"accounts"},
        "jinja2": {"web"},
    }
    for library, allowed in edges.items():
        users = {
            path.relative_to(ROOT / "chalicelib").parts[0]
            for path in modules("chalicelib")
            if offenders([path], library)
        }
        assert users == allowed, library


@pytest.mark.parametrize("name", DOMAIN)
def test_domain_knows_no_framework(name: str) -> None:
    """The domain is functions of a session: no web, no queue, no AWS."""
    path = ROOT / "chalicelib" / name
    paths = modules(f"chalicelib/{name}") if path.is_dir() else [path.with_suffix(".py")]
    forbidden = ("chalice", "rq", "redis", "boto3", "botocore", "os")
    assert offenders(paths, *forbidden) == []
    names = [name for path in paths for name in imported(path)]
    assert [name for name in names if name.startswith("chalicelib.web")] == []


def test_names_say_something() -> None:
    """No module is a drawer for everything, and none hides one of the standard library."""
    every = [*modules("chalicelib", "worker", "infra", "tests"), ROOT / "app.py"]
    stems = {path.stem if path.stem != "__init__" else path.parent.name for path in every}
    assert stems.isdisjoint({"utils", "util", "helpers", "helper", "common", "misc", "base"})
    top = {path.stem for path in ROOT.glob("*.py")} | {"chalicelib", "worker", "infra", "tests"}
    assert top.isdisjoint(sys.stdlib_module_names)


def test_nothing_slow_is_imported_for_a_request() -> None:
    """A cold start pays for no client of AWS, no templates and no command line."""
    command = [sys.executable, "-X", "importtime", "-c", "import app"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "chalice.app" in names
    assert {name for name in names if name.split(".")[0] in SLOW} == set()


def test_nothing_happens_at_import() -> None:
    """Importing reads no setting and connects to nothing: every client is made by the wiring."""
    script = "import app, worker.runner, worker.attempts; assert 'wiring' not in vars(app.app)"
    environment = {"PATH": "/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr

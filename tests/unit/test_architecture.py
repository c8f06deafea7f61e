import ast
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.harness.processes import ROOT, output, run

LAYERS = (
    ("errors",),
    ("values", "logs"),
    ("settings",),
    ("adapters",),
    ("db",),
    ("tasks",),
    ("outbox",),
    ("exports",),
    ("imports",),
    ("accounts", "microblog"),
    ("schemas",),
    ("operations",),
    ("wiring",),
    ("web",),
)
"""The folders and files at the first level of `chalicelib`, from the bottom to the top. A module
may import its own folder and what stands below; so a new module in a folder needs no entry."""

MADE_BY_WIRING = {
    "Announcer", "EmailService", "JobQueue", "NewsFeed", "ObjectStore", "QueuePositions",
    "Reconciler", "Secret", "WakeUp", "Watchers", "api_client", "connect", "make_tracer", "secret",
    "worker_client",
}  # fmt: skip
"""What only `chalicelib.wiring` may make: clients, engines, and what is made of them."""

WIRINGS = {"wiring", "testing"}
"""The one of every process, and the one that tests of tasks have instead."""


MADE_AT_THE_EDGES = {".create_engine", ".from_url", ".client", ".create_client"}
"""What only the folders of adapters and of the database may call."""

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


def place(path: Path) -> str:
    """The first-level folder or file of `chalicelib` that a module belongs to."""
    return path.relative_to(ROOT / "chalicelib").parts[0].removesuffix(".py")


def first_level_imports(path: Path) -> set[str]:
    """The first-level folders and files of `chalicelib` that a module imports, but for its own."""
    names = {name.split(".")[1] for name in imported(path) if name.startswith("chalicelib.")}
    return names - {place(path)}


def layer_of(name: str) -> int:
    """Where a first-level folder or file stands."""
    return next(number for number, layer in enumerate(LAYERS) if name in layer)


def test_everything_has_a_place() -> None:
    """Each module stands in a folder, or is a file, that has a layer; and there are few of them."""
    known = {name for layer in LAYERS for name in layer}
    places = {place(path) for path in modules("chalicelib")} - {"__init__"}
    assert places - known == set()
    assert len(places) <= 16  # beside them the catalogues, which hold no code


def test_no_import_points_upward() -> None:
    """A module imports what stands below it, so there is no circle between folders either."""
    upward = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in modules("chalicelib")
        for name in first_level_imports(path)
        if place(path) != "__init__" and layer_of(name) >= layer_of(place(path))
    ]
    assert upward == []


def test_no_circle_inside_a_folder() -> None:
    """Nor do the modules of one folder import each other in a circle."""
    names = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in modules("chalicelib", "worker")
    }
    # `from package import member` names a module of its own, or something in the package's.
    graph = {
        name: {
            one
            for full in imported(path)
            for one in (full, full.rpartition(".")[0])
            if one in names
        }
        - {name}
        for name, path in names.items()
    }
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError, which names the circle


def called(path: Path) -> Iterator[str]:
    """The names of the functions and methods that a module calls; a method's has a dot before."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            yield f".{node.func.attr}"
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield node.func.id


def test_only_wiring_makes_clients() -> None:
    """Entry points and the domain are handed their clients; none is made on the way."""
    edges = (ROOT / "chalicelib" / "adapters", ROOT / "chalicelib" / "db")
    made = {
        f"{path.relative_to(ROOT)} calls {name}"
        for path in [*modules("chalicelib", "worker"), ROOT / "app.py"]
        for name in called(path)
        if path.parent not in edges
        and (name in MADE_AT_THE_EDGES or (name in MADE_BY_WIRING and path.stem not in WIRINGS))
    }
    assert made == set()


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


ANSWERING = {"Response", "json_response", "accepted", "no_content", "task_response"}
"""What a view may call besides its one call into the domain; so may `show_...` of serializers."""


def views() -> list[ast.FunctionDef]:
    """The views of `app.py`: what is declared as an endpoint or a page."""
    everything = ast.parse((ROOT / "app.py").read_bytes()).body
    found = [one for one in everything if isinstance(one, ast.FunctionDef) and one.decorator_list]
    return [one for one in found if one.name != "sweep"]


@pytest.mark.parametrize("view", views(), ids=lambda view: str(view.name))
def test_a_view_makes_one_call(view: ast.FunctionDef) -> None:
    """It parses, makes one call, and answers: what is done to data is done in one place."""
    body = view.body[1:]  # after the docstring
    called = [
        ast.unparse(node.func)
        for part in body
        for node in ast.walk(part)
        if isinstance(node, ast.Call)
    ]
    domain = [
        name
        for name in called
        if not name.startswith(("call.", "show_")) and name.rpartition(".")[2] not in ANSWERING
    ]
    assert len(domain) <= 1
    assert len(body) <= 3


def test_names_say_something() -> None:
    """No module is a drawer for everything, and none hides one of the standard library."""
    every = [*modules("chalicelib", "worker", "infra", "tests"), ROOT / "app.py"]
    stems = {path.stem if path.stem != "__init__" else path.parent.name for path in every}
    assert stems.isdisjoint({"utils", "util", "helpers", "helper", "common", "misc", "base"})
    top = {path.stem for path in ROOT.glob("*.py")} | {"chalicelib", "worker", "infra", "tests"}
    assert top.isdisjoint(sys.stdlib_module_names)


def test_every_test_says_what_it_promises() -> None:
    """What must hold is a sentence under a test's name."""
    nodes = (node for path in modules("tests") for node in ast.walk(ast.parse(path.read_bytes())))
    tests = [one for one in nodes if isinstance(one, ast.FunctionDef) and one.name[:5] == "test_"]
    assert len(tests) > 500
    assert [one.name for one in tests if "." not in (ast.get_docstring(one) or "")] == []


def test_nothing_slow_is_imported_for_a_request() -> None:
    """A cold start pays for no client of AWS, no templates and no command line."""
    done = run(sys.executable, "-X", "importtime", "-c", "import app")
    names = {line.rpartition("|")[2].strip() for line in done.stderr.splitlines()}
    assert "chalice.app" in names
    assert {name for name in names if name.split(".")[0] in SLOW} == set()


def test_nothing_happens_at_import() -> None:
    """Importing reads no setting and connects to nothing: every client is made by the wiring."""
    script = "import app, worker.runner, worker.attempts; assert 'wiring' not in vars(app.app)"
    output(sys.executable, "-W", "error", "-c", script, env={"PATH": "/usr/bin:/bin"})

"""`python -m worker import FILE --user NAME`."""

import json
from pathlib import Path

from chalicelib.db.engine import Database
from tests.conftest import both_databases
from tests.harness.ledgers import make_user
from tests.harness.processes import WORKER, output, run
from tests.harness.uploads import TIME, json_lines
from tests.integration.test_imports import staged

pytestmark = both_databases


def test_a_file_comes_in(
    database: Database, user_id: int, environment: dict[str, str], tmp_path: Path
) -> None:
    """It says what was imported, and names what was left out, as the report over HTTP does."""
    assert user_id
    file, report = tmp_path / "posts.jsonl", tmp_path / "report.ndjson"
    file.write_bytes(json_lines([("a", TIME), ("", TIME), ("b", TIME)]))
    command = (*WORKER, "import", file, "--user", "susan")
    first, *rejected = output(*command, env=environment).splitlines()
    assert first == "imported 2 posts for susan (json_lines): 3 read, 0 skipped, 1 rejected"
    assert [json.loads(line) for line in rejected] == [{"position": 2, "reason": "body_empty"}]
    again = output(*command, "--report", report, env=environment)
    assert again == "imported 0 posts for susan (json_lines): 3 read, 2 skipped, 1 rejected\n"
    assert report.read_text() == "\n".join(rejected) + "\n"
    assert staged(database) == 0


def test_standard_input(user_id: int, environment: dict[str, str]) -> None:
    """A pipe cannot be read twice, so it is copied first."""
    assert user_id
    given = json_lines([("a", TIME)]).decode()
    said = output(*WORKER, "import", "-", "--user", "susan", given=given, env=environment)
    assert said.startswith("imported 1 posts")


def test_what_cannot_be_imported(
    database: Database, environment: dict[str, str], tmp_path: Path
) -> None:
    """It says so in a line, and keeps nothing."""
    make_user(database)
    file = tmp_path / "x.png"
    file.write_bytes(b"\x89PNG\r\n\x1a\n")
    done = run(*WORKER, "import", file, "--user", "susan", env=environment)
    assert done.returncode == 1
    assert done.stderr.rstrip().endswith("Error: This isn't a file that Carryout can import.")
    assert staged(database) == 0

"""An import in processes of its own, and what dies in the midst of it."""

import json
from pathlib import Path

from tests.harness.stacks import Stack
from tests.harness.uploads import TIME, json_lines, report_of, start

POSTS = 80_000
"""Enough for an import of several commits."""


def test_horse_is_killed(stack: Stack) -> None:
    """The next attempt goes on; everything is there once, and the upload is gone."""
    susan = stack.join("susan")
    content = json_lines((f"{number} " + "x" * 200, TIME) for number in range(POSTS))
    import_id, task_id = start(susan, content + json_lines([("", TIME)]))

    def in_the_middle() -> bool:
        task = susan.task(task_id)
        assert task["status"] in {"queued", "running"}, task
        return bool(task["progress"]["done"])

    horse = stack.hold_horse("some posts are staged", when=in_the_middle)
    assert susan.call("GET", "/v1/me")["post_count"] == 0
    horse.kill()
    task = susan.wait_for(task_id, "succeeded")
    assert task["attempt"] == 2
    assert (task["result"]["imported"], task["result"]["rejected"]) == (POSTS, 1)
    assert report_of(susan, import_id) == [{"position": POSTS + 1, "reason": "body_empty"}]
    assert susan.call("GET", "/v1/me")["post_count"] == POSTS


def test_by_the_command_line(stack: Stack, tmp_path: Path) -> None:
    """The command imports what an export holds, into another account, once."""
    david = stack.join("david")
    david.write("first", "zweiter \u2028 \U0001f600")
    task_id = david.request()
    david.wait_for(task_id, "succeeded")
    file = tmp_path / "posts.json"
    file.write_bytes(david.download(task_id))
    stack.join("maria")
    said = [stack.command("import", str(file), "--user", "maria") for _ in range(2)]
    assert [line.split(" for ")[0] for line in said] == ["imported 2 posts", "imported 0 posts"]
    assert json.loads(file.read_bytes())["count"] == 2

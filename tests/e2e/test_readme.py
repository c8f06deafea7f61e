"""What the README says to type."""

import json
import re
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.harness.processes import BIN, ROOT, output
from tests.harness.stacks import Stack

BLOCKS = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)


def block_with(words: str) -> str:
    """The one block that holds some words."""
    (block,) = (block for block in BLOCKS if words in block)
    return str(block)


def type_in(block: str, folder: Path) -> str:
    """Run a block as it stands, but for where the stack is; return what it printed."""
    facts = json.loads((folder / "stack.json").read_text())
    elsewhere = {
        "http://127.0.0.1:8000": facts["app_url"],
        ".local/stack.json": str(folder / "stack.json"),
        ". .venv/bin/activate": f"export PATH='{BIN}':\"$PATH\"",
        "chalice local --stage local --port 8001": "chalice --version",  # it would not end
    }
    for here, there in elsewhere.items():
        block = block.replace(here, there)
    with TemporaryDirectory() as home:
        return output("sh", "-e", given=f"cd {home} && ln -s {ROOT}/* .\n{block}")


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_by_hand(stack: Stack) -> None:
    """The first block signs up, posts, exports and shows the file."""
    printed = type_in(BLOCKS[0], Path(stack.facts["mail_dir"]).parent)
    assert '"body":"Hello, world! 👋"' in printed.rpartition('"posts":[')[2]


def test_another_terminal(stack: Stack) -> None:
    """A block joins the stack with its own commands and with plain RQ."""
    printed = type_in(block_with("rq info"), Path(stack.facts["mail_dir"]).parent)
    assert "1 queues, 0 jobs total" in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_schedule(stack: Stack) -> None:
    """In the shell of the first block, another makes a schedule with its next times."""
    printed = type_in(BLOCKS[0] + block_with("/v1/schedules"), Path(stack.facts["mail_dir"]).parent)
    assert '"rrule":"FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3","timezone":"Europe/Madrid"' in printed
    assert '"next_runs":["' in printed


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not there")
def test_import(stack: Stack) -> None:
    """In the shell of the first block, another brings the exported file back."""
    printed = type_in(BLOCKS[0] + block_with("/v1/imports"), Path(stack.facts["mail_dir"]).parent)
    assert '"name":"import_posts"' in printed

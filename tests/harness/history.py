"""The code as it was."""

import subprocess
from pathlib import Path

from alembic.script import ScriptDirectory

from tests.harness.processes import ROOT
from worker.commands.operating import MIGRATIONS

LAST_OF_THE_FIRST = "0003"
"""The migrations began anew up to here: code from before them knows another schema."""


class NoHistory(Exception):
    """There is no older code that could be used; the message says why."""


def unpack_older_code(folder: Path) -> None:
    """Unpack the code of the last commit that does not know the newest migration.

    Raises:
        NoHistory: There is none.
    """
    newest = ScriptDirectory(str(MIGRATIONS)).get_revision("head")
    assert newest is not None
    if newest.revision == LAST_OF_THE_FIRST:
        raise NoHistory("the first schema has no older code beside it")
    added = _git("log", "--diff-filter=A", "--format=%H", "--", newest.path).decode().split()
    before = f"{added[-1]}^" if added else "HEAD"  # one that is being written is in no commit yet
    subprocess.run(["tar", "-x", "-C", folder], input=_git("archive", before), check=True)
    assert not (folder / Path(newest.path).relative_to(ROOT)).exists()


def _git(*arguments: str) -> bytes:
    done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        raise NoHistory(f"the history is not here: {done.stderr.decode().strip()}")
    return done.stdout

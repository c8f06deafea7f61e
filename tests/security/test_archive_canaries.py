"""Every column of every table holds a word; an archive has those that it may, and no other."""

import io
import zipfile
from typing import cast

import pytest

from chalicelib.db.engine import Database
from chalicelib.exports.archive import FORMATS, archive_kind
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.fakes import FakeObjectStore, fake_wiring
from tests.harness.ledgers import launch, the_export
from tests.harness.planting import Plantation, spellings
from worker.attempts import perform

pytestmark = both_databases


@pytest.fixture
def wired(database: Database) -> Wiring:
    return fake_wiring(database)


def archive_of(wired: Wiring, user_id: int) -> dict[str, bytes]:
    """Every member of an archive of everything, in all formats; and the file itself."""
    task_id = launch(wired.database, user_id, "export_archive", formats=[*FORMATS])
    perform(task_id, wired)
    store = cast("FakeObjectStore", wired.object_store)
    data = store.objects[the_export(wired.database, task_id).object_key or ""]
    with zipfile.ZipFile(io.BytesIO(data)) as found:
        members = {name: found.read(name) for name in found.namelist()}
    return {**members, "the file": data}


def test_an_archive_holds_what_it_may(wired: Wiring) -> None:
    """No hash, token, key, checkpoint, nor anything of another user; all that is declared."""
    planted = Plantation(wired.database, archive_kind().datasets)
    assert {"susan: users.password_hash", "susan: tokens.digest"} <= planted.hidden.keys()
    assert {"david: users.email", "david: posts.body"} <= planted.hidden.keys()
    members = archive_of(wired, planted.susan)
    assert len(members) > 2 + 3 * len(archive_kind().datasets)
    leaked = [
        f"{where} in {name}"
        for where, word in planted.hidden.items()
        for name, content in members.items()
        if any(spelling in content for spelling in spellings(word))
    ]
    assert leaked == []
    for path in ("data/{}.json", "data/{}.ndjson", "spreadsheets/{}.csv"):
        told = b"".join(members[path.format(one.name)] for one in archive_kind().datasets)
        assert [place for place, word in planted.shown.items() if word.encode() not in told] == []

"""What the README says to write: put into a copy of the project, as it stands, checked and run."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.harness.processes import ROOT

BLOCKS = {
    name.strip(): code
    for name, code in re.findall(
        r"<!-- ([\w:/. ]+) -->\n```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
}

ORDER = '''

class Order(Base):
    """What a customer bought."""

    __tablename__ = "orders"
    __table_args__ = (sa.Index("ix_orders_user_id_placed_at_id", "user_id", "placed_at", "id"),)

    id: so.Mapped[int] = so.mapped_column(BigId, primary_key=True)
    user_id: so.Mapped[int] = so.mapped_column(sa.ForeignKey("users.id", ondelete="CASCADE"))
    placed_at: so.Mapped[datetime]
    amount: so.Mapped[Decimal] = so.mapped_column(ExactDecimal(12, 2))
    note: so.Mapped[str | None] = so.mapped_column(sa.Text)
'''

STORY = """
import io
import json
import zipfile
from datetime import UTC, datetime
from decimal import Decimal
from chalicelib.db.models import Base
from chalicelib.microblog.models import Order, Post
from tests.harness.fakes import fake_wiring
from tests.harness.ledgers import launch, make_user, now, the_export, the_task
from chalicelib.db.engine import connect
from app import app
from chalicelib.exports.archive import archive_kind
from chalicelib.exports.estimates import estimate
from chalicelib.web.openapi import document
from worker.attempts import perform

wiring = fake_wiring(connect("sqlite:///shop.db"))
Base.metadata.create_all(wiring.database.engine)
user_id = make_user(wiring.database)
with wiring.database.write() as session:
    session.add(Post(user_id=user_id, body="Hello, wonderful world", timestamp=now()))
    moment = datetime(2026, 1, 2, tzinfo=UTC)
    session.add(Order(user_id=user_id, placed_at=moment, amount=Decimal("12.50")))
words = launch(wiring.database, user_id, "count_long_words", shortest=6)
perform(words, wiring)
assert the_task(wiring.database, words).result == {"words": 2}, the_task(wiring.database, words)
orders = launch(wiring.database, user_id, "export_orders")
perform(orders, wiring)
export = the_export(wiring.database, orders)
found = json.loads(wiring.object_store.objects[export.object_key])
assert export.object_key.endswith("/orders.json")
assert found["orders"] == [{"placed_at": "2026-01-02T00:00:00Z", "amount": "12.50", "note": None}]
assert b"orders.json" in wiring.email_service.ses.sent[0]["Content"]["Raw"]["Data"]
chosen = {"datasets": ["orders", "posts"], "formats": ["json", "csv"], "viewer": False}
archive = launch(wiring.database, user_id, "export_archive", **chosen)
perform(archive, wiring)
assert the_export(wiring.database, archive).rows == {"posts": 1, "orders": 1}
data = wiring.object_store.objects[the_export(wiring.database, archive).object_key]
with zipfile.ZipFile(io.BytesIO(data)) as opened:
    assert json.loads(opened.read("data/orders.json"))["orders"] == found["orders"]
    assert b"12.50" in opened.read("spreadsheets/orders.csv")
kind = archive_kind()
sizes = estimate(wiring.database, user_id, "susan", kind.datasets)
assert {one.name: size.rows for one, size in zip(kind.datasets, sizes)}["orders"] == 1
names = document(app.endpoints, prefix="")["components"]["schemas"]["NewExport"]["properties"]
assert "orders" in names["datasets"]["items"]["enum"]
"""


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The project with the README's examples in it."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.split("\n"):
        if name and (ROOT / name).is_file():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, tmp_path / name)
    application = tmp_path / "chalicelib" / "microblog"
    models, datasets, tasks = (
        application / f"{name}.py" for name in ("models", "datasets", "tasks")
    )
    imports = "from chalicelib.db.types import ExactDecimal\n"
    change(models, "from datetime import datetime\n", "\nfrom decimal import Decimal\n", "")
    change(models, "from chalicelib.db.models import Base, BigId\n", imports, ORDER)
    change(datasets, "import Post\n", "", f"\n{BLOCKS['dataset']}")
    datasets.write_text(datasets.read_text().replace("import Post\n", "import Order, Post\n"))
    text = tasks.read_text().replace("import POSTS\n", "import ORDERS, POSTS\n")
    text = text.replace("        POSTS,\n", "        POSTS,\n        ORDERS,\n")
    kinds = "KINDS = (\n    COUNT_LONG_WORDS,\n    EXPORT_ORDERS,"
    added = f"{BLOCKS['kind']}\n{BLOCKS['export']}\n{kinds}"
    tasks.write_text(text.replace("KINDS = (", added))
    (name,) = (name for name in BLOCKS if name.startswith("file: "))
    (tmp_path / name.removeprefix("file: ")).write_text(BLOCKS[name])
    return tmp_path


def change(file: Path, after: str, insert: str, append: str) -> None:
    """Insert a line behind another one, and append to the end."""
    text = file.read_text()
    assert after in text
    file.write_text(text.replace(after, after + insert.lstrip("\n"), 1) + append)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not there")
def test_examples_are_right(copy: Path) -> None:
    """They pass format, lint and types where they stand, and do what the README says."""
    files = ["chalicelib/microblog", "worker/tasks"]
    for command in (
        ["ruff", "format", "--check", *files],
        ["ruff", "check", *files],
        ["mypy", *files],
    ):
        run(copy, "-m", *command)
    run(copy, "-c", STORY)


def run(folder: Path, *arguments: str) -> None:
    """Run a program of this environment in the copy; it must succeed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr

"""The whole story over HTTP, through processes as they run in production."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

from tests.e2e.conftest import ROOT, Person, Stack
from tests.harness.story import from_request_to_mail


def test_from_request_to_mail(stack: Stack, tmp_path: Path) -> None:
    """Somebody asks for their posts and gets them: by mail, by download, byte for byte alike."""
    from_request_to_mail(stack, tmp_path / "posts.json")


def test_a_large_file_is_linked(stack: Stack) -> None:
    """A file that is too large for a mail is linked; the page's download is the whole file."""
    david = Person(stack, "david")
    david.load(600, body="\U0001f600" * 10_000)
    task_id = david.request()
    task = david.wait_for(task_id, "succeeded")
    mail = david.wait_for_mail(task_id)
    assert list(mail.iter_attachments()) == []
    text = mail.get_body(("plain",))
    assert text is not None
    assert f"{stack.facts['app_url']}/exports/{task_id}" in text.get_content()
    data = david.download(task_id)
    assert hashlib.sha256(data).hexdigest() == task["result"]["sha256"]
    assert json.loads(data)["count"] == 600


def test_stock_rq_works_on_the_queue(stack: Stack) -> None:
    """RQ's own command line shows the queue and its worker."""
    rq = Path(sys.executable).with_name("rq")
    command = [rq, "info", "--url", stack.facts["redis_url"], "--raw"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True, cwd=ROOT).stdout
    assert "queue microblog-tasks" in shown


def test_two_stacks(stack: Stack, tmp_path: Path) -> None:
    """Two stacks side by side have nothing to do with each other."""
    other = Stack(tmp_path / "other")
    try:
        people = [Person(stack, "twin"), Person(other, "twin")]
        ids = [person.request() for person in people]
        for person, task_id in zip(people, ids, strict=True):
            person.wait_for_mail(task_id)
            person.wait_for(task_id, "succeeded")
        assert people[1].ask("GET", f"/v1/tasks/{ids[0]}").status_code == 404
        assert len(other.mails("@")) == 1
    finally:
        assert other.stop() == 0

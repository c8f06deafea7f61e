"""The whole story over HTTP, through processes as they run in production."""

import hashlib
import json
from pathlib import Path

from tests.harness.processes import BIN, output
from tests.harness.stacks import Stack, running
from tests.harness.story import from_request_to_email


def test_from_request_to_mail(stack: Stack, tmp_path: Path) -> None:
    """Somebody asks for their posts and gets them: by email, by download, byte for byte alike."""
    from_request_to_email(stack, tmp_path / "posts.json")


def test_a_large_file_is_linked(stack: Stack) -> None:
    """A file that is too large for an email is linked; the page's download is the whole file."""
    david = stack.join("david")
    david.load(600, body="\U0001f600" * 10_000)
    task_id = david.request()
    task = david.wait_for(task_id, "succeeded")
    mail = david.wait_for_email(task_id)
    assert list(mail.iter_attachments()) == []
    text = mail.get_body(("plain",))
    assert text is not None
    assert f"{stack.app_url}/exports/{task_id}" in text.get_content()
    data = david.download(task_id)
    assert hashlib.sha256(data).hexdigest() == task["result"]["sha256"]
    assert json.loads(data)["count"] == 600


def test_stock_rq_works_on_the_queue(stack: Stack) -> None:
    """RQ's own command line shows the queue and its worker."""
    shown = output(BIN / "rq", "info", "--url", stack.facts["redis_url"], "--raw")
    assert "queue microblog-tasks" in shown


def test_two_stacks(stack: Stack, tmp_path: Path) -> None:
    """Two stacks side by side have nothing to do with each other."""
    with running(tmp_path / "other") as other:
        people = [stack.join("twin"), other.join("twin")]
        ids = [person.request() for person in people]
        for person, task_id in zip(people, ids, strict=True):
            person.wait_for_email(task_id)
            person.wait_for(task_id, "succeeded")
        assert people[1].get(f"/v1/tasks/{ids[0]}").status_code == 404
        assert len(other.emails("@")) == 1

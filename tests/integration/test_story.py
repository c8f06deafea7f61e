"""The main story in one process: request, attempt, file, email."""

import json
from pathlib import Path

from chalice.test import Client

from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.people import PASSWORD, Person, refused
from tests.harness.stacks import emails_in
from worker.attempts import perform


@both_databases
def test_an_export_is_requested_done_and_emailed(
    client: Client, wiring: Wiring, mail_dir: Path
) -> None:
    """A user gets exactly the posts they wrote, as a file and by email."""
    susan = Person.sign_up(client, "susan")
    strange = {"username": "susan", "password": PASSWORD, "email": susan.address}
    refused(susan.post("/v1/tokens", strange), 422, "invalid")  # it takes no email
    texts = ["first", "zweiter \u2028 \U0001f600 \x07"]
    susan.write(*texts)
    task_id = susan.call("POST", "/v1/exports", status=202)["id"]
    perform(task_id, wiring)
    task = susan.task(task_id)
    assert (task["status"], task["result"]["mail"]["state"]) == ("succeeded", "sent")
    (email,) = emails_in(mail_dir)
    (attachment,) = email.iter_attachments()
    document = json.loads(attachment.get_content())
    assert [post["body"] for post in document["posts"]] == texts
    assert document["count"] == 2

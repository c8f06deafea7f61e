"""The main story, which every way to run the application must tell."""

import hashlib
import json
from pathlib import Path

from tests.harness.stacks import Installation

BODIES = ["first", "second \u2028 \U0001f600", 'a "quoted" \\ one\nof two lines']


def from_request_to_email(place: Installation, file: Path) -> None:
    """Sign up, write, ask for all posts, and compare what the email, the download and the task say.

    Args:
        place: Any installation of the application.
        file: Where the export is put to be verified.
    """
    susan = place.join("susan")
    susan.write(*BODIES)
    answer = susan.post("/v1/exports", {})
    assert answer.status_code == 202
    assert int(answer.headers["Retry-After"]) >= 0
    task_id = answer.json_body["id"]
    assert answer.headers["Location"] == f"/v1/tasks/{task_id}"
    task = susan.wait_for(task_id, "succeeded")
    assert (task["progress"], task["attempt"]) == ({"percent": 100, "done": 3, "total": 3}, 1)

    (attachment,) = susan.wait_for_email(task_id).iter_attachments()
    assert attachment.get_filename() == "posts.json"
    assert attachment.get_content_type() == "application/json"
    data = attachment.get_payload(decode=True)
    assert isinstance(data, bytes)
    assert data == susan.download(task_id)
    assert [post["body"] for post in json.loads(data)["posts"]] == BODIES

    result = susan.task(task_id)["result"]
    assert result["sha256"] == hashlib.sha256(data).hexdigest()
    assert (result["bytes"], result["posts"], result["available"]) == (len(data), 3, True)
    file.write_bytes(data)
    assert "the file is intact" in place.command("verify", str(file), "--sha256", result["sha256"])

"""The main story in one process: request, attempt, file, email."""

import json
from email import message_from_bytes, policy
from pathlib import Path

import pytest
from chalice.test import Client

from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from worker import attempts


@both_databases
def test_an_export_is_requested_done_and_emailed(
    client: Client, wiring: Wiring, mail_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A user gets exactly the posts they wrote, as a file and by email."""
    body = {"username": "susan", "email": "susan@example.com", "password": "correct horse"}
    headers = {"Content-Type": "application/json"}
    assert client.http.post("/v1/users", headers=headers, body=json.dumps(body)).status_code == 201
    answer = client.http.post("/v1/tokens", headers=headers, body=json.dumps(body | {}))
    assert answer.status_code == 422  # email is no field of a token request
    body.pop("email")
    answer = client.http.post("/v1/tokens", headers=headers, body=json.dumps(body))
    assert answer.status_code == 201
    headers["Authorization"] = f"Bearer {answer.json_body['token']}"
    texts = ["first", "zweiter \u2028 \U0001f600 \x07"]
    for text in texts:
        post = json.dumps({"body": text})
        assert client.http.post("/v1/posts", headers=headers, body=post).status_code == 201
    answer = client.http.post("/v1/exports", headers=headers)
    assert answer.status_code == 202, answer.json_body
    task_id = answer.json_body["id"]
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    attempts.run(task_id)
    task = client.http.get(f"/v1/tasks/{task_id}", headers=headers).json_body
    assert task["status"] == "succeeded", task
    assert task["result"]["mail"]["state"] == "sent"
    (mail,) = mail_dir.glob("*.eml")
    message = message_from_bytes(mail.read_bytes(), policy=policy.default)
    (attachment,) = message.iter_attachments()
    document = json.loads(attachment.get_content())
    assert [post["body"] for post in document["posts"]] == texts
    assert document["count"] == 2

"""Files to import, and people who upload them."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import boto3
import requests

from chalicelib.adapters.object_store import UPLOADED_TYPE, Content
from chalicelib.imports import uploads
from chalicelib.wiring import Wiring
from tests.harness import ledgers
from tests.harness.people import TIMEOUT_S, Person

TIME = "2026-01-02T03:04:05Z"


def json_lines(posts: Iterable[tuple[str, str]]) -> bytes:
    """A file of JSON lines: bodies and times."""
    lines = [json.dumps({"body": body, "timestamp": timestamp}) for body, timestamp in posts]
    return "".join(f"{line}\n" for line in lines).encode()


def put(upload: dict[str, Any], content: bytes) -> requests.Response:
    """Send a file to where an import says, as it says."""
    return requests.request(
        upload["method"],
        upload["url"],
        data=content,
        headers=upload["headers"],
        timeout=TIMEOUT_S,
    )


def upload(person: Person, content: bytes, **facts: Any) -> str:
    """Upload a file; return the import's id."""
    created = person.call("POST", "/v1/imports", facts, 201)
    assert put(created["upload"], content).status_code == 200
    return str(created["id"])


def start(person: Person, content: bytes, **facts: Any) -> tuple[str, str]:
    """Upload a file and start the import; return the import's id and the task's."""
    import_id = upload(person, content, **facts)
    task = person.call("POST", f"/v1/imports/{import_id}/start", {}, 202)
    return import_id, str(task["id"])


def launch_import(wiring: Wiring, user_id: int, content: bytes) -> str:
    """Queue an import of a file that is in the bucket, without a job; return the task's id."""
    content_type = Content("upload", UPLOADED_TYPE)
    return _launch_import(
        wiring, user_id, lambda key: wiring.object_store.put(key, content, content_type)
    )


def launch_import_of(wiring: Wiring, user_id: int, key: str) -> str:
    """The same for what is in the bucket already, of any size."""
    s3 = boto3.client("s3", endpoint_url=wiring.settings.aws_endpoint_url)
    bucket = wiring.settings.export_bucket
    source = {"Bucket": bucket, "Key": key}
    return _launch_import(
        wiring, user_id, lambda new: s3.copy_object(Bucket=bucket, Key=new, CopySource=source)
    )


def _launch_import(wiring: Wiring, user_id: int, store: Callable[[str], Any]) -> str:
    with wiring.database.write() as session:
        new = uploads.create(session, user_id, filename=None, now=ledgers.now())
    key = uploads.upload_key(new)
    store(key)
    found = wiring.object_store.find(key)
    assert found is not None
    with wiring.database.write() as session:
        uploads.note_content(session, new, size_bytes=found.size_bytes, etag=found.etag)
    return ledgers.launch(wiring.database, user_id, "import_posts", import_id=new.id)


def report_of(person: Person, import_id: str) -> list[dict[str, Any]]:
    """What an import has left out."""
    answer = person.get(f"/v1/imports/{import_id}/report")
    assert answer.status_code == 303, answer.body
    content = requests.get(answer.headers["Location"], timeout=TIMEOUT_S).content
    return [json.loads(line) for line in content.splitlines()]


def posts_of(person: Person) -> list[tuple[str, str]]:
    """A user's posts, the oldest first: bodies and times."""
    path = f"/v1/users/{person.username}/posts?limit=100"
    found: list[tuple[str, str]] = []
    cursor = ""
    while True:
        page = person.call("GET", path + cursor)
        found += [(one["body"], one["timestamp"]) for one in page["items"]]
        if page["next"] is None:
            return found[::-1]
        cursor = f"&cursor={page['next']}"

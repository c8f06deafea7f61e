import os
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from tests.harness.servers import Aws

DEADLINE_S = 60
BUCKET = "exports-of-a-test"
PART_BYTES = 5 * 1024 * 1024


class Restarted(Aws):
    """S3 and SES that are killed like the launcher, and started again on the same folder."""

    def restart(self) -> None:
        """Kill it with SIGKILL and start another one."""
        self.stop()
        self.start()

    def client(self, service: str) -> Any:
        """A boto3 client, with no retries that could hide a fault."""
        version = "s3v4" if service == "s3" else None
        config = Config(retries={"total_max_attempts": 1}, signature_version=version)
        return boto3.client(service, endpoint_url=self.url, config=config)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Restarted]:
    running = Restarted(tmp_path, EXPORT_BUCKET=BUCKET)
    yield running
    running.stop()


def get(s3: Any, key: str) -> dict[str, Any]:
    answer: dict[str, Any] = s3.get_object(Bucket=BUCKET, Key=key)
    return {**answer, "Body": answer["Body"].read()}


def is_missing(s3: Any, key: str) -> bool:
    try:
        s3.head_object(Bucket=BUCKET, Key=key)
    except ClientError as error:
        return bool(error.response["Error"]["Code"] == "404")
    return False


def test_object_outlives_kill_9(running: Restarted) -> None:
    """An object is whole on disk when its PUT is answered: bytes, type, metadata, ETag, time."""
    key = "exports/1/한 글 & +/posts.json"
    running.client("s3").put_object(
        Bucket=BUCKET,
        Key=key,
        Body=b"\x00bytes\r\n{}",
        ContentType="application/json",
        ContentDisposition='attachment; filename="posts.json"',
        Metadata={"sha256": "abc"},
    )
    before = get(running.client("s3"), key)

    running.restart()
    after = get(running.client("s3"), key)
    assert after["Body"] == b"\x00bytes\r\n{}"
    for name in ("ContentType", "ContentDisposition", "Metadata", "ETag", "LastModified"):
        assert after[name] == before[name]
    assert after["ContentType"] == "application/json"
    assert after["Metadata"] == {"sha256": "abc"}


def test_multipart_object_outlives_kill_9(running: Restarted) -> None:
    """Parts become one file, and completing the upload twice does no harm."""
    s3 = running.client("s3")
    upload = s3.create_multipart_upload(
        Bucket=BUCKET, Key="big", ContentType="application/json", Metadata={"a": "b"}
    )["UploadId"]
    bodies = [b"a" * PART_BYTES, b"b" * PART_BYTES, b"c"]
    parts = [
        {
            "PartNumber": number,
            "ETag": s3.upload_part(
                Bucket=BUCKET, Key="big", UploadId=upload, PartNumber=number, Body=body
            )["ETag"],
        }
        for number, body in enumerate(bodies, start=1)
    ]
    for _ in range(2):
        completed = s3.complete_multipart_upload(
            Bucket=BUCKET, Key="big", UploadId=upload, MultipartUpload={"Parts": parts}
        )

    running.restart()
    after = get(running.client("s3"), "big")
    assert after["Body"] == b"".join(bodies)
    assert after["ETag"] == completed["ETag"]
    assert after["Metadata"] == {"a": "b"}
    ranged = running.client("s3").get_object(
        Bucket=BUCKET, Key="big", Range="bytes=5242879-5242880"
    )
    assert ranged["Body"].read() == b"ab"


def test_newest_version_wins(running: Restarted) -> None:
    """An object that was written again is the new one after a restart."""
    for body in (b"old", b"new and longer"):
        running.client("s3").put_object(Bucket=BUCKET, Key="key", Body=body)
    running.restart()
    assert get(running.client("s3"), "key")["Body"] == b"new and longer"


def test_deleted_objects_stay_deleted(running: Restarted, tmp_path: Path) -> None:
    """Both ways to delete remove the file too."""
    s3 = running.client("s3")
    for key in ("one", "two", "three", "kept"):
        s3.put_object(Bucket=BUCKET, Key=key, Body=b"x")
    s3.delete_object(Bucket=BUCKET, Key="one")
    s3.delete_objects(Bucket=BUCKET, Delete={"Objects": [{"Key": "two"}, {"Key": "three"}]})
    assert len(list((tmp_path / "s3" / BUCKET).iterdir())) == 1

    running.restart()
    s3 = running.client("s3")
    assert [is_missing(s3, key) for key in ("one", "two", "three", "kept")] == [True] * 3 + [False]
    s3.delete_object(Bucket=BUCKET, Key="kept")  # one that was restored
    running.restart()
    assert is_missing(running.client("s3"), "kept")


def test_half_written_file_is_no_object(running: Restarted, tmp_path: Path) -> None:
    """What a kill left unfinished is swept away at the next start."""
    running.client("s3").put_object(Bucket=BUCKET, Key="key", Body=b"x")
    unfinished = tmp_path / "s3" / BUCKET / "0123.part"
    unfinished.write_bytes(b"{")
    running.restart()
    assert not unfinished.exists()
    assert get(running.client("s3"), "key")["Body"] == b"x"


def make_mail(text: str) -> bytes:
    message = EmailMessage()
    message["From"] = "Carryout <carryout@example.com>"
    message["To"] = "susan@example.com"
    message["Subject"] = "안녕"
    message.set_content(text)
    message.add_attachment(b"\x00\xff", maintype="application", subtype="json", filename="a.json")
    return message.as_bytes()


def send(ses: Any, data: bytes, sender: str = "Carryout <carryout@example.com>") -> str:
    """Send a raw message through SESv2; return its id."""
    message_id: str = ses.send_email(
        FromEmailAddress=sender,
        Destination={"ToAddresses": ["susan@example.com"]},
        Content={"Raw": {"Data": data}},
    )["MessageId"]
    return message_id


def test_mails_become_files_in_order(running: Restarted, tmp_path: Path) -> None:
    """When SES has answered the file is there, byte for byte, and names sort by time."""
    ses = running.client("sesv2")
    sent = [make_mail(f"Número {number} ✓") for number in range(5)]
    ids = [send(ses, data) for data in sent]

    files = sorted((tmp_path / "mail").iterdir())
    assert [path.read_bytes() for path in files] == sent
    assert all(name in path.name for name, path in zip(ids, files, strict=True))
    assert {path.suffix for path in files} == {".eml"}
    running.restart()
    assert sorted((tmp_path / "mail").iterdir()) == files


def test_refused_mail_is_no_file(running: Restarted, tmp_path: Path) -> None:
    """A sender that nobody verified is refused, as by SES."""
    with pytest.raises(ClientError, match="authority"):
        send(running.client("sesv2"), make_mail("x"), sender="other@elsewhere.example")
    assert list((tmp_path / "mail").iterdir()) == []


def test_mail_of_pieces_is_a_file_too(running: Restarted, tmp_path: Path) -> None:
    """SES takes messages in pieces as well."""
    running.client("ses").send_email(
        Source="carryout@example.com",
        Destination={"ToAddresses": ["susan@example.com"]},
        Message={"Subject": {"Data": "s"}, "Body": {"Text": {"Data": "t"}}},
    )
    (path,) = (tmp_path / "mail").iterdir()
    assert b"Subject: s\n" in path.read_bytes()


def test_large_object(running: Restarted) -> None:
    """Objects larger than any buffer pass, in good time."""
    s3 = running.client("s3")
    body = os.urandom(1024 * 1024) * 64
    started = time.monotonic()
    s3.put_object(Bucket=BUCKET, Key="large", Body=body)
    running.restart()
    assert get(running.client("s3"), "large")["Body"] == body
    assert time.monotonic() - started < DEADLINE_S

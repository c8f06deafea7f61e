"""The edge to S3: private objects, multipart uploads, signed downloads.

boto3 takes a quarter of a second to import and to make a client, so that happens at the first call
of a process and never on the way of a request that has nothing to do with S3.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 30
SIGNED_TTL_S = 60
"""How long a signed URL is valid; it is signed on the click and used at once."""

UPLOADED_TYPE = "application/octet-stream"
"""The media type of what users upload: nothing that a browser would open or execute."""


@dataclass(frozen=True)
class Content:
    """What an object is, for those who download it.

    Attributes:
        filename: What it is called where it is saved; ASCII without quotes.
        content_type: Its media type.
    """

    filename: str
    content_type: str

    @property
    def disposition(self) -> str:
        """The `Content-Disposition` header (RFC 6266)."""
        return f'attachment; filename="{self.filename}"'


@dataclass(frozen=True)
class Part:
    """An uploaded part of an unfinished object."""

    number: int
    etag: str
    size_bytes: int


@dataclass(frozen=True)
class Found:
    """What the store says of an object: its size, and a name for its content."""

    size_bytes: int
    etag: str


@dataclass(frozen=True)
class SignedUpload:
    """How anybody can upload one object.

    Attributes:
        url: Where to.
        headers: What must be sent along with a PUT.
        fields: What must stand in a form before the file, if it is one.
    """

    url: str
    headers: dict[str, str]
    fields: dict[str, str]


class ObjectChangedError(Exception):
    """The object is gone, or holds something else than it did."""


class UploadGoneError(Exception):
    """S3 does not know this upload, or not these parts of it.

    It was aborted, completed or lost, or another attempt that took itself for alive wrote there.
    """


class ObjectStore:
    """One bucket.

    Args:
        bucket: Its name.
        endpoint_url: An S3 endpoint other than AWS's own, or None.
    """

    def __init__(self, bucket: str, *, endpoint_url: str | None) -> None:
        self.bucket = bucket
        self._endpoint_url = endpoint_url

    @cached_property
    def _s3(self) -> Any:
        return self._client(attempts=3)

    @cached_property
    def _s3_once(self) -> Any:
        """For what must not be asked twice."""
        return self._client(attempts=1)

    def _client(self, *, attempts: int) -> Any:
        import boto3  # noqa: PLC0415 - slow, see above
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "standard", "total_max_attempts": attempts},
            s3={"addressing_style": "path" if self._endpoint_url else "virtual"},
        )
        return boto3.client("s3", endpoint_url=self._endpoint_url, config=config)

    def warm_up(self) -> None:
        """Make the client now, before a fork, so that children inherit the imports."""
        _ = self._s3, self._s3_once

    def put(self, key: str, data: bytes | bytearray, content: Content) -> None:
        """Store a small object in one call."""
        self._s3.put_object(Body=data, **self._object(key, content))

    def begin(self, key: str, content: Content) -> str:
        """Begin a multipart upload; a second try after a lost answer would leave one for ever.

        Returns:
            Its id.
        """
        return str(self._s3_once.create_multipart_upload(**self._object(key, content))["UploadId"])

    def upload(self, key: str, upload_id: str, number: int, data: bytes | bytearray) -> Part:
        """Upload one part (5 MiB or more, unless it is the last; at most 10,000 of them).

        Raises:
            UploadGoneError: S3 does not know the upload any more.
        """
        with _known_upload():
            answer = self._s3.upload_part(
                Bucket=self.bucket, Key=key, UploadId=upload_id, PartNumber=number, Body=data
            )
        return Part(number, answer["ETag"], len(data))

    def complete(self, key: str, upload_id: str, parts: list[Part]) -> None:
        """Make the object out of its parts.

        Raises:
            UploadGoneError: S3 does not know the upload or one of the parts any more.
        """
        numbered = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
        with _known_upload():
            self._s3.complete_multipart_upload(
                Bucket=self.bucket,
                Key=key,
                UploadId=upload_id,
                MultipartUpload={"Parts": numbered},
            )

    def size(self, key: str) -> int | None:
        """The size of an object in bytes, or None when there is none."""
        found = self.find(key)
        return None if found is None else found.size_bytes

    def find(self, key: str) -> Found | None:
        """What there is under a key, or None."""
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            answer = self._s3.head_object(Bucket=self.bucket, Key=key)
            return Found(int(answer["ContentLength"]), str(answer["ETag"]))
        except ClientError as error:
            if error.response["ResponseMetadata"]["HTTPStatusCode"] == 404:  # noqa: PLR2004
                return None
            raise

    def read(self, key: str) -> Iterator[bytes]:
        """The bytes of an object, 1 MiB at a time."""
        body = self._s3.get_object(Bucket=self.bucket, Key=key)["Body"]
        yield from body.iter_chunks(1024 * 1024)

    def open_at(self, key: str, offset: int, *, etag: str) -> Any:
        """The bytes of an object from an offset on, as a stream to read from and to close.

        Raises:
            ObjectChangedError: It is gone, or is not what had this ETag.
        """
        from botocore.exceptions import ClientError  # noqa: PLC0415

        try:
            answer = self._s3.get_object(
                Bucket=self.bucket, Key=key, Range=f"bytes={offset}-", IfMatch=etag
            )
        except ClientError as error:
            if error.response["Error"]["Code"] in {"NoSuchKey", "404", "PreconditionFailed", "412"}:
                raise ObjectChangedError from error
            raise
        return answer["Body"]

    def sign_upload(self, key: str, *, size_bytes: int | None, ttl_s: int) -> SignedUpload:
        """Let anybody PUT one object of this type, and of this size where that is known.

        S3 binds an upload to what is signed as a header; without a size it takes up to 5 GiB.
        """
        params: dict[str, Any] = {
            "Bucket": self.bucket,
            "Key": key,
            "ContentType": UPLOADED_TYPE,
        }
        headers = {"Content-Type": UPLOADED_TYPE}
        if size_bytes is not None:
            params["ContentLength"] = size_bytes
            headers["Content-Length"] = str(size_bytes)
        url = self._s3.generate_presigned_url("put_object", params, ExpiresIn=ttl_s)
        return SignedUpload(str(url), headers, {})

    def sign_form(self, key: str, *, max_bytes: int, redirect: str, ttl_s: int) -> SignedUpload:
        """Let a form of a page upload one object, and have the browser come back after it.

        Args:
            key: Where the object will be.
            max_bytes: S3 refuses a larger one.
            redirect: The URL that the browser is sent to; S3 adds its own parameters.
            ttl_s: For how long, in seconds.
        """
        fields = {"Content-Type": UPLOADED_TYPE, "success_action_redirect": redirect}
        conditions = [{name: value} for name, value in fields.items()]
        signed = self._s3.generate_presigned_post(
            self.bucket,
            key,
            Fields=fields,
            Conditions=[*conditions, ["content-length-range", 1, max_bytes]],
            ExpiresIn=ttl_s,
        )
        return SignedUpload(signed["url"], {}, signed["fields"])

    def sign(self, key: str, content: Content) -> str:
        """A URL with which anybody can download the object for a minute."""
        params = {
            "Bucket": self.bucket,
            "Key": key,
            "ResponseContentDisposition": content.disposition,
            "ResponseContentType": content.content_type,
        }
        return str(self._s3.generate_presigned_url("get_object", params, ExpiresIn=SIGNED_TTL_S))

    def clear(self, prefix: str, *, needed: Callable[[], Callable[[str], bool]]) -> None:
        """Delete all objects and unfinished uploads under a prefix, but for those still needed.

        Args:
            prefix: Where to look.
            needed: Called after each look, never before; says of each key whether to keep it.
        """
        uploads = self._s3.get_paginator("list_multipart_uploads")
        for page in uploads.paginate(Bucket=self.bucket, Prefix=prefix):
            for upload in _worthless(page.get("Uploads", []), needed):
                self._abort(upload["Key"], upload["UploadId"])
        objects = self._s3.get_paginator("list_objects_v2")
        for page in objects.paginate(Bucket=self.bucket, Prefix=prefix):
            keys = [one["Key"] for one in _worthless(page.get("Contents", []), needed)]
            if keys:
                self._s3.delete_objects(
                    Bucket=self.bucket,
                    Delete={"Objects": [{"Key": key} for key in keys], "Quiet": True},
                )

    def _abort(self, key: str, upload_id: str) -> None:
        try:
            with _known_upload():
                self._s3.abort_multipart_upload(Bucket=self.bucket, Key=key, UploadId=upload_id)
        except UploadGoneError:
            return  # somebody else was quicker

    def _object(self, key: str, content: Content) -> dict[str, str]:
        return {
            "Bucket": self.bucket,
            "Key": key,
            "ContentType": content.content_type,
            "ContentDisposition": content.disposition,
        }


def _worthless(
    found: list[dict[str, str]], needed: Callable[[], Callable[[str], bool]]
) -> list[dict[str, str]]:
    if not found:
        return []
    is_needed = needed()
    return [one for one in found if not is_needed(one["Key"])]


@contextmanager
def _known_upload() -> Iterator[None]:
    """Turn S3's NoSuchUpload and InvalidPart into `UploadGoneError`."""
    from botocore.exceptions import ClientError  # noqa: PLC0415

    try:
        yield
    except ClientError as error:
        if error.response["Error"]["Code"] in {"NoSuchUpload", "InvalidPart"}:
            raise UploadGoneError from error
        raise

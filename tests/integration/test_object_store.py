"""What the code expects of S3, held against S3's emulator and against the fake alike."""

from collections.abc import Callable, Iterator
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from botocore.exceptions import ClientError

from chalicelib.adapters.object_store import Content, ObjectStore, Part, UploadGoneError
from tests.harness.fakes import MIN_PART_BYTES, FakeObjectStore
from tests.harness.ledgers import JSON

PIECE = bytes(range(256)) * (MIN_PART_BYTES // 256)
KEY = "exports/1/task/1/posts.json"


def nothing() -> Callable[[str], bool]:
    return lambda _key: False


@pytest.fixture
def s3(environment: dict[str, str]) -> Iterator[ObjectStore]:
    url = environment["AWS_ENDPOINT_URL"]
    storage = ObjectStore(environment["EXPORT_BUCKET"], endpoint_url=url)
    yield storage
    storage.clear("", needed=nothing)


@pytest.fixture(params=["fake", "s3"])
def storage(request: pytest.FixtureRequest) -> ObjectStore:
    """The fake, then the emulator."""
    if request.param == "fake":
        return FakeObjectStore()
    real: ObjectStore = request.getfixturevalue("s3")
    return real


def read(storage: ObjectStore, key: str) -> bytes:
    return b"".join(storage.read(key))


def over(storage: ObjectStore, ending: str) -> tuple[str, Part]:
    """An upload that is over, and its only part."""
    upload_id = storage.begin(KEY, JSON)
    part = storage.upload(KEY, upload_id, 1, b"only")
    if ending == "completed":
        storage.complete(KEY, upload_id, [part])
    elif ending == "aborted":
        storage.clear("exports/", needed=nothing)
    else:
        upload_id = "nobody-began-this"
    return upload_id, part


class TestContract:
    def test_put(self, storage: ObjectStore) -> None:
        """What was put is there, whole, and replaced by what is put next."""
        storage.put(KEY, b"first", JSON)
        storage.put(KEY, b"second one", JSON)
        assert read(storage, KEY) == b"second one"
        assert storage.size(KEY) == 10

    def test_size_of_nothing(self, storage: ObjectStore) -> None:
        """What is not there has no size."""
        assert storage.size(KEY) is None

    def test_reading_nothing(self, storage: ObjectStore) -> None:
        """What is not there cannot be read."""
        with pytest.raises(ClientError, match="NoSuchKey"):
            read(storage, KEY)

    def test_multipart(self, storage: ObjectStore) -> None:
        """Parts become one object, which is not there before it is complete."""
        upload_id = storage.begin(KEY, JSON)
        parts = [storage.upload(KEY, upload_id, 1, PIECE), storage.upload(KEY, upload_id, 2, b"x")]
        assert [(part.number, part.size_bytes) for part in parts] == [(1, len(PIECE)), (2, 1)]
        assert storage.size(KEY) is None
        storage.complete(KEY, upload_id, parts)
        assert read(storage, KEY) == PIECE + b"x"

    def test_parts_are_replaced(self, storage: ObjectStore) -> None:
        """A part that was uploaded before a crash and again after it counts once."""
        upload_id = storage.begin(KEY, JSON)
        storage.upload(KEY, upload_id, 1, PIECE[::-1])
        first = storage.upload(KEY, upload_id, 1, PIECE)
        storage.complete(KEY, upload_id, [first])
        assert read(storage, KEY) == PIECE

    def test_resume(self, storage: ObjectStore) -> None:
        """An upload is taken up again from what a checkpoint says about it."""
        upload_id = storage.begin(KEY, JSON)
        one = storage.upload(KEY, upload_id, 1, PIECE)
        noted = (one.number, one.etag, one.size_bytes)
        last = storage.upload(KEY, upload_id, 2, b"end")
        storage.complete(KEY, upload_id, [Part(*noted), last])
        assert read(storage, KEY) == PIECE + b"end"

    def test_small_parts_are_refused(self, storage: ObjectStore) -> None:
        """Only the last part may be below 5 MiB."""
        upload_id = storage.begin(KEY, JSON)
        parts = [storage.upload(KEY, upload_id, number, b"small") for number in (1, 2)]
        with pytest.raises(ClientError, match="EntityTooSmall"):
            storage.complete(KEY, upload_id, parts)

    def test_another_part_of_the_same_number(self, storage: ObjectStore) -> None:
        """A part that somebody else replaced is not silently taken for ours."""
        upload_id = storage.begin(KEY, JSON)
        ours = storage.upload(KEY, upload_id, 1, b"ours")
        storage.upload(KEY, upload_id, 1, b"theirs")
        with pytest.raises(UploadGoneError):
            storage.complete(KEY, upload_id, [ours])

    @pytest.mark.parametrize("ending", ["aborted", "unknown"])
    def test_completing_an_upload_that_is_over(self, storage: ObjectStore, ending: str) -> None:
        """An upload that was aborted or never begun cannot be completed."""
        upload_id, part = over(storage, ending)
        with pytest.raises(UploadGoneError):
            storage.complete(KEY, upload_id, [part])

    @pytest.mark.parametrize("ending", ["completed", "aborted", "unknown"])
    def test_adding_to_an_upload_that_is_over(self, storage: ObjectStore, ending: str) -> None:
        """An upload that was completed, aborted or never begun takes no part."""
        upload_id, _ = over(storage, ending)
        with pytest.raises(UploadGoneError):
            storage.upload(KEY, upload_id, 2, b"more")

    def test_clear(self, storage: ObjectStore) -> None:
        """Objects under a prefix go; what is needed, its upload and other prefixes, stay."""
        kept, gone, other = "exports/1/a/2", "exports/1/a/1", "exports/11/a/1"
        for key in (kept, gone, other):
            storage.put(key, b"-", JSON)
        kept_upload = storage.begin(kept, JSON)
        storage.clear("exports/1/", needed=lambda: {kept}.__contains__)
        assert [storage.size(key) for key in (kept, gone, other)] == [1, None, 1]
        storage.complete(kept, kept_upload, [storage.upload(kept, kept_upload, 1, b"new")])
        assert read(storage, kept) == b"new"

    def test_clearing_looks_first(self, storage: ObjectStore) -> None:
        """What comes while it is asked what is needed was not seen, and stays."""
        storage.put("exports/1/a", b"old", JSON)

        def needed() -> Callable[[str], bool]:
            storage.put("exports/1/b", b"new", JSON)
            return nothing()

        storage.clear("exports/1/", needed=needed)
        assert [storage.size(key) for key in ("exports/1/a", "exports/1/b")] == [None, 3]

    def test_clearing_nothing(self, storage: ObjectStore) -> None:
        """There may be nothing to clear."""
        storage.clear("exports/1/", needed=nothing)

    @pytest.mark.parametrize("content", [JSON, Content("all.zip", "application/zip")])
    def test_sign(self, storage: ObjectStore, content: Content) -> None:
        """A signed URL is for a minute at most and makes a browser save the file by its name."""
        query = parse_qs(urlsplit(storage.sign(KEY, content)).query)
        assert 0 < int(query["X-Amz-Expires"][0]) <= 60
        disposition = f'attachment; filename="{content.filename}"'
        assert query["response-content-disposition"] == [disposition]
        assert query["response-content-type"] == [content.content_type]


def test_a_signed_url_downloads(s3: ObjectStore) -> None:
    """Anybody with the URL gets the bytes, as a file to save."""
    s3.put(KEY, b'{"posts": []}', JSON)
    answer = requests.get(s3.sign(KEY, JSON), timeout=60)
    assert answer.content == b'{"posts": []}'
    assert answer.headers["Content-Disposition"] == 'attachment; filename="posts.json"'
    assert answer.headers["Content-Type"] == "application/json"


def test_objects_say_what_they_are(s3: ObjectStore) -> None:
    """However it was written, an object carries its media type and the name to save it by."""
    archive = Content("all.zip", "application/zip")
    s3.put("exports/1/put", b"-", archive)
    upload_id = s3.begin("exports/1/parts", archive)
    part = s3.upload("exports/1/parts", upload_id, 1, b"-")
    s3.complete("exports/1/parts", upload_id, [part])
    for key in ("exports/1/put", "exports/1/parts"):
        head = s3._s3.head_object(Bucket=s3.bucket, Key=key)
        assert head["ContentType"] == "application/zip"
        assert head["ContentDisposition"] == 'attachment; filename="all.zip"'


def test_without_a_signature(s3: ObjectStore) -> None:
    """Without a signature there is nothing to get: the object is private."""
    s3.put(KEY, b"secret", JSON)
    answer = requests.get(s3.sign(KEY, JSON).partition("?")[0], timeout=60)
    assert answer.status_code == 403


def test_uploads_are_aborted(s3: ObjectStore) -> None:
    """Clearing leaves no parts behind that somebody would pay for."""
    uploads = [s3.begin(key, JSON) for key in (KEY, KEY, "exports/2/x")]
    s3.upload(KEY, uploads[0], 1, b"part")
    s3.clear("exports/1/", needed=nothing)
    left = s3._s3.list_multipart_uploads(Bucket=s3.bucket)["Uploads"]
    assert [one["UploadId"] for one in left] == [uploads[2]]


def test_more_than_a_page(s3: ObjectStore) -> None:
    """S3 lists so many keys at a time (here 50); clearing goes on to the next page."""
    for number in range(55):
        s3.put(f"exports/7/{number}", b"", JSON)
    s3.clear("exports/7/", needed=lambda: {"exports/7/3"}.__contains__)
    left = s3._s3.list_objects_v2(Bucket=s3.bucket)["Contents"]
    assert [one["Key"] for one in left] == ["exports/7/3"]


def test_on_aws(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an endpoint of its own, the bucket is AWS's, and so are signed URLs."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "testing")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "testing")
    url = urlsplit(ObjectStore("exports", endpoint_url=None).sign(KEY, JSON))
    assert url.scheme == "https"
    assert url.netloc == "exports.s3.eu-central-1.amazonaws.com"

import pytest

from chalicelib.adapters.object_store import Part, UploadGoneError
from tests.harness.fakes import MIN_PART_BYTES, FakeObjectStore
from tests.harness.ledgers import JSON
from worker.export.upload import Upload

KEY = "exports/1/task/1/posts.json"
PART = bytes(MIN_PART_BYTES)


def _died_after_finish(storage: FakeObjectStore, data: bytes) -> Upload:
    """The upload as its checkpoint has it, of an attempt that died with the object made."""
    upload = Upload(storage, KEY, JSON)
    upload.add(PART)
    checkpoint = upload.to_json()
    upload.finish(data)
    return Upload.from_json(storage, checkpoint, JSON)


def test_a_finished_object_is_not_made_again() -> None:
    """If the attempt before died with the object made, there is nothing left to do."""
    storage = FakeObjectStore()
    _died_after_finish(storage, b"tail").finish(b"tail")
    assert storage.objects[KEY] == PART + b"tail"


def test_a_finished_object_that_holds_more_is_not_taken() -> None:
    """If posts were deleted since the object was made, it is another document."""
    upload = _died_after_finish(FakeObjectStore(), b"a post and a tail")
    with pytest.raises(UploadGoneError):
        upload.finish(b"tail")


def test_parts_grow_so_that_their_number_is_not_the_end() -> None:
    """S3 takes 10,000 parts: they hold more than 300 GiB, and none is above S3's 5 GiB."""
    upload = Upload(FakeObjectStore(), KEY, JSON)
    sizes = []
    for number in range(10_000):
        sizes.append(upload.part_bytes)
        upload.parts.append(Part(number + 1, "etag", sizes[-1]))
    assert sizes[0] >= MIN_PART_BYTES
    assert sum(sizes) > 300 * 2**30
    assert max(sizes) <= 5 * 2**30

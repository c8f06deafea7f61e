import pytest

from chalicelib.adapters.object_store import UploadGoneError
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

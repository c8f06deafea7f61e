"""What every reader of an uploaded file promises, and what goes from it to the ledger.

A file is untrusted: whatever it holds, a reader gives rows and reasons, or raises `ImportRefused`;
it takes a bounded time and flat memory.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any, NamedTuple, get_args

from chalicelib.errors import ImportRefused
from chalicelib.imports.reasons import Reason
from chalicelib.values.fields import PostBody, storable
from chalicelib.values.languages import N_

MAX_ENTRY_BYTES = 1024 * 1024
"""No post is longer, with all that stands around it: a body has at most 10,000 characters."""

GIB = 1024**3

_MAX_BODY: int = next(meta.max_length for meta in get_args(PostBody)[1:])
"""In characters."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an upload may be.

    Attributes:
        packed_bytes: The file as it was uploaded (the setting `IMPORT_MAX_BYTES`).
        unpacked_bytes: All that an archive holds, unpacked.
        ratio: How many times larger than packed.
        members: How many files an archive may hold.
        rejected: How many posts may be left out; whoever has more has another file in mind.
    """

    packed_bytes: int = 2 * GIB
    unpacked_bytes: int = 20 * GIB
    ratio: int = 200
    members: int = 250_000
    rejected: int = 250_000


class Row(NamedTuple):
    """A post to take in.

    Attributes:
        position: Which entry of the file it is, from 1; it rises from row to row. In JSON lines
            it is the line's number.
        body: What `POST /v1/posts` would accept.
        timestamp: Aware, in UTC.
    """

    position: int
    body: str
    timestamp: datetime


class Rejected(NamedTuple):
    """A post that is left out.

    Attributes:
        position: Which entry of the file it is.
        reason: Why, as a stable code; `Reason(reason).sentence` is for people.
    """

    position: int
    reason: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some entries of the file, in its order.

    Attributes:
        rows: What to take in.
        rejected: What is left out.
        skipped: How many are none of one's own public posts, such as boosts.
        cursor: JSON. Given to `open_import`, reading goes on after these entries.
    """

    rows: list[Row]
    rejected: list[Rejected]
    skipped: int
    cursor: Any

    @property
    def read(self) -> int:
        """How many entries these are."""
        return len(self.rows) + len(self.rejected) + self.skipped


class Progress(NamedTuple):
    """How far one is, in bytes as they were uploaded."""

    bytes: int
    total: int


class Other(Enum):
    """What an entry is that is neither a post nor a bad one."""

    SKIPPED = "skipped"
    """None of one's own public posts."""
    BLANK = "blank"
    """Nothing at all; a blank line has a number and is not counted."""


Post = tuple[str, datetime]
Found = Post | Reason | Other
"""What a reader makes of an entry."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """A few entries, in the file's order.

    Attributes:
        found: What each is.
        at: Where reading goes on, in bytes of the text.
    """

    found: list[Found]
    at: int


class Content(ABC):
    """Bytes that can be read from any place: the file itself, or a member of an archive."""

    @abstractmethod
    def open(self, offset: int = 0) -> None:
        """Go to a place."""

    @abstractmethod
    def read(self, size: int) -> bytes:
        """The next so many bytes or fewer; none at the end.

        Raises:
            ImportRefused: Nothing more can be read, or nothing more may be.
        """

    @property
    @abstractmethod
    def progress(self) -> Progress:
        """How far one is in it."""

    def place_before(self, offset: int) -> Any:
        """JSON: where a later attempt could begin to reach a place quickly; None if nowhere.

        Args:
            offset: The place; not before that of an earlier call.
        """
        del offset
        return None

    def begin_at(self, place: Any) -> None:
        """Begin where `place_before` said in an earlier attempt."""
        raise ValueError(f"{type(self).__name__} cannot begin at {place}")


class Bad(Exception):
    """An entry holds no post that can be taken in."""

    def __init__(self, reason: Reason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def check_body(body: object) -> str:
    """A body, if `POST /v1/posts` would accept it.

    Raises:
        Bad: It would not.
    """
    if not isinstance(body, str):
        raise Bad(Reason.BODY_NOT_TEXT)
    if 0 < len(body) <= _MAX_BODY and storable(body):  # which is quicker than to ask for flaws
        return body
    if not body:
        raise Bad(Reason.BODY_EMPTY)
    raise Bad(Reason.BODY_TOO_LONG if storable(body) else Reason.BODY_NOT_STORABLE)


def refused(code: str) -> ImportRefused:
    """The error of a code; see `REFUSALS`."""
    return ImportRefused(REFUSALS[code], code=code)


REFUSALS: Mapping[str, str] = {
    "unknown_format": N_("This isn't a file that Carryout can import."),
    "malformed": N_("The file is damaged or incomplete."),
    "too_large": N_("The file is too large."),
    "ratio": N_("The archive unpacks to more than 200 times its size."),
    "too_many_members": N_("The archive holds too many files."),
    "path_escapes": N_("The archive names a file outside its own folder."),
    "overlapping_members": N_("Files in the archive overlap."),
    "nested_archive": N_("The archive holds another archive; upload that one."),
    "encrypted": N_("The archive is protected by a password."),
    "unsupported_compression": N_("The archive is compressed in a way that Carryout can't read."),
    "too_many_rejected": N_("Too many posts in the file can't be imported."),
}
"""Why a whole file is refused: stable codes, and what they say to people."""

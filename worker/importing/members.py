"""Files in an archive: their names, and which of them hold posts."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from worker.importing.formats import Format
from worker.importing.reading import Content, refused

KNOWN = 2000
"""So many files are kept that are where we know posts to be; X had one for each month."""

OTHERS = 200
"""So many other files are looked at if none of these has posts."""

_TEXTS = re.compile(r"\.(?:json|ndjson|jsonl|js)(?:\.gz)?$", re.IGNORECASE)
_ARCHIVES = re.compile(r"\.(?:zip|tar|tgz|tar\.gz)$", re.IGNORECASE)

_LONG_POSTS = re.compile(r"(?:^|/)note-tweet(?:-part[0-9]+)?\.js$")
"""Where X's archive has the whole texts of its long posts."""

_PART = re.compile(r"-part([0-9]+)")

_CARRYOUT = "carryout_archive"
TWITTER = "twitter_archive"
_KINDS = {
    "carryout_posts": _CARRYOUT,
    "json_lines": _CARRYOUT,
    "mastodon_outbox": "mastodon_archive",
    "twitter_js": TWITTER,
    "json_feed": "json_feed",
}
"""What an archive is, by the format of its posts."""

_LINES = re.compile(r"(?:^|/)data/posts\.ndjson$")
_PLACES = (
    (re.compile(r"(?:^|/)data/posts\.json$"), False),
    (_LINES, False),
    (re.compile(r"(?:^|/)(?:tweets?|posts?)(?:-part[0-9]+)?\.js$"), True),
    (re.compile(r"(?:^|/)tweets/[0-9]{4}_[0-9]{2}\.js$"), True),
    (re.compile(r"(?:^|/)outbox\.json$"), False),
)
"""Where the archives that we know have their posts, and whether in more than one file."""


Place = tuple[str, int, int]
"""A member's name, where its bytes are in a tar file, and how many."""


@dataclass(frozen=True)
class Member:
    """A file in an archive that may hold posts.

    Attributes:
        name: Its path, with slashes.
        content: What it holds.
        place: Where it is in a tar file.
    """

    name: str
    content: Content
    place: Place | None = None


@dataclass(frozen=True)
class Found:
    """The posts of an archive.

    Attributes:
        format: What the archive is: a stable name.
        members: Which files have posts, in their order, and how each is read.
    """

    format: str
    members: list[tuple[Member, Format]]


def clean_name(name: str) -> str:
    """A path as we compare it; archives from Windows have backslashes."""
    return name.replace("\\", "/").removeprefix("./")


def check_path(path: str) -> None:
    """Make sure that a path stays where an archive would be unpacked.

    Raises:
        ImportRefused: It does not.
    """
    if ".." not in path:
        return
    depth = 0
    for part in path.split("/"):
        depth += -1 if part == ".." else part not in {"", "."}
        if depth < 0:
            raise refused("path_escapes")


def _may_hold_posts(name: str) -> bool:
    """Whether a file is worth a look."""
    path = PurePosixPath(name)
    # What macOS keeps beside the files: attributes, under the names of the files.
    is_of_macos = "__MACOSX" in path.parts or path.name.startswith("._")
    return _TEXTS.search(name) is not None and not is_of_macos


def is_json_lines(name: str) -> bool:
    """Whether a file would be JSON lines of posts, which nothing in it shows if there are none."""
    return _LINES.search(name) is not None


class Candidates:
    """The files of an archive that are worth a look, while its names pass by.

    Attributes:
        has_archives: Whether there are archives among the files.
    """

    def __init__(self) -> None:
        self.has_archives = False
        self._known: list[Member] = []
        self._others: list[Member] = []

    def offer(self, name: str, make: Callable[[], Member]) -> None:
        """A file's name, and what makes a member of it if it is kept."""
        self.has_archives = self.has_archives or _ARCHIVES.search(name) is not None
        if not _may_hold_posts(name):
            return
        patterns = (_LONG_POSTS, *(pattern for pattern, _ in _PLACES))
        is_known = any(pattern.search(name.removesuffix(".gz")) for pattern in patterns)
        kept, most = (self._known, KNOWN) if is_known else (self._others, OTHERS)
        if len(kept) < most:
            kept.append(make())

    def members(self) -> list[Member]:
        """Those that are kept.

        Raises:
            ImportRefused: There are none, but other archives.
        """
        if not self._known and not self._others and self.has_archives:
            raise refused("nested_archive")
        return [*self._known, *self._others]


def find_posts(
    members: Sequence[Member], look: Callable[[Member], tuple[Member, Format] | None]
) -> Found | None:
    """Which files of an archive have its posts; None if none has.

    Args:
        members: Those that are worth a look.
        look: Says what a file is, by its content.
    """
    for pattern, are_many in _PLACES:
        here = [one for one in members if pattern.search(one.name.removesuffix(".gz"))]
        chosen = sorted(here, key=_order) if are_many else sorted(here, key=_depth)[:1]
        if found := _known(chosen, look):
            return found
    return next((found for one in members if (found := _known([one], look))), None)


def long_posts(members: Sequence[Member]) -> list[Member]:
    """The files with the whole texts of long posts."""
    return [one for one in members if _LONG_POSTS.search(one.name.removesuffix(".gz"))]


def _known(
    members: Sequence[Member], look: Callable[[Member], tuple[Member, Format] | None]
) -> Found | None:
    looked = [found for found in map(look, members) if found]
    if not looked:
        return None
    name = looked[0][1].name
    is_ours = _is_ours(looked[0][0].name)
    same = [found for found in looked if found[1].name == name]
    return Found(_CARRYOUT if is_ours else _KINDS[name], same)


def _is_ours(name: str) -> bool:
    """Mastodon's archive has its outbox in no folder of this name."""
    return "activitypub" in PurePosixPath(name).parts


def _depth(member: Member) -> tuple[int, str]:
    return member.name.count("/"), member.name


def _order(member: Member) -> tuple[str, int, str]:
    """Parts by their numbers, of which the first has none; months by their names.

    In a tar file by their places, for it takes long to go back in one.
    """
    if member.place is not None:
        return "", member.place[1], ""
    path = PurePosixPath(member.name)
    found = _PART.search(path.name)
    return str(path.parent), int(found[1]) if found else 0, path.name

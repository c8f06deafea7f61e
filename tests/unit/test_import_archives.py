"""Archives of Carryout, Mastodon and X, and whatever else somebody packs."""

import gzip
import io
import json
import random
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable
from typing import Any

import pytest

from tests.harness.imports import (
    activity,
    as_export,
    as_lines,
    as_outbox,
    as_tweets,
    everything,
    feed,
    gathered,
    note,
    opened,
    own_post,
    refusal,
    tweet,
)
from worker.importing.opening import open_import
from worker.importing.reading import Limits

EXPORT = as_export(own_post("a"), own_post("b"))
OUTBOX = as_outbox(activity(note("<p>a</p>")), activity(note("<p>b</p>")))
LINES = as_lines(own_post("a"), own_post("b"))
TWEETS = as_tweets(tweet("a"), tweet("b"))
PICTURE = b"\x89PNG" + bytes(range(256)) * 8

Files = dict[str, bytes]
Pack = Callable[[Files], bytes]


def as_zip(files: Files, method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP file, as most programs make it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return file.getvalue()


class Pipe(io.BytesIO):
    """Somewhere to write to and not to go back in."""

    def seekable(self) -> bool:
        return False

    def tell(self) -> int:
        raise OSError


def as_streamed_zip(files: Files) -> bytes:
    """A ZIP file whose sizes stand behind the data, as browsers and servers make it."""
    file = Pipe()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            with archive.open(name, "w", force_zip64=True) as member:
                member.write(data)
    return file.getvalue()


def as_windows_zip(files: Files) -> bytes:
    """A ZIP file with backslashes."""
    packed = as_zip(files)
    for name in files:
        packed = packed.replace(name.encode(), name.replace("/", "\\").encode())
    return packed


def as_mac_zip(files: Files) -> bytes:
    """A ZIP file of the Finder's: one folder, and attributes under the names of the files."""
    inside = {f"archive/{name}": data for name, data in files.items()}
    attributes = {f"__MACOSX/archive/._{name.rpartition('/')[2]}": b"\0\5\x16\7" for name in files}
    return as_zip({"archive/": b""} | attributes | inside | {"archive/.DS_Store": b"\0"})


def as_tar(files: Files, form: int = tarfile.PAX_FORMAT, mode: str = "w:gz") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode=mode, format=form) as archive:  # type: ignore[call-overload]
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return file.getvalue()


PACKS: dict[str, Pack] = {
    "deflated": as_zip,
    "stored": lambda files: as_zip(files, zipfile.ZIP_STORED),
    "streamed": as_streamed_zip,
    "windows": as_windows_zip,
    "mac": as_mac_zip,
    "tar.gz": as_tar,
    "tar": lambda files: as_tar(files, mode="w"),
    "gnu": lambda files: as_tar(files, tarfile.GNU_FORMAT),
    "ustar": lambda files: as_tar(files, tarfile.USTAR_FORMAT),
    "gz inside": lambda files: as_zip({f"{n}.gz": gzip.compress(d) for n, d in files.items()}),
}


def bodies(content: bytes) -> list[str]:
    return [row.body for row in everything(content)[0]]


CARRYOUT: Files = {
    "README.txt": b"hello",
    "data/profile.json": b"{}",
    "data/posts.json": EXPORT,
    "data/tasks.json": b'{"tasks":[]}',
    "activitypub/outbox.json": as_outbox(activity(note("<p>another</p>"))),
    "viewer/data/posts-0001.html": b"<!doctype html>",
    "manifest.json": b"{}",
}
MASTODON: Files = {
    "media_attachments/files/1.png": PICTURE,
    "outbox.json": OUTBOX,
    "likes.json": b'{"type":"OrderedCollection","orderedItems":["https://x"]}',
    "actor.json": b"{}",
}
TWITTER: Files = {
    "Your archive.html": b"<html>",
    "data/account.js": b"window.YTD.account.part0 = [ ]",
    "data/direct-messages.js": as_tweets(tweet("secret"), prefix="window.YTD.dm.part0 = "),
    "data/deleted-tweets.js": as_tweets(tweet("gone"), prefix="window.YTD.deleted_tweets.part0 ="),
    "data/tweets.js": TWEETS,
    "data/tweets_media/1.png": PICTURE,
}


@pytest.mark.parametrize("pack", PACKS)
@pytest.mark.parametrize(
    ("files", "name"),
    [(CARRYOUT, "carryout_archive"), (MASTODON, "mastodon_archive"), (TWITTER, "twitter_archive")],
    ids=lambda one: one if isinstance(one, str) else "",
)
def test_archives(files: Files, name: str, pack: str) -> None:
    """Whoever packed an archive, and with what, its posts come in once, and nothing else does."""
    content = PACKS[pack](files)
    assert opened(content).format == name
    assert bodies(content) == ["a", "b"]


@pytest.mark.parametrize(
    ("files", "name"),
    [
        ({"data/posts.ndjson": as_lines(own_post("a"))}, "carryout_archive"),
        ({"activitypub/outbox.json": as_outbox(activity(note("a")))}, "carryout_archive"),
        ({"deep/er/outbox.json": as_outbox(activity(note("a")))}, "mastodon_archive"),
        ({"./outbox.json": as_outbox(activity(note("a")))}, "mastodon_archive"),
        ({"tweet.js": as_tweets(tweet("a"))}, "twitter_archive"),  # 2018
        ({"x/my posts.json": as_export(own_post("a"))}, "carryout_archive"),
        ({"feed.json": feed({"content_text": "a"})}, "json_feed"),
        ({"data/posts.json": b"[]", "outbox.json": as_outbox(activity(note("a")))},
         "mastodon_archive"),
        ({"outbox.json": as_outbox(activity(note("a"))), "b/outbox.json": OUTBOX},
         "mastodon_archive"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_where_the_posts_are(files: Files, name: str, pack: Pack) -> None:
    """Folders differ; what a file holds counts more than how it is called."""
    content = pack(files)
    assert opened(content).format == name
    assert bodies(content) == ["a"]


def test_posts_in_several_files() -> None:
    """X's files come in their numbers' order, positions going on from one to the next."""
    files = {f"data/tweets-part{n}.js": as_tweets(tweet(f"part {n}")) for n in (10, 2, 1)}
    content = as_zip(files | {"data/tweets.js": TWEETS})

    rows, _, _ = everything(content)

    assert [row.body for row in rows] == ["a", "b", "part 1", "part 2", "part 10"]
    assert [row.position for row in rows] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize("pack", [as_zip, as_tar])
def test_posts_among_many_files(pack: Pack) -> None:
    """However many other files would be worth a look."""
    others = {f"node_modules/{number}.js": b"{}" for number in range(3000)}
    assert bodies(pack(others | {"outbox.json": OUTBOX})) == ["a", "b"]


def long_post(text: Any, **members: Any) -> dict[str, Any]:
    """A long post as X's archive has it beside its tweet."""
    core = {"text": text, "urls": [], "mentions": [], "hashtags": []}
    about = {"noteTweetId": "1", "createdAt": "2022-11-05T10:00:00.000Z"}
    return {"noteTweet": about | {"core": core} | members}


WHOLE = "Once upon a time " * 30 + "there was &amp; is https://t.co/abc the end"
CUT = f"{WHOLE[:275]}\u2026 https://t.co/itself"
LONG_LINKS = [{"shortUrl": "https://t.co/abc", "expandedUrl": "https://example.com/long"}]
RESOLVED = WHOLE.replace("&amp;", "&").replace("https://t.co/abc", "https://example.com/long")


@pytest.mark.parametrize("pack", PACKS)
def test_long_posts(pack: str) -> None:
    """A tweet that is cut gets the whole text, which stands in a file beside it, links resolved."""
    whole = long_post(WHOLE)
    whole["noteTweet"]["core"]["urls"] = LONG_LINKS
    later = "Sat Nov 05 10:00:01 +0000 2022"
    tweets = [tweet("short"), tweet(CUT), tweet(CUT, created_at=later), tweet("Twice upon")]
    notes = as_tweets(
        long_post("Never"), whole, wrapped=False, prefix="window.YTD.note_tweet.part0 = "
    )
    files = {"data/tweets.js": as_tweets(*tweets), "data/note-tweet.js": notes}
    content = PACKS[pack](files)

    batches = list(opened(content))

    expected = ["short", RESOLVED, CUT, "Twice upon"]
    assert [row.body for batch in batches for row in batch.rows] == expected
    assert everything(content, batches[-1].cursor)[0] == []


def test_long_posts_after_a_crash() -> None:
    """Whoever goes on in a tar file still finds what stands beside the tweets."""
    tweets = [tweet(f"{number} ") for number in range(1000)] + [tweet(CUT)]
    notes = as_tweets(long_post(WHOLE), wrapped=False, prefix="window.YTD.note_tweet.part0 = ")
    content = as_tar({"data/tweets.js": as_tweets(*tweets), "data/note-tweet.js": notes})
    first, *_ = opened(content)
    rest = everything(content, json.loads(json.dumps(first.cursor)))[0]
    assert rest[-1].body == WHOLE.replace("&amp;", "&")


@pytest.mark.parametrize(
    "note",
    [
        {}, {"noteTweet": None}, {"noteTweet": {"core": None}}, long_post(5), long_post(None),
        long_post(WHOLE, createdAt="now"), long_post(WHOLE, createdAt=None), long_post(""),
        long_post(" ".join(map(str, range(300_000)))), 5,
    ],
    ids=lambda one: str(one)[:30],
)  # fmt: skip
def test_what_is_no_long_post(note: Any) -> None:
    """It changes nothing."""
    notes = as_tweets(note, wrapped=False, prefix="window.YTD.note_tweet.part0 = ")
    content = as_zip({"data/tweets.js": as_tweets(tweet(CUT)), "data/note-tweet.js": notes})
    assert bodies(content) == [CUT]


def test_months_of_2012() -> None:
    """The oldest archives have a file for each month."""
    prefix = "Grailbird.data.tweets_2012_{:02} = \n"
    files = {
        f"data/js/tweets/2012_{month:02}.js": as_tweets(
            tweet(str(month)), prefix=prefix.format(month), wrapped=False
        )
        for month in (11, 9, 10)
    }
    content = as_zip({"data/js/tweet_index.js": b"var tweet_index = []"} | files)
    assert opened(content).format == "twitter_archive"
    assert bodies(content) == ["9", "10", "11"]


@pytest.mark.parametrize(
    "content", [EXPORT, OUTBOX, TWEETS, as_lines(own_post("a"), own_post("b"))]
)
def test_a_packed_file(content: bytes) -> None:
    """A file may be packed by itself, in one piece or in several."""
    half = len(content) // 2
    pieces = gzip.compress(content[:half]) + gzip.compress(content[half:])
    for packed in (gzip.compress(content), pieces, pieces + bytes(512)):
        assert opened(packed).format == opened(content).format
        assert bodies(packed) == ["a", "b"]


def test_a_comment() -> None:
    """What stands behind the directory may look like its end."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("outbox.json", OUTBOX)
        archive.comment = b"PK\x05\x06 is no end" * 20
    assert bodies(file.getvalue()) == ["a", "b"]


# --- Going on ---


@pytest.mark.parametrize("pack", PACKS)
def test_reading_goes_on_where_it_was(pack: str) -> None:
    """From any cursor, the rest is what an undisturbed run reads."""
    many = [tweet(f"{number} " + "x" * 100) for number in range(2000)]
    content = PACKS[pack](
        {"data/tweets.js": as_tweets(*many), "data/tweets-part1.js": as_tweets(*many[::-1])}
    )
    batches = list(opened(content))
    assert len(batches) > 6
    whole = gathered(batches)[0]
    for at in (0, 2, len(batches) - 2, len(batches) - 1):
        cursor = json.loads(json.dumps(batches[at].cursor))
        rest = everything(content, cursor)[0]
        assert gathered(batches[: at + 1])[0] + rest == whole


def deflated_zeros(count: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    chunk = bytes(1024 * 1024)
    return b"".join([*(packer.compress(chunk) for _ in range(count)), packer.flush()])


def raw_zip(members: list[tuple[bytes, bytes, int, int]], *, share: bool = False) -> bytes:
    """A ZIP file out of (name, deflated data, size, CRC); all may share the first one's data."""
    out, directory, at = b"", b"", 0
    for number, (name, data, size, crc) in enumerate(members):
        local = struct.pack(
            "<4s5H3L2H", b"PK\3\4", 20, 0, 8, 0, 0, crc, len(data), size, len(name), 0
        )
        if not share or number == 0:
            at = len(out)
            out += local + name + data
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 8, 0, 0, crc, len(data), size, len(name),
            0, 0, 0, 0, 0, at,
        ) + name  # fmt: skip
    end = struct.pack(
        "<4s4H2LH", b"PK\5\6", 0, 0, len(members) & 0xFFFF, len(members) & 0xFFFF, len(directory),
        len(out), 0,
    )  # fmt: skip
    return out + directory + end


class Counting(io.BytesIO):
    """A file that counts what is read of it."""

    counted = 0

    def read(self, size: int | None = -1) -> bytes:
        data = super().read(size)
        self.counted += len(data)
        return data


def flushed(data: bytes, every: int, flush: int) -> bytes:
    """Deflated data with a flush after each so many bytes."""
    packer = zlib.compressobj(6, zlib.DEFLATED, -15)
    blocks = [data[at : at + every] for at in range(0, len(data), every)]
    return b"".join([*(packer.compress(b) + packer.flush(flush) for b in blocks), packer.flush()])


def noise(seed: int) -> str:
    """Something that packing makes no smaller than half."""
    return random.Random(seed).randbytes(200).hex()


MANY = as_export(*[own_post(f"{number} {noise(number)}") for number in range(12_000)])
EVERY = 1024 * 1024
LARGE = {
    "a document": MANY,
    "lines": as_lines(*[own_post(f"{number} {noise(number)}") for number in range(12_000)]),
    "stored": as_zip({"data/posts.json": MANY}, zipfile.ZIP_STORED),
    "our own archive": raw_zip(
        [(b"data/posts.json", flushed(MANY, EVERY, zlib.Z_FULL_FLUSH), len(MANY), zlib.crc32(MANY))]
    ),
}


@pytest.mark.parametrize("name", LARGE)
def test_little_is_read_again(name: str) -> None:
    """After a crash at nine tenths, a tenth and what shows the format is all that is read."""
    content = LARGE[name]
    batches = list(opened(content))
    at = next(n for n, one in enumerate(batches) if one.cursor["position"] >= 10_800)
    file = Counting(content)

    rest = gathered(open_import(file, Limits(), json.loads(json.dumps(batches[at].cursor))))

    assert gathered(batches[: at + 1])[0] + rest[0] == gathered(batches)[0]
    assert file.counted < 0.4 * len(content)


@pytest.mark.parametrize("flush", [zlib.Z_SYNC_FLUSH, zlib.Z_PARTIAL_FLUSH, zlib.Z_FULL_FLUSH])
def test_where_one_could_begin_is_proven(flush: int) -> None:
    """A flush that does not forget what went before is no place to begin, and none is lost."""
    data = as_export(*[own_post(f"{number} {noise(number)}") for number in range(6000)])
    packed = flushed(data, 100_000, flush)
    content = raw_zip([(b"data/posts.json", packed, len(data), zlib.crc32(data))])
    batches = list(opened(content))
    places = {tuple(batch.cursor["near"]) for batch in batches}

    assert (len(places) > 1) == (flush == zlib.Z_FULL_FLUSH)
    for number in range(0, len(batches), 7):
        rest = everything(content, json.loads(json.dumps(batches[number].cursor)))
        assert gathered(batches[: number + 1])[0] + rest[0] == gathered(batches)[0]


# --- What is refused ---


def test_names_that_escape() -> None:
    """A path leads nowhere but into the archive."""
    for name in ("../x", "a/../../x", "..\\x", "/etc/x", "C:\\x", "C:x", "a/b/../../../x"):
        assert refusal(as_zip({"outbox.json": OUTBOX, name: b""})) == "path_escapes"
    for name in ("../x", "a/../../x", "/../x"):
        assert refusal(as_tar({"outbox.json": OUTBOX, name: b""})) == "path_escapes"


def test_names_that_do_not_escape() -> None:
    """Dots are part of names, and a leading slash of a tar file does not count (PEP 706)."""
    for name in ("a/../b", "..a", "a..", "...", "a/./b"):
        assert bodies(as_zip({"outbox.json": OUTBOX, name: b""})) == ["a", "b"]
    assert bodies(as_tar({"/home/mastodon/outbox.json": OUTBOX})) == ["a", "b"]


def linked(kind: bytes, target: str, name: str = "a/link") -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as archive:
        info = tarfile.TarInfo("outbox.json")
        info.size = len(OUTBOX)
        archive.addfile(info, io.BytesIO(OUTBOX))
        link = tarfile.TarInfo(name)
        link.type, link.linkname = kind, target
        archive.addfile(link)
    return file.getvalue()


def linked_zip(target: str) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("outbox.json", OUTBOX)
        info = zipfile.ZipInfo("a/link")
        info.create_system, info.external_attr = 3, 0o120777 << 16
        archive.writestr(info, target)
    return file.getvalue()


def test_links() -> None:
    """A link inside the archive is nothing to us, one that leads out of it is refused."""
    for target in ("../outbox.json", "b", "../a/../outbox.json"):
        assert bodies(linked(tarfile.SYMTYPE, target)) == ["a", "b"]
        assert bodies(linked_zip(target)) == ["a", "b"]
    assert bodies(linked(tarfile.LNKTYPE, "outbox.json")) == ["a", "b"]
    for target in ("../../x", "/etc/passwd", "../../../etc/passwd"):
        assert refusal(linked(tarfile.SYMTYPE, target)) == "path_escapes"
        assert refusal(linked_zip(target)) == "path_escapes"
    assert refusal(linked(tarfile.LNKTYPE, "../x")) == "path_escapes"
    assert refusal(linked_zip("x" * 5000)) == "path_escapes"


def test_a_link_is_not_followed() -> None:
    """An outbox that is a link is none."""
    only = linked(tarfile.SYMTYPE, "elsewhere.json", "b/outbox.json")
    assert bodies(only) == ["a", "b"]


def encrypted() -> bytes:
    """With the flags of a member that is protected by a password."""
    packed = bytearray(as_zip({"outbox.json": OUTBOX}))
    packed[6] |= 1
    packed[packed.index(b"PK\1\2") + 8] |= 1
    return bytes(packed)


def lying(*, size: int | None = None, crc: int | None = None, offset: int | None = None) -> bytes:
    """With a directory that says something else."""
    packed = bytearray(as_zip({"outbox.json": OUTBOX}))
    at = packed.index(b"PK\1\2")
    for place, value in ((24, size), (16, crc), (42, offset)):
        if value is not None:
            struct.pack_into("<L", packed, at + place, value)
    return bytes(packed)


ZIPPED = as_zip({"outbox.json": OUTBOX})
TARRED = as_tar({"outbox.json": OUTBOX})


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (as_zip({}), "unknown_format"),
        (as_zip({"a.txt": b"x", "b.json": b"{}"}), "unknown_format"),
        (as_zip({"data/direct-messages.js": TWITTER["data/direct-messages.js"]}), "unknown_format"),
        (as_tar({"a.txt": b"x"}), "unknown_format"),
        (as_zip({"a.zip": ZIPPED}), "nested_archive"),
        (as_tar({"a.tar.gz": TARRED}), "nested_archive"),
        (gzip.compress(ZIPPED), "nested_archive"),
        (gzip.compress(gzip.compress(OUTBOX)), "nested_archive"),
        (encrypted(), "encrypted"),
        (as_zip({"outbox.json": OUTBOX}, zipfile.ZIP_LZMA), "unsupported_compression"),
        (as_zip({"outbox.json": OUTBOX}, zipfile.ZIP_BZIP2), "unsupported_compression"),
        (lying(size=len(OUTBOX) - 1), "malformed"),
        (lying(size=len(OUTBOX) + 1), "malformed"),
        (lying(crc=5), "malformed"),
        (lying(offset=5), "malformed"),
        (lying(offset=2**31), "overlapping_members"),
        (ZIPPED[:-10], "malformed"),
        (ZIPPED[: len(ZIPPED) // 2], "malformed"),
        (ZIPPED[:60] + b"\xff" * 20 + ZIPPED[80:], "malformed"),
        (b"PK\3\4", "malformed"),
        (b"PK\5\6", "malformed"),
        (TARRED[:-20], "malformed"),
        (TARRED[: len(TARRED) // 2], "malformed"),
        (gzip.compress(gzip.decompress(TARRED)[:600]), "malformed"),
        (gzip.compress(OUTBOX)[:-9], "malformed"),
        (gzip.compress(OUTBOX)[:-8] + b"12345678", "malformed"),
        (gzip.compress(OUTBOX) + b"rubbish", "malformed"),
        (b"\x1f\x8b", "malformed"),
        (b"\x1f\x8b\x08" + bytes(50), "malformed"),
    ],
)
def test_damaged_and_unknown_archives(content: bytes, code: str) -> None:
    """Each is refused with its code and a sentence."""
    assert refusal(content) == code


# --- Bombs ---


def test_a_bomb() -> None:
    """More than 200 times the size is refused, whether or not the directory says so."""
    zeros = deflated_zeros(50)
    size = 50 * 1024 * 1024
    crc = zlib.crc32(bytes(size))
    honest = raw_zip([(b"outbox.json", zeros, size, crc)])
    liar = raw_zip([(b"outbox.json", zeros, 10, crc)])
    elsewhere = raw_zip([(b"outbox.json", b"\3\0", 0, 0), (b"picture.png", zeros, size, crc)])

    assert refusal(honest) == "ratio"
    assert refusal(liar) in {"ratio", "malformed"}
    assert refusal(elsewhere) == "ratio"
    assert refusal(gzip.compress(bytes(size))) == "ratio"
    assert refusal(as_tar({"outbox.json": bytes(size)})) == "ratio"
    assert refusal(as_tar({"x.png": bytes(size), "outbox.json": OUTBOX})) == "ratio"
    assert refusal(as_zip({"outbox.json.gz": gzip.compress(bytes(size))})) == "ratio"


def test_members_that_overlap() -> None:
    """One piece of data under many names: the best bombs of all, which say so in the directory."""
    data = zlib.compress(OUTBOX)[2:-4]
    name = b"outbox.json"
    many = [(name, data, len(OUTBOX), zlib.crc32(OUTBOX))] * 3
    assert refusal(raw_zip(many, share=True)) == "overlapping_members"


@pytest.mark.parametrize("size", [6 * 2**30, 30 * 2**30])
def test_too_much_of_it(size: int) -> None:
    """What says that it unpacks to more than is allowed is not unpacked."""
    members: list[tuple[bytes, bytes, int, int]] = [
        (b"%d" % n, b"\3\0", 2**31, 0) for n in range(size >> 31)
    ]
    content = raw_zip(members)
    assert refusal(content) == ("too_large" if size > 20 * 2**30 else "ratio")


def test_many_members() -> None:
    """A million files are refused, and quickly, by what the directory says or by its length."""
    entry = struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0)
    directory = (entry + b"x") * 1_000_000
    start = as_zip({"a": b""})[:31]
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 1, 1, len(directory), len(start), 0)
    assert refusal(start + directory + end) == "too_many_members"

    header = as_tar({"x": b""}, mode="w")[:512]
    assert refusal(gzip.compress(header * 1000), members=999) == "too_many_members"


def test_a_header_of_a_tar_file_is_bounded() -> None:
    """An extended header is no place for a gigabyte."""
    packed = gzip.compress(bytearray(gzip.decompress(as_tar({"a" * 200: b""}))))
    assert refusal(packed) == "unknown_format"
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, 2**30
    block = info.tobuf(tarfile.USTAR_FORMAT)
    for kind in (b"x", b"g", b"L", b"K"):
        info.type = kind
        block = info.tobuf(tarfile.USTAR_FORMAT)
        assert refusal(block + bytes(1024)) == "malformed"


def pax(**records: Any) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz", format=tarfile.PAX_FORMAT) as archive:
        info = tarfile.TarInfo("x.txt")
        info.size, info.pax_headers = len(OUTBOX), {k: str(v) for k, v in records.items()}
        archive.addfile(info, io.BytesIO(OUTBOX))
    return file.getvalue()


def test_names_in_extended_headers() -> None:
    """A long or odd path stands in a header of its own, and is the one that counts."""
    assert bodies(pax(path="o/" * 100 + "outbox.json")) == ["a", "b"]
    assert refusal(pax(path="../x")) == "path_escapes"

"""Damaged files of every format: a reader refuses or reads them, and nothing else ever happens.

`FUZZ=1` tries many more, others each time (`make fuzz`).
"""

import gzip
import json
import os
from contextlib import suppress
from datetime import UTC

from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.errors import ImportRefused
from chalicelib.imports.reasons import Reason
from chalicelib.values.fields import PostBody, flaw
from tests.harness.imports import (
    activity,
    as_export,
    as_lines,
    as_outbox,
    as_tweets,
    feed,
    note,
    opened,
    own_post,
    tweet,
)
from tests.unit.test_import_archives import PACKS, as_tar, as_zip
from worker.importing.html_text import text_of
from worker.importing.reading import REFUSALS, Batch
from worker.importing.times import parse_any_time

IS_LONG = "FUZZ" in os.environ
many = settings(max_examples=20_000 if IS_LONG else 150, derandomize=not IS_LONG)

LINK = {"url": "https://t.co/a", "expanded_url": "https://example.com/"}
TEXTS = [
    as_lines(own_post("a"), 5, own_post(""), own_post("b\ud800")),
    b"\xef\xbb\xbf" + as_lines(own_post("a")).replace(b"\n", b"\r\n") + b"\n\n",
    as_export(own_post("안녕 \u2028"), own_post("b", "2022-11-05T10:00:00.000001Z")),
    as_outbox(activity(note("<p>a &amp; <a href='https://x.example'>b</a></p>")), "x", {}),
    as_outbox(activity(note("x", to=[], cc=[], summary="y", oneOf=[{"name": "z"}]))),
    b'{"type":"OrderedCollection","orderedItems":[],"orderedItems":[{"type":"Announce"}]}',
    as_tweets(tweet("a https://t.co/a", entities={"urls": [LINK]}), tweet("RT @b: c")) + b";",
    as_tweets(tweet("a"), prefix="Grailbird.data.tweets_2012_11 = \n", wrapped=False),
    feed({"content_html": "<p>a</p>", "title": "b"}, {"content_text": "c"}),
]
SEEDS = [
    *TEXTS,
    *(gzip.compress(text) for text in TEXTS[:3]),
    *(PACKS[name]({"outbox.json": TEXTS[3], "x.png": b"x"}) for name in PACKS),
    as_zip({"data/tweets.js": TEXTS[6], "data/tweets-part1.js": TEXTS[6]}),
    as_tar({"a" * 150 + "/data/posts.json": TEXTS[2]}, mode="w"),
]

PIECES = st.sampled_from(
    [
        *(b'"', b"\\", b"{", b"}", b"[", b"]", b",", b":", b"\n", b"\0", b"\xff", b"null"),
        *(b"1e999", b"\\ud800", b"\\u0000", b"-", b"9" * 400, b"[" * 50),
        *(b"PK\3\4", b"PK\1\2", b"PK\5\6", b"PK\6\6"),
        *(b"PK\6\7", b"\x1f\x8b", b"../", b"\xff\xff\xff\xff", b"\0\0\xff\xff"),
        *(b"ustar", b"<", b"&", b"posts", b"items", b"orderedItems", b"window.YTD.tweets.part0 = "),
    ]
)  # fmt: skip
EDITS = st.tuples(
    st.sampled_from(["insert", "replace", "cut", "end", "repeat"]),
    st.integers(0, 10_000),
    st.integers(1, 40),
    PIECES | st.binary(max_size=8),
)


def edited(content: bytes, edits: list[tuple[str, int, int, bytes]]) -> bytes:
    for kind, place, size, piece in edits:
        at = place % (len(content) + 1)
        before, after = content[:at], content[at:]
        if kind == "insert":
            content = before + piece + after
        elif kind == "replace":
            content = before + piece + after[len(piece) :]
        elif kind == "cut":
            content = before + after[size:]
        elif kind == "end":
            content = before
        else:
            content = before + after[:size] * 3 + after[size:]
    return content


def read(content: bytes) -> tuple[list[Batch], ImportRefused | None]:
    try:
        return list(opened(content)), None
    except ImportRefused as refused:
        return [], refused


def check(content: bytes) -> None:
    """Read a file, and go on from the middle of it."""
    batches, refused = read(content)
    if refused:
        assert refused.detail == REFUSALS[refused.code]
        return
    positions = [row.position for batch in batches for row in batch.rows]
    assert positions == sorted(set(positions))
    for batch in batches:
        assert all(flaw(row.body, PostBody) is None for row in batch.rows)
        assert all(row.timestamp.tzinfo is UTC for row in batch.rows)
        assert all(Reason(one.reason).sentence for one in batch.rejected)
    for number, batch in enumerate(batches):
        again = list(opened(content, json.loads(json.dumps(batch.cursor))))
        following = [row for one in batches[number + 1 :] for row in one.rows]
        assert [row for one in again for row in one.rows] == following


@many
@given(st.sampled_from(SEEDS), st.lists(EDITS, max_size=4))
def test_damaged_files(content: bytes, edits: list[tuple[str, int, int, bytes]]) -> None:
    """Whatever was changed, there are good rows and reasons, or a code and a sentence."""
    check(edited(content, edits))


@many
@given(st.sampled_from(TEXTS), st.lists(EDITS, max_size=3), st.sampled_from([*PACKS, "gz"]))
def test_damaged_files_in_whole_archives(
    text: bytes, edits: list[tuple[str, int, int, bytes]], pack: str
) -> None:
    """Likewise when the archive around it is right, so that its checksums are."""
    content = edited(text, edits)
    files = {"data/posts.json": content, "outbox.json": content, "data/tweets.js": content}
    check(gzip.compress(content) if pack == "gz" else PACKS[pack](files))


@many
@given(st.binary(max_size=200))
def test_any_bytes(content: bytes) -> None:
    """A file can be anything."""
    for start in (b"", b"PK\3\4", b"PK\5\6", b"\x1f\x8b\x08\0", b'{"posts":[', b"["):
        check(start + content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
NAMES = st.sampled_from(
    [
        *(
            "type",
            "object",
            "actor",
            "attributedTo",
            "to",
            "cc",
            "content",
            "contentMap",
            "summary",
        ),
        *(
            "name",
            "source",
            "published",
            "oneOf",
            "tweet",
            "full_text",
            "text",
            "created_at",
            "url",
        ),
        *("entities", "urls", "media", "expanded_url", "extended_tweet", "retweeted_status"),
        *("content_text", "content_html", "title", "date_published", "body", "timestamp"),
    ]
)


def with_other_values(value: object, changes: dict[str, object]) -> object:
    """JSON with other values under some names, wherever they are."""
    if isinstance(value, dict):
        return {
            n: changes[n] if n in changes else with_other_values(v, changes)
            for n, v in value.items()
        }
    return [with_other_values(one, changes) for one in value] if isinstance(value, list) else value


@many
@given(st.dictionaries(NAMES, JSON, min_size=1, max_size=3))
def test_values_of_any_kind(changes: dict[str, object]) -> None:
    """A member may be there and hold what nobody expects."""
    written = note("<p>a</p>", source={"content": "a", "mediaType": "text/plain"})
    check(as_outbox(with_other_values(activity(written), changes), activity(note("b"))))
    long = {"full_text": "c", "entities": {"urls": [LINK]}}
    odd = with_other_values(tweet("a", extended_tweet=long), changes)
    check(as_tweets(odd, tweet("b")))
    check(as_tweets(odd, tweet("b"), wrapped=False))
    changed = with_other_values({"content_text": "a", "content_html": "b"}, changes)
    assert isinstance(changed, dict)
    check(feed(changed, {"content_text": "b"}))
    check(as_lines(with_other_values(own_post("a"), changes), own_post("b")))


@many
@given(st.text(), st.text(st.sampled_from("0123456789-+:.TZ ,SatNov")))
def test_texts_and_times(text: str, time: str) -> None:
    """The two parsers that are ours take any string."""
    text_of(text)
    with suppress(ValueError):
        assert parse_any_time(time).tzinfo is UTC

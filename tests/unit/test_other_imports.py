"""Files of other services: Mastodon's, X's, feeds; each with what is odd about real ones."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from tests.harness.imports import (
    PUBLIC,
    TIME,
    activity,
    as_outbox,
    as_tweets,
    everything,
    feed,
    note,
    opened,
    refusal,
    tweet,
)  # fmt: skip
from worker.importing.times import parse_any_time

MOMENT = datetime(2022, 11, 5, 10, 0, tzinfo=UTC)


def bodies(content: bytes) -> list[str]:
    return [row.body for row in everything(content)[0]]


def counts(content: bytes) -> tuple[list[str], list[str], int]:
    """Bodies, reasons, and how many were skipped."""
    rows, rejected, skipped = everything(content)
    return [row.body for row in rows], [one.reason for one in rejected], skipped


# --- Mastodon ---


def test_an_outbox() -> None:
    """Each public note of one's own is a post with its text and time."""
    content = as_outbox(activity(note("<p>one &amp; only</p>")), activity(note("<p>two</p>")))
    assert opened(content).format == "mastodon_outbox"

    rows, rejected, skipped = everything(content)

    assert [(row.position, row.body) for row in rows] == [(1, "one & only"), (2, "two")]
    assert {row.timestamp for row in rows} == {MOMENT}
    assert (rejected, skipped) == ([], 0)


def test_an_outbox_has_its_items_twice() -> None:
    """Mastodon's archive has an empty `orderedItems` before the one with the items."""
    head = '{"@context":"https://www.w3.org/ns/activitystreams","id":"outbox.json",'
    head += '"type":"OrderedCollection","totalItems":1,"orderedItems":[],"orderedItems":'
    content = (head + json.dumps([activity(note("<p>one</p>"))]) + "}").encode()
    assert bodies(content) == ["one"]


def to(*names: str, cc: Any = ()) -> dict[str, Any]:
    return {"to": [*names], "cc": cc}


FOLLOWERS = "https://m.example/users/susan/followers"


@pytest.mark.parametrize(
    ("audience", "is_taken"),
    [
        (to(PUBLIC, cc=[FOLLOWERS]), True),
        (to(FOLLOWERS, cc=[PUBLIC]), True),  # unlisted: everybody can read it
        (to("as:Public"), True),
        (to("Public"), True),
        ({"to": PUBLIC}, True),
        ({"to": {"id": PUBLIC}}, True),
        (to(FOLLOWERS), False),
        (to("https://m.example/users/bob"), False),  # a direct message
        (to(FOLLOWERS, cc=["https://m.example/users/bob"]), False),
        ({"to": [], "cc": None}, False),
        ({"to": 5, "cc": [None, {}, [PUBLIC]]}, False),
    ],
)
def test_only_what_is_public(audience: dict[str, Any], is_taken: bool) -> None:
    """What was meant for followers or single people is never made public by an import."""
    private = {"to": None, "cc": None}
    item = activity(note("<p>x</p>") | private | audience) | private | audience
    assert counts(as_outbox(item)) == (["x"] * is_taken, [], 1 - is_taken)


def test_a_note_is_private_though_its_activity_is_not() -> None:
    """What was written says who may read it."""
    item = activity(note("<p>x</p>") | to(FOLLOWERS)) | to(PUBLIC)
    assert counts(as_outbox(item)) == ([], [], 1)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "Announce", "object": "https://m.example/users/bob/statuses/1", "to": [PUBLIC]},
        {"type": "Announce", "object": note("<p>by bob</p>"), "to": [PUBLIC]},
        activity(note("<p>by bob</p>") | {"attributedTo": "https://m.example/users/bob"}),
        activity(note("<p>x</p>")) | {"type": "Update"},
        activity({"type": "Video", "content": "<p>x</p>", "published": TIME, "to": [PUBLIC]}),
        activity({"type": "Tombstone", "to": [PUBLIC]}),
        activity("https://m.example/users/susan/statuses/1"),
        "https://m.example/users/susan/statuses/1",
        {},
    ],
)
def test_what_is_not_written_by_oneself(item: Any) -> None:
    """Boosts and whatever else an outbox lists are counted, and nothing more."""
    assert counts(as_outbox(item)) == ([], [], 1)


@pytest.mark.parametrize(
    ("members", "body"),
    [
        ({"summary": "Food"}, "Food\n\nx"),
        ({"summary": ""}, "x"),
        ({"name": "A title", "type": "Article"}, "A title\n\nx"),
        ({"type": "Question", "oneOf": [{"name": "yes"}, {"name": "no"}]}, "x\n\n- yes\n- no"),
        ({"type": "Question", "anyOf": [{"name": "a"}, {}, 5]}, "x\n\n- a"),
        ({"content": None, "contentMap": {"en": "<p>y</p>"}}, "y"),
        ({"source": {"content": " as\n typed ", "mediaType": "text/plain"}}, " as\n typed "),
        ({"source": {"content": "**x**", "mediaType": "text/markdown"}}, "x"),
        ({"attributedTo": [{"id": "https://m.example/users/susan"}]}, "x"),
    ],
)
def test_what_a_note_says(members: dict[str, Any], body: str) -> None:
    """A content warning, a title and the choices of a poll are part of the text."""
    assert bodies(as_outbox(activity(note("<p>x</p>") | members))) == [body]


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"content": ""}, "body_empty"),  # a picture alone
        ({"content": "<p></p>"}, "body_empty"),
        ({"content": None}, "body_missing"),
        ({"content": 5}, "body_not_text"),
        ({"content": "x" * 10_001}, "body_too_long"),
        ({"content": "a\0b"}, "body_not_storable"),
        ({"content": "a\ud800"}, "body_not_storable"),
        ({"published": None}, "timestamp_missing"),
        ({"published": "now"}, "timestamp_invalid"),
        ({"published": 1667642400}, "timestamp_invalid"),
    ],
)
def test_a_note_that_cannot_be_taken_in(members: dict[str, Any], reason: str) -> None:
    """It is left out and reported; the rest comes in."""
    bad = activity(note("<p>x</p>") | members) | {"published": members.get("published", TIME)}
    assert counts(as_outbox(bad, activity(note("<p>y</p>")))) == (["y"], [reason], 0)


# --- X ---

PREFIXES = (
    "window.YTD.tweet.part0 = ", "window.YTD.tweets.part0 = ", "window.YTD.tweets.part12 =",
    "\ufeffwindow.YTD.tweets.part0 = ", "\r\nwindow.YTD.tweets.part0=\r\n",
    "Grailbird.data.tweets_2012_11 = \n ", "var window.YTD.tweets.part0 = ", "",
)  # fmt: skip


@pytest.mark.parametrize("prefix", PREFIXES)
@pytest.mark.parametrize("wrapped", [True, False])
def test_tweets_of_all_generations(prefix: str, wrapped: bool) -> None:
    """What stands before the array, and whether a tweet is in an object of its own, differs."""
    content = as_tweets(tweet("one"), tweet("two"), prefix=prefix, wrapped=wrapped)
    assert opened(content).format == "twitter_js"

    rows = everything(content)[0]

    assert [(row.position, row.body, row.timestamp) for row in rows] == [
        (1, "one", MOMENT),
        (2, "two", MOMENT),
    ]


@pytest.mark.parametrize("end", ["", ";", "\n;\r\n", " "])
def test_what_stands_after_the_array(end: str) -> None:
    """It is JavaScript."""
    assert bodies(as_tweets(tweet("one")) + end.encode()) == ["one"]


@pytest.mark.parametrize(
    "name",
    [
        "direct_messages", "direct_message_headers", "deleted_tweets", "like", "account",
        "note_tweet", "tweet_headers", "community_tweet", "tweetdeck",
    ],
)  # fmt: skip
def test_other_files_of_an_archive(name: str) -> None:
    """Direct messages, deleted tweets and addresses are never taken in."""
    content = as_tweets(tweet("secret"), prefix=f"window.YTD.{name}.part0 = ")
    assert refusal(content) == "unknown_format"


LINK = {
    "url": "https://t.co/AbC123",
    "expanded_url": "https://example.com/?a=1&copy=2",
    "display_url": "example.com/…",
    "indices": ["6", "25"],
}


@pytest.mark.parametrize(
    ("members", "body"),
    [
        ({"full_text": "a &amp; b &lt;3 &amp;lt;"}, "a & b <3 &lt;"),
        ({"full_text": "see https://t.co/AbC123!", "entities": {"urls": [LINK]}},
         "see https://example.com/?a=1&copy=2!"),
        ({"full_text": "see https://t.co/AbC123", "entities": {"media": [LINK]}},
         "see https://example.com/?a=1&copy=2"),
        ({"full_text": "see https://t.co/other", "entities": {"urls": [LINK, 5, {}]}},
         "see https://t.co/other"),
        ({"full_text": "x", "entities": {"urls": {}, "media": None}}, "x"),
        ({"full_text": "x", "entities": []}, "x"),
        ({"full_text": None, "text": "of 2012"}, "of 2012"),
        ({"full_text": "cut\u2026", "truncated": True, "extended_tweet": {"full_text": "whole"}},
         "whole"),
        ({"full_text": "@bob hi", "in_reply_to_screen_name": "bob"}, "@bob hi"),
        ({"full_text": "I said: RT @bob: x"}, "I said: RT @bob: x"),
    ],
)  # fmt: skip
def test_what_a_tweet_says(members: dict[str, Any], body: str) -> None:
    """Entities are resolved, and short links say where they went."""
    assert bodies(as_tweets(tweet("x") | members)) == [body]


@pytest.mark.parametrize(
    "members",
    [
        {"full_text": "RT @bob: what bob said, cut at 140 charact\u2026", "retweeted": False},
        {"full_text": "x", "retweeted_status": {"text": "what bob said"}},
    ],
)
def test_retweets(members: dict[str, Any]) -> None:
    """They are somebody else's words."""
    assert counts(as_tweets(tweet("x") | members, tweet("y"))) == (["y"], [], 1)


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"full_text": None}, "body_missing"),
        ({"full_text": 5}, "body_not_text"),
        ({"full_text": ""}, "body_empty"),
        ({"full_text": "a\0"}, "body_not_storable"),
        ({"created_at": None}, "timestamp_missing"),
        ({"created_at": "Wed Foo 10 20:19:24 +0000 2018"}, "timestamp_invalid"),
    ],
)
def test_a_tweet_that_cannot_be_taken_in(members: dict[str, Any], reason: str) -> None:
    """It is left out and reported; the rest comes in."""
    assert counts(as_tweets(tweet("x") | members, tweet("y"))) == (["y"], [reason], 0)


# --- JSON Feed ---


def test_a_feed() -> None:
    """An item is its title and its text, whichever of the two it has."""
    items: list[dict[str, Any]] = [
        {"id": "1", "content_text": "plain\n<b>"},
        {"id": "2", "content_html": "<p>one</p><p>two</p>", "title": "Title"},
        {"id": 3, "content_html": "<p>html</p>", "content_text": "text"},
    ]
    content = feed(*items)
    assert opened(content).format == "json_feed"
    assert bodies(content) == ["plain\n<b>", "Title\n\none\n\ntwo", "text"]


def test_an_item_that_says_only_when_it_was_changed() -> None:
    """That is the time nearest to its publication."""
    item = {"content_text": "x", "date_published": None, "date_modified": TIME}
    assert [row.timestamp for row in everything(feed(item))[0]] == [MOMENT]


@pytest.mark.parametrize("version", ["1", "1.1"])
@pytest.mark.parametrize("is_first", [True, False])
def test_a_feed_is_told_by_its_version(version: str, is_first: bool) -> None:
    """Members of JSON have no order; what another version means nobody knows."""
    about = {"version": f"https://jsonfeed.org/version/{version}", "title": "Susan"}
    items = {"items": [{"id": "1", "content_text": "x", "date_published": TIME}]}
    content = json.dumps(about | items if is_first else items | about).encode()
    assert bodies(content) == ["x"]
    assert refusal(content.replace(b"/version/", b"/other/")) == "unknown_format"


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"content_text": None}, "body_missing"),
        ({"content_text": ["x"]}, "body_not_text"),
        ({"content_text": ""}, "body_empty"),
        ({"date_published": None}, "timestamp_missing"),
        ({"date_published": "2022-11-05"}, "timestamp_invalid"),
    ],
)
def test_an_item_that_cannot_be_taken_in(members: dict[str, Any], reason: str) -> None:
    """It is left out and reported; the rest comes in."""
    content = feed({"content_text": "x"} | members, {"content_text": "y"})
    assert counts(content) == (["y"], [reason], 0)


# --- Times ---


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2022-11-05T10:00:00Z", MOMENT),
        ("2022-11-05t10:00:00z", MOMENT),
        ("2022-11-05 10:00:00 +0000", MOMENT),  # X, 2012
        ("2022-11-05T10:00Z", MOMENT),
        ("2022-11-05T12:30:00+02:30", MOMENT),
        ("2022-11-05T05:00:00-0500", MOMENT),
        ("2022-11-05T10:00:00.000Z", MOMENT),
        ("2022-11-05T10:00:00.5Z", MOMENT.replace(microsecond=500_000)),
        ("2022-11-05T10:00:00.123456789Z", MOMENT.replace(microsecond=123_456)),
        ("2022-11-05T09:59:60Z", MOMENT),
        ("Sat Nov 05 10:00:00 +0000 2022", MOMENT),  # X, since
        ("Sat Nov 5 11:00:00 +0100 2022", MOMENT),
        ("Sat, 05 Nov 2022 10:00:00 GMT", MOMENT),  # RFC 5322
        ("Sat, 05 Nov 2022 12:00:00 +0200", MOMENT),
        ("0001-01-01T00:00:00Z", datetime(1, 1, 1, tzinfo=UTC)),
        ("9999-12-31T23:59:59.999999Z", datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC)),
    ],
)
def test_notations_of_a_time(text: str, moment: datetime) -> None:
    """Whatever the notation and the zone, it is the same moment in UTC."""
    parsed = parse_any_time(text)
    assert parsed == moment
    assert parsed.tzinfo is UTC or parsed.utcoffset() == timedelta(0)
    assert parse_any_time(moment.astimezone(timezone(timedelta(0))).isoformat()) == moment


@pytest.mark.parametrize(
    "text",
    [
        "", "now", "2022-11-05", "2022-11-05T10:00:00", "2022-13-05T10:00:00Z", "10:00:00Z",
        "2022-11-05T25:00:00Z", "2022-02-30T10:00:00Z", "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00", "9999-12-31T23:59:59-01:00", "9999-12-31T23:59:60Z",
        "2022-11-05T10:00:00+99:99", "Sat, 05 Nov 2022 10:00:00 -0000", "Sat Nov 05 2022",
        "Sat Nov 99 10:00:00 +0000 2022", "٢٠٢٢-١١-٠٥T10:00:00Z", "9" * 100_000, None, 5, 5.0, [],
    ],
)  # fmt: skip
def test_what_is_no_time(text: object) -> None:
    """A time that does not exist, or names no zone, is none."""
    with pytest.raises(ValueError, match="expected a time"):
        parse_any_time(text)

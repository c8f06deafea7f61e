"""Tweets as X's archives have them, of all generations.

They are JavaScript: an array that is assigned to a variable. Since 2018 `window.YTD.tweet.part0 =`
(later `tweets`), with each tweet in an object of its own; from 2012 on there was a file for each
month, `Grailbird.data.tweets_2012_11 =`, without that object.
"""

import html
import re
from datetime import datetime
from typing import Any, Protocol

from chalicelib.imports.reasons import Reason
from worker.importing.json_values import json_object
from worker.importing.reading import Bad, Other, Post, check_body
from worker.importing.times import time_of

# `deleted_tweets`, `direct_messages` and many more begin in the same way and are none.
ASSIGNMENT = re.compile(
    rb"\s*+(?:var\s++)?+(?:window\.YTD\.(?:tweets?|posts?)\.part[0-9]{1,6}"
    rb"|Grailbird\.data\.tweets_[0-9]{4}_[0-9]{2})\s*+=\s*+(?=\[)"
)
"""What stands before the array."""

# An archive says of no tweet that it is a retweet; its text does, cut at 140 characters.
_RETWEET = re.compile(r"RT @[A-Za-z0-9_]{1,20}:")
_SHORT_URL = re.compile(r"https?://t\.co/[A-Za-z0-9]+")


class LongTexts(Protocol):
    """Knows the long posts of an archive; see `worker.importing.long_posts`."""

    def whole(self, begin: str, moment: datetime) -> tuple[str, dict[str, str]] | None:
        """All of a text that begins so, and what its short links stand for."""


def post(text: bytes, long_texts: LongTexts | None = None) -> Post | Other:
    """The post of a tweet.

    Args:
        text: The tweet.
        long_texts: Has the whole text of what is cut in the tweet.

    Raises:
        Bad: It is one's own, and cannot be taken in.
    """
    tweet = json_object(text)
    if isinstance(tweet.get("tweet"), dict):
        tweet = tweet["tweet"]
    body = _text(tweet)
    if "retweeted_status" in tweet or _RETWEET.match(body):
        return Other.SKIPPED
    links = _links(tweet)
    if long_texts is not None:
        whole = long_texts.whole(body, time_of(tweet.get("created_at")))
        body, links = (whole[0], links | whole[1]) if whole else (body, links)
    body = _SHORT_URL.sub(lambda short: links.get(short[0], short[0]), body)
    return check_body(body), time_of(tweet.get("created_at"))


def _text(tweet: dict[str, Any]) -> str:
    """What it says, unescaped; its links are short."""
    extended = tweet.get("extended_tweet")
    whole = [extended] if isinstance(extended, dict) else []
    texts = [source.get(name) for source in [*whole, tweet] for name in ("full_text", "text")]
    found = next((one for one in texts if one is not None), None)
    if found is None:
        raise Bad(Reason.BODY_MISSING)
    if not isinstance(found, str):
        raise Bad(Reason.BODY_NOT_TEXT)
    return html.unescape(found)  # the text is escaped, and the URLs are not


def _links(tweet: dict[str, Any]) -> dict[str, str]:
    extended = tweet.get("extended_tweet")
    whole = [extended] if isinstance(extended, dict) else []
    return dict(found for source in [tweet, *whole] for found in _urls(source))


def _urls(tweet: dict[str, Any]) -> list[tuple[str, str]]:
    """What each short link of a tweet stands for."""
    found: list[tuple[str, str]] = []
    for entities in (tweet.get("entities"), tweet.get("extended_entities")):
        for name in ("urls", "media"):
            listed = entities.get(name) if isinstance(entities, dict) else None
            for one in listed if isinstance(listed, list) else []:
                short, long = (one.get("url"), one.get("expanded_url")) if _is(one) else (0, 0)
                if isinstance(short, str) and isinstance(long, str) and long:
                    found.append((short, long))
    return found


def _is(value: Any) -> bool:
    return isinstance(value, dict)

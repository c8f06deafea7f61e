"""Rules that botocore's models give in words alone, such as "Up to 255 letters and hyphens".

Many services state what they accept only in the documentation of a member. Its usual turns of
phrase are read here; one that is not understood yields no rule, never a wrong one.
"""

import html
import re
from collections.abc import Callable, Iterator
from functools import cache, partial
from typing import NamedTuple

CLASSES = {
    "alphanumeric": "A-Za-z0-9",
    "lowercase letters": "a-z",
    "letters": "A-Za-z",
    "numbers": "0-9",
    "digits": "0-9",
    "underscore": "_",
    "hyphen": r"\-",
    "dash": r"\-",
    "period": ".",
    "colon": ":",
    "at sign": "@",
    "spaces": " ",
}
"""What words for characters mean, as the inside of a bracket expression."""

ONLY = re.compile(
    r"""(?: contains?\ only | can\ only\ contain | name\ can\ contain | made\ up\ of\ only
      | contain\ from\ \d+\ to\ \d+ | must\ be\ \d+\ to\ \d+ | up\ to\ \d+
      | valid\ characters\ are | valid\ characters: | allowed\ characters\ are )
    \ (?P<what>.+?) (?= \.\ | \.$ | ;\ | ,\ and\ must | \ valid\ characters: | \ Do\ not | $ )""",
    re.VERBOSE | re.IGNORECASE,
)
"""Where a member says which characters it may hold."""

LENGTHS = (
    re.compile(r"(?P<least>\d+) and (?P<most>\d+) characters long"),
    re.compile(r"(?:from|be) (?P<least>\d+) to (?P<most>\d+) (?:alphanumeric|letters)"),
    re.compile(r"(?:[Cc]ontain |[Uu]p to |[Mm]aximum length is )(?P<most>\d+)(?! to)\b"),
)
VALUES = (
    re.compile(r"(?:Must be a value|specify(?: a value)?) from (?P<least>\d+) to (?P<most>\d+)"),
    re.compile(r"specify between (?P<least>\d+) and (?P<most>\d+) seconds"),
    re.compile(r"max stop timeout value is (?P<most>\d+) seconds"),
)


class Rule(NamedTuple):
    """What a member may be, and the words that say so."""

    allows: Callable[[str], bool]
    words: str


@cache
def rules(documentation: str) -> tuple[Rule, ...]:
    """The rules that a member's documentation states."""
    text = html.unescape(re.sub(r"<[^>]+>", " ", documentation))
    text = re.sub(r"\s+", " ", text).strip()
    return (*_characters(text), *_lengths(text), *_values(text), *_hyphens(text))


def _characters(text: str) -> Iterator[Rule]:
    for found in ONLY.finditer(text):
        inside = _bracket(found["what"])
        # "Up to 255 characters, including letters" names some of them, unless it says "only".
        if inside and (", including" not in found["what"] or found["what"].endswith("only")):
            yield Rule(partial(_only, re.compile(f"[{inside}]*")), found[0])


def _bracket(words: str) -> str:
    """The characters that a phrase names, as the inside of a bracket expression."""
    spelled = [re.escape(one) for one in re.findall(r"\((\S)\)|\"(\S)\"", words) for one in one]
    ranges = re.findall(r"\b[a-zA-Z0-9]-[a-zA-Z0-9]\b", words)
    named = [chars for word, chars in CLASSES.items() if word in words]
    # EC2 and Secrets Manager write punctuation out at the end, without a space in it.
    marks = re.search(r"(?:\band|following characters:) ([^\sA-Za-z0-9\"]{3,})$", words.strip())
    parts = [*spelled, *ranges, *named, *([re.escape(marks[1])] if marks else [])]
    letters = any(one in {"a-z", "A-Z", "A-Za-z", "A-Za-z0-9"} for one in parts)
    return "".join(parts) if letters else ""


def _lengths(text: str) -> Iterator[Rule]:
    if "character" in text or "letters" in text:
        for pattern in LENGTHS:
            if found := pattern.search(text):
                least, most = int(found.groupdict().get("least") or 0), int(found["most"])
                yield Rule(partial(_has_length, least, most), found[0])
                return


def _values(text: str) -> Iterator[Rule]:
    for pattern in VALUES:
        for found in pattern.finditer(text):
            least, most = int(found.groupdict().get("least") or 0), int(found["most"])
            yield Rule(partial(_between, least, most), found[0])


def _only(pattern: re.Pattern[str], value: str) -> bool:
    return bool(pattern.fullmatch(value))


def _has_length(least: int, most: int, value: str) -> bool:
    return least <= len(value) <= most


def _between(least: int, most: int, value: str) -> bool:
    try:
        return least <= float(value) <= most
    except ValueError:
        return True


def _hyphens(text: str) -> Iterator[Rule]:
    if found := re.search(r"(can't|cannot) end with a hyphen or contain two consecutive", text):
        yield Rule(lambda value: not value.endswith("-") and "--" not in value, found[0])
    if found := re.search(r"([Ff]irst character must be|must begin with) a letter", text):
        yield Rule(lambda value: not value or value[0].isalpha(), found[0])

"""One word for one thing: words that were given up stand in no name and in no sentence."""

import csv
import re
import subprocess

import pytest

from tests.harness.processes import ROOT

GIVEN_UP = {
    r"r[iu]ng(s|ing)?|doorbells?": "enqueue; the queue is a wake-up hint",
    r"wish(es|ed)?": "request",
    r"Holders?|holders?|hand(s|ed)?[ _-]back": "lease, release",
    r"bur(y|ies|ied)|crashed": "recover, worker_lost",
    r"put_off|postpone[sd]?": "retry_later",
    r"carr(y|ies|ied)[ _]out": "execute",
    r"letters? (is|was|that|about|to)|postman": "email, sender",
    r"vaults?": "secrets_manager",
    r"patient\(": "worker_client",
    r"Guess|guesses": "failed login, wrong password",
    r"passing faults?": "transient error",
    r"mail address(es)?": "email address",
    r"sweepers?": "reconciler",
    r"crews?": "worker_pool",
    r"cut-?off": "snapshot",
    r"representations|entrance": "serializers, sign_in",
}
"""What is not said any more, as a pattern of whole words, and what is said instead."""

SELF = "tests/unit/test_words.py"
OTHERS = re.compile(r"requirements|checkov\.txt|/axe/|\.(po|mo|svg|png|lock)$|^LICENSE$")
"""Files that are not in our words."""

SENTENCES = "tests/unit/english.tsv"
"""Sentences in English that were given up, and what problems and the reference say instead."""

NO_WORDS = {
    SENTENCES,
    # It has custom properties and media features in the words of CSS.
    "chalicelib/web/static/app.css",
}


def sentences() -> list[tuple[str, int, str]]:
    """Every line of every file that is in our words: the file, the number, the line."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [name for name in listed.stdout.split() if not OTHERS.search(name)]
    return [
        (name, number, line)
        for name in files
        if name not in NO_WORDS | {SELF} and (ROOT / name).is_file()
        for number, line in enumerate((ROOT / name).read_text("utf-8").splitlines(), 1)
    ]


@pytest.fixture(scope="module", name="lines")
def lines_once() -> list[tuple[str, int, str]]:
    return sentences()


@pytest.mark.parametrize("pattern", GIVEN_UP)
def test_words_that_were_given_up(pattern: str, lines: list[tuple[str, int, str]]) -> None:
    """A name or a sentence says it in the field's own words."""
    word = re.compile(rf"(?<![A-Za-z])(?:{pattern})(?![a-z])")
    found = [
        f"{name}:{number}: {line.strip()}" for name, number, line in lines if word.search(line)
    ]
    assert found == [], f"say instead: {GIVEN_UP[pattern]}"


def joined(text: str) -> str:
    """A text in one line, with the parts of a string put together as Python does."""
    return re.sub(r"\s+", " ", re.sub(r'"\s*\n\s*f?"', "", text)).replace('\\"', '"')


def test_sentences_that_were_given_up() -> None:
    """No sentence in English is as it was before it was corrected; what replaced it is there."""
    files = {name for name, _, _ in sentences() if not name.startswith("tests/")}
    said = [joined((ROOT / name).read_text("utf-8")) for name in files]
    with (ROOT / SENTENCES).open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    assert len(rows) > 130
    for row in rows:
        current, better = joined(row["Given up"]), joined(row["Instead"])
        still = [text for text in said if current in text.replace(better or "\0", "")]
        assert not still, f"say instead: {better}"
        assert any(better in text for text in said), better

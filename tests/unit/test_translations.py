"""The words for people: each language in the tone and the terms that were agreed on."""

import csv
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

from chalicelib.values.languages import CATALOGUES

AGREED = Path(__file__).with_name("translations.tsv")
"""Sentences that people who speak the languages have chosen; ` ⏐ ` parts singular and plural."""

PARTICLE = re.compile(r"(%\(\w+\)[sd]|\d)(을|를|이|가|은|는|과|와|으로|로)(?![가-힣])")
"""Korean particles whose form depends on the sound before them, which nobody knows here."""

RULES: dict[str, list[tuple[str, str]]] = {
    "en": [
        (r"!", "no exclamation marks"),
        (r"(?<!all )\b(at once|for good|lately|by itself)\b", "immediately, permanently, recently"),
        (r"\b(one's|somebody|whom|whose)\b", "you and we"),
        (r"\b(mail|e-mail|mail address)\b", "email, email address"),
        (r"\b(can ?not|is not|are not|does not|do not|has not)\b", "contractions"),
        (r"\b([Ll]og ?(in|out)|canceled|erase|register)\b", "sign in, cancelled, delete, sign up"),
    ],
    "es": [
        (r"!", "no exclamation marks"),
        (r"\b[Uu]sted(es)?\b|\b(Escriba|Elija|Inicie|Abra|Revise|Confirme|Espere)\b", "tú"),
        (r"\b(fichero|entrada del blog|e-mail|clave|resetear|bajar|sólo)\b", "the agreed term"),
        (r"\b[Mm]ensajes?\b", "correo"),
        (r"\b(se )?(ha|han) \w+(ado|ido|to)\b", "the preterite"),
        (r"^[^¿]*\?|^[^¡]*!", "marks in pairs"),
    ],
    "ko": [
        (r"!", "no exclamation marks"),
        (r"(?<!이)메일", "이메일"),
        (r"작업자|아카이브|에러|암호(?!화)|아이디|고객님|귀하|당신|저희|내려받", "the agreed term"),
        (r"(?<!안녕)(하|되|두|보|누르|오)세요|해요|예요|이에요|할게요", "-해 주세요, 합니다체"),
        (PARTICLE.pattern, "a noun between the placeholder and the particle"),
        (r"\d (자|분|일|개|건)(?![가-힣])", "no space before a counter"),
    ],
}
"""What no message may hold, and what it says instead."""


def messages(code: str) -> Iterator[tuple[tuple[str, ...], tuple[str, ...]]]:
    """Every message of the catalogues and what it is in a language: singular, plural."""
    for folder in CATALOGUES:
        po = folder / ("es" if code == "en" else code) / "LC_MESSAGES" / "messages.po"
        with po.open("rb") as file:
            for message in read_po(file):
                given, said = message.id, message.string
                if given:
                    yield _texts(given), _texts(given if code == "en" else said)


def _texts(given: str | list[str] | tuple[str, ...] | None) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given or ())


@pytest.mark.parametrize(("code", "column"), [("es", "Spanish"), ("ko", "Korean")])
def test_what_was_agreed(code: str, column: str) -> None:
    """The catalogues say what was chosen, and every chosen sentence is still one of ours."""
    said = dict(messages(code))
    with AGREED.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    assert len(rows) > 130
    for row in rows:
        assert said[tuple(row["English"].split(" ⏐ "))] == tuple(row[column].split(" ⏐ "))


@pytest.mark.parametrize(
    ("code", "pattern", "instead"),
    [(code, pattern, instead) for code, rules in RULES.items() for pattern, instead in rules],
)
def test_tone_and_terms(code: str, pattern: str, instead: str) -> None:
    """No message leaves the tone of its language or takes another word for a thing."""
    word = re.compile(pattern)
    found = [text for _, texts in messages(code) for text in texts if word.search(text)]
    assert found == [], f"say instead: {instead}"

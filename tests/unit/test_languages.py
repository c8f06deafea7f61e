import io
import sys
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import get_args

import pytest
from babel.messages.catalog import Catalog
from babel.messages.mofile import read_mo, write_mo
from babel.messages.pofile import read_po

from chalicelib.values import fields
from chalicelib.values.languages import CATALOGUES, LANGUAGES, language_for, negotiate
from tests.harness.processes import ROOT, output

TRANSLATED = [code for code in get_args(fields.Language) if code != "en"]


def strings(catalog: Catalog) -> dict[str, object]:
    return {str(message.id): message.string for message in catalog if message.id}


SOURCES = {
    "translations": (["chalicelib", "worker"], ".* _* microblog"),
    "microblog/translations": (["chalicelib/microblog"], ".* _*"),
}
"""Where each catalogue's messages stand, and which folders there are another one's."""

both_catalogues = pytest.mark.parametrize("folder", CATALOGUES, ids=lambda one: one.parent.name)
translated = pytest.mark.parametrize("code", TRANSLATED)


def catalogue(folder: Path, code: str) -> Catalog:
    with (folder / code / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=code)


def source(folder: Path, pot: Path) -> Catalog:
    """Extract a catalogue's messages from the code and the templates, as `make translations`."""
    folders, passed_over = SOURCES[str(folder.relative_to(ROOT / "chalicelib"))]
    command = [sys.executable, "-m", "babel.messages.frontend", "--quiet", "extract"]
    command += ["--mapping", "pyproject.toml", "--keyword", "NN_:1,2", "--output", str(pot)]
    command += ["--ignore-dirs", passed_over, *folders]
    output(*command)
    with pot.open("rb") as file:
        return read_po(file)


@both_catalogues
def test_the_catalogues_fit_the_source(folder: Path, tmp_path: Path) -> None:
    """Every message of the source is in its catalogue, and no other one."""
    messages = strings(source(folder, tmp_path / "messages.pot")).keys()
    for code in TRANSLATED:
        translations = catalogue(folder, code)
        assert strings(translations).keys() == messages
        assert not translations.obsolete


@both_catalogues
@translated
def test_the_catalogue_is_complete(folder: Path, code: str) -> None:
    """No message is untranslated, marked fuzzy, or short of a placeholder."""
    for message in catalogue(folder, code):
        texts = message.string if isinstance(message.string, tuple | list) else [message.string]
        assert all(texts), message.id
        assert not message.fuzzy, message.id
        assert not list(message.check()), message.id


@both_catalogues
@translated
def test_the_compiled_catalogue_is_up_to_date(folder: Path, code: str) -> None:
    """The .mo holds what the .po says."""
    fresh = io.BytesIO()
    write_mo(fresh, catalogue(folder, code))
    fresh.seek(0)

    with (folder / code / "LC_MESSAGES" / "messages.mo").open("rb") as compiled:
        assert strings(read_mo(compiled)) == strings(read_mo(fresh))


def test_the_application_adds_its_words() -> None:
    """A message is looked for in the product's catalogue first, and then in the application's."""
    spanish = language_for("es")
    assert spanish.gettext("Size") == "Tamaño"
    assert spanish.gettext("Exporting your posts") == "Exportando tus publicaciones"
    assert spanish.ngettext("%(number)s post", "%(number)s posts", 2) == "%(number)s publicaciones"


def test_babel_is_not_imported_before_it_is_needed() -> None:
    """A cold start that translates sentences alone does not pay for Babel."""
    program = (
        "import sys; from chalicelib.values.languages import language_for;"
        "assert language_for('es').gettext('Size') == 'Tamaño';"
        "assert 'babel' not in sys.modules"
    )
    output(sys.executable, "-c", program)


@pytest.mark.parametrize(
    ("code", "number", "size", "time"),
    [
        ("en", "1,234,567", "3.4 MB", "January 2, 2026, 15:04:05 UTC"),
        ("es", "1.234.567", "3,4 MB", "2 de enero de 2026, 15:04:05 UTC"),
        ("ko", "1,234,567", "3.4MB", "2026년 1월 2일 15:04:05 UTC"),
    ],
)
def test_numbers_sizes_and_times(code: str, number: str, size: str, time: str) -> None:
    """Each language writes them in its own way."""
    language = language_for(code)

    assert language.number(1_234_567) == number
    assert language.size(3_412_345) == size
    assert language.time(datetime(2026, 1, 2, 15, 4, 5, 999, tzinfo=UTC)) == time


def test_times_are_told_in_utc() -> None:
    """A moment in another zone is the same moment."""
    seoul = datetime(2026, 1, 3, 0, 4, 5, tzinfo=timezone(timedelta(hours=9)))
    assert language_for("en").time(seoul) == "January 2, 2026, 15:04:05 UTC"


@pytest.mark.parametrize(
    ("size_bytes", "text"),
    [
        (0, "0 bytes"),
        (1, "1 byte"),
        (999, "999 bytes"),
        (1000, "1 kB"),
        (999_949, "999.9 kB"),
        (999_950, "1 MB"),  # rounds up into the next unit
        (5_000_000_000, "5 GB"),
        (1_234_000_000_000_000, "1,234 TB"),  # the largest unit
    ],
)
def test_sizes_are_decimal(size_bytes: int, text: str) -> None:
    """A thousand bytes are a kilobyte, and the unit is the largest that leaves a whole number."""
    assert language_for("en").size(size_bytes) == text


@pytest.mark.parametrize("code", ["en", "", "fr", "../es"])
def test_other_languages_are_english(code: str) -> None:
    """A language that nobody translated to is no reason to say nothing."""
    assert language_for(code).code == "en"
    assert language_for(code).gettext("Size") == "Size"
    assert language_for(code).ngettext("post", "posts", 2) == "posts"


def test_every_language_can_be_chosen() -> None:
    """What a user may set is what there is."""
    assert tuple(LANGUAGES) == get_args(fields.Language)


@pytest.mark.parametrize(
    ("header", "code"),
    [
        ("", "en"),
        ("ko", "ko"),
        ("es-MX, es;q=0.9", "es"),
        ("fr-FR, ko;q=0.5, es;q=0.8", "es"),  # the most wanted of ours
        ("es;q=0.5, ko;q=0.5", "es"),  # of two alike the first
        ("ko;q=0, es;q=0.1", "es"),  # 0 is no
        ("*", "en"),
        ("KO-kr", "ko"),
        ("espanol, x;;q=1, ;", "en"),
        ("q=" * 10_000, "en"),
    ],
)
def test_what_the_browser_asks_for(header: str, code: str) -> None:
    """The language is the one that the header asks for most and that we speak."""
    assert negotiate(header) == code


@pytest.mark.parametrize(
    ("code", "percent", "duration", "time"),
    [
        ("en", "45%", "2 minutes", "Jan 2, 2026, 15:04 UTC"),
        ("es", "45\xa0%", "2 minutos", "2 ene 2026, 15:04 UTC"),
        ("ko", "45%", "2분", "2026. 1. 2. 15:04 UTC"),
    ],
)
def test_what_pages_show(code: str, percent: str, duration: str, time: str) -> None:
    """Percentages, rough durations and short times, in each language's own way."""
    language = language_for(code)
    assert language.percent(45) == percent
    assert language.duration(125.4) == duration
    assert language.short_time(datetime(2026, 1, 2, 15, 4, 5, tzinfo=UTC)) == time

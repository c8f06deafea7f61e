"""The languages that Carryout speaks: sentences, numbers, sizes and times.

English is the source. The catalogues under `translations/` are gettext's; Babel, which is slow to
import, is loaded when the first number, size or time is written, not at a cold start.
"""

import gettext
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import get_args

from chalicelib import fields

TRANSLATIONS = Path(__file__).with_name("translations")

_UNITS = ("byte", "kilobyte", "megabyte", "gigabyte", "terabyte")


@dataclass(frozen=True)
class Language:
    """One language.

    Attributes:
        code: `en`, `es` or `ko`, as it stands in `lang="…"`.
    """

    code: str
    _translations: gettext.NullTranslations = field(repr=False)

    def gettext(self, message: str) -> str:
        """Translate a message; placeholders (`%(name)s`) are the caller's to fill."""
        return self._translations.gettext(message)

    def ngettext(self, singular: str, plural: str, number: int) -> str:
        """Translate a message in the form that belongs to a number."""
        return self._translations.ngettext(singular, plural, number)

    def number(self, number: int) -> str:
        """Write a number with its thousands apart: `1,234`."""
        from babel.numbers import format_decimal  # noqa: PLC0415 - see the module's docstring

        return format_decimal(number, locale=self.code)

    def size(self, size_bytes: int) -> str:
        """Write a size in decimal units with at most one decimal place: `3.4 MB`."""
        from babel.units import format_unit  # noqa: PLC0415 - see the module's docstring

        value, step = float(size_bytes), 0
        while round(value, 1) >= 1000 and step < len(_UNITS) - 1:  # noqa: PLR2004 - decimal units
            value, step = value / 1000, step + 1
        return format_unit(
            round(value, 1),
            f"digital-{_UNITS[step]}",
            length="short" if step else "long",  # "512 bytes": the short form is "512 byte"
            format="#,##0.#",
            locale=self.code,
        )

    def time(self, moment: datetime) -> str:
        """Write an aware moment in full, in UTC: `January 2, 2026, 15:04:05 UTC`."""
        from babel import dates  # noqa: PLC0415 - see the module's docstring

        # 24 hours in every language: CLDR's own long form says "PM 3시" in Korean.
        date = str(dates.get_date_format("long", locale=self.code))
        both = str(dates.get_datetime_format("long", locale=self.code))
        pattern = both.replace("{1}", date).replace("{0}", "HH:mm:ss 'UTC'")
        return dates.format_datetime(moment.astimezone(UTC), pattern, locale=self.code)


@cache
def language_for(code: str) -> Language:
    """Find a language by its code; an unknown one is English."""
    if code == "en" or code not in get_args(fields.Language):
        return Language("en", gettext.NullTranslations())
    return Language(code, gettext.translation("messages", TRANSLATIONS, languages=[code]))

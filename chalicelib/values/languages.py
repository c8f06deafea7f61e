"""The languages that Carryout speaks: sentences, numbers, sizes and times.

English is the source. The catalogues are gettext's: those of the product under `translations/`, and
those of the application under `microblog/translations/`. Babel, which is slow to import, is loaded
when the first number, size or time is written, not at a cold start.
"""

import gettext
import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Literal

CATALOGUES = tuple(
    Path(__file__).parents[1] / folder for folder in ("translations", "microblog/translations")
)
"""Where the words of the product are, and those of the application."""

LANGUAGES = {"en": "English", "es": "Español", "ko": "한국어"}
"""Every language by its code, each called by its own name."""

_UNITS = ("byte", "kilobyte", "megabyte", "gigabyte", "terabyte")


def N_(message: str) -> str:  # noqa: N802 - gettext's own name for it
    """Mark a message for the catalogues; it is translated where it is shown."""
    return message


def NN_(singular: str, plural: str) -> tuple[str, str]:  # noqa: N802 - likewise
    """Mark a message that comes in forms that belong to a number."""
    return singular, plural


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

    def number(self, number: float) -> str:
        """Write a number with its thousands apart: `1,234`."""
        from babel.numbers import format_decimal  # noqa: PLC0415 - see the module's docstring

        return format_decimal(number, locale=self.code)

    def percent(self, percent: int) -> str:
        """Write a percentage: `45%`."""
        from babel.numbers import format_percent  # noqa: PLC0415 - see the module's docstring

        return format_percent(percent / 100, locale=self.code)

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

    def duration(self, duration_s: float) -> str:
        """Write a duration, roughly, in its largest fitting unit: `45 seconds`, `2 minutes`."""
        from babel.dates import format_timedelta  # noqa: PLC0415 - see the module's docstring

        duration = timedelta(seconds=round(duration_s))
        return format_timedelta(duration, threshold=1.5, locale=self.code)

    def time(self, moment: datetime) -> str:
        """Write an aware moment in full, in UTC: `January 2, 2026, 15:04:05 UTC`."""
        return self._moment(moment, "long", "HH:mm:ss 'UTC'")

    def short_time(self, moment: datetime) -> str:
        """Write an aware moment to the minute, in UTC: `Jan 2, 2026, 15:04 UTC`."""
        return self._moment(moment, "medium", "HH:mm 'UTC'")

    def local_time(self, moment: datetime) -> str:
        """Write an aware moment to the minute, by its own zone's clock: `Jan 2, 2026, 16:04`."""
        return self._write(moment, "medium", "HH:mm")

    def weekday(self, number: int) -> str:
        """What a day of the week is called; 0 is Monday."""
        from babel.dates import get_day_names  # noqa: PLC0415 - see the module's docstring

        return str(get_day_names(locale=self.code)[number])

    def _moment(self, moment: datetime, form: Literal["medium", "long"], clock: str) -> str:
        return self._write(moment.astimezone(UTC), form, clock)

    def _write(self, moment: datetime, form: Literal["medium", "long"], clock: str) -> str:
        from babel import dates  # noqa: PLC0415 - see the module's docstring

        # 24 hours in every language: CLDR's own long form says "PM 3시" in Korean.
        date = str(dates.get_date_format(form, locale=self.code))
        both = str(dates.get_datetime_format(form, locale=self.code))
        pattern = both.replace("{1}", date).replace("{0}", clock)
        return dates.format_datetime(moment, pattern, moment.tzinfo, locale=self.code)

    def reason(self, code: str | None) -> str:
        """Say why a task failed, as a sentence.

        Args:
            code: The task's error code; an unknown one is our fault.
        """
        reasons = {
            "timeout": self.gettext("It took too long and was stopped."),
            "worker_lost": self.gettext("It was interrupted too many times."),
            "storage_unavailable": self.gettext("We couldn't reach our file storage."),
            "database_unavailable": self.gettext("We couldn't reach our database."),
            "service_unavailable": self.gettext("We couldn't reach a service it depends on."),
            "task_failed": self.gettext("The task couldn't be completed."),
            "internal_error": self.gettext("An unexpected error occurred on our side."),
        }
        return reasons.get(code or "", self.gettext("Something went wrong on our side."))


@cache
def language_for(code: str) -> Language:
    """Find a language by its code; an unknown one is English."""
    if code == "en" or code not in LANGUAGES:
        return Language("en", gettext.NullTranslations())
    product, application = (
        gettext.translation("messages", folder, languages=[code]) for folder in CATALOGUES
    )
    product.add_fallback(application)
    return Language(code, product)


def negotiate(header: str) -> str:
    """Choose a language by an `Accept-Language` header (RFC 9110, section 12.5.4).

    Returns:
        The code of the most wanted language that we speak, else `en`.
    """
    wanted: list[tuple[float, str]] = []
    for part in header.split(","):
        found = re.fullmatch(
            r"\s*([A-Za-z]{2,3})(?:-[\w-]*)?\s*(?:;\s*q=([01](?:\.\d*)?)\s*)?", part
        )
        if found and float(found[2] or 1) > 0:
            wanted.append((-float(found[2] or 1), found[1].lower()))
    # The sort is stable: of two that are wanted alike the first one counts.
    ours = (code for _, code in sorted(wanted, key=lambda one: one[0]) if code in LANGUAGES)
    return next(ours, "en")

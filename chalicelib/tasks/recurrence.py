"""Recurrence rules (RFC 5545, section 3.3.10) in a time zone, in bounded work.

A rule is evaluated on the wall clock of its zone, and each local time becomes a moment: one that
does not exist, because the clocks go forward, is the next one that does; one that exists twice is
the first of the two. What the rule leaves open comes from the moment when it was made, but for
minutes beside `BYHOUR` and for seconds, which are zero.

Not by `dateutil.rrule`, with which the tests compare: nobody can stop its search for a time that
never comes (`FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30` goes on to the year 9999), and each look at a
rule begins at its first time. Here a search begins where it is asked to, and ends after `HORIZON`.
"""

import re
from calendar import isleap, monthrange
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice, product
from math import gcd
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

HORIZON = timedelta(days=50 * 366)
"""How far ahead a rule is searched. The longest wait of a common one is 40 years: for a 29 February
on a certain day of the week, across a year 2100 without one."""

MOST_COUNT = 10_000
"""The largest `COUNT`: each look at such a rule counts from its first time."""

MOST_PER_HOUR = 4
"""How many times an hour a rule may name."""

MOST_CHARACTERS = 500

WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
FREQUENCIES = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY")
DAY = timedelta(days=1)


class RuleError(ValueError):
    """A rule or a zone is not valid; the message follows the name of what is wrong."""


class Rule(NamedTuple):
    """A rule, taken apart; what is empty says nothing.

    Attributes:
        times: How often it runs at most: `COUNT`.
        by_day: Pairs of an ordinal, 0 for every one, and a weekday, 0 for Monday.
        until: The last moment, as it was written: local unless it ends in `Z`.
        week_start: The first day of a week, 0 for Monday.
    """

    frequency: str
    interval: int = 1
    times: int | None = None
    until: str | None = None
    by_month: frozenset[int] = frozenset()
    by_week: frozenset[int] = frozenset()
    by_year_day: frozenset[int] = frozenset()
    by_month_day: frozenset[int] = frozenset()
    by_day: frozenset[tuple[int, int]] = frozenset()
    by_hour: frozenset[int] = frozenset()
    by_minute: frozenset[int] = frozenset()
    by_second: frozenset[int] = frozenset()
    by_position: frozenset[int] = frozenset()
    week_start: int = 0

    @property
    def names_days(self) -> bool:
        """Whether it says on which days it runs, besides the months."""
        return bool(self.by_week or self.by_year_day or self.by_month_day or self.by_day)

    @property
    def per_month(self) -> bool:
        """Whether the second Monday is one of a month, and not of a year."""
        return self.frequency == "MONTHLY" or bool(self.by_month)


# --- Reading a rule ---

_LISTS: Mapping[str, tuple[str, int, int, bool]] = {
    "BYMONTH": ("by_month", 1, 12, False),
    "BYWEEKNO": ("by_week", 1, 53, True),
    "BYYEARDAY": ("by_year_day", 1, 366, True),
    "BYMONTHDAY": ("by_month_day", 1, 31, True),
    "BYHOUR": ("by_hour", 0, 23, False),
    "BYMINUTE": ("by_minute", 0, 59, False),
    "BYSECOND": ("by_second", 0, 59, False),
    "BYSETPOS": ("by_position", 1, 366, True),
}
"""The lists of numbers: the attribute, the smallest and largest, and whether -1 is the last."""

_UNTIL = re.compile(r"\d{8}(?:T\d{6}Z?)?", re.ASCII)
_BY_DAY = re.compile(r"([+-]?\d{1,2})?(MO|TU|WE|TH|FR|SA|SU)", re.ASCII)


def parse(text: str) -> Rule:
    """Read a rule, such as `FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3`.

    Raises:
        RuleError: It is none, RFC 5545 forbids it, or it runs too often.
    """
    if len(text) > MOST_CHARACTERS:
        raise RuleError(f"must be at most {MOST_CHARACTERS} characters long")
    parts: dict[str, str] = {}
    for part in text.upper().split(";"):
        name, equals, value = part.partition("=")
        if not equals or not value:
            raise RuleError("must be a rule of RFC 5545, such as FREQ=MONTHLY;BYMONTHDAY=1")
        if name in parts:
            raise RuleError(f"must not have {name} twice")
        parts[name] = value
    rule = _read(parts)
    _refuse(rule)
    return rule


def _read(parts: dict[str, str]) -> Rule:
    rule = Rule(frequency=_frequency(parts.pop("FREQ", "")))
    for name, value in parts.items():
        if name in _LISTS:
            attribute, least, most, signed = _LISTS[name]
            numbers = (_number(name, one, least, most, signed) for one in value.split(","))
            given: dict[str, Any] = {attribute: frozenset(numbers)}
            rule = rule._replace(**given)
        elif name == "INTERVAL":
            rule = rule._replace(interval=_number(name, value, 1, 10_000))
        elif name == "COUNT":
            rule = rule._replace(times=_number(name, value, 1, MOST_COUNT))
        elif name == "UNTIL":
            rule = rule._replace(until=_until(value))
        elif name == "BYDAY":
            rule = rule._replace(by_day=frozenset(map(_weekday, value.split(","))))
        elif name == "WKST" and value in WEEKDAYS:
            rule = rule._replace(week_start=WEEKDAYS.index(value))
        else:
            raise RuleError(f"must not have {name[:20]}={value[:20]}")
    return rule


def _frequency(value: str) -> str:
    if value not in FREQUENCIES:
        raise RuleError("must have FREQ=HOURLY, DAILY, WEEKLY, MONTHLY or YEARLY")
    return value


def _number(name: str, text: str, least: int, most: int, signed: bool = False) -> int:
    sign = "[+-]?" if signed else ""
    number = int(text) if re.fullmatch(sign + r"\d{1,6}", text, re.ASCII) else -most - 1
    if not least <= abs(number) <= most:
        raise RuleError(f"must have numbers from {least} to {most} in {name}")
    return number


def _until(value: str) -> str:
    if _UNTIL.fullmatch(value):
        try:
            datetime.fromisoformat(value)
        except ValueError:
            pass
        else:
            return value
    raise RuleError("must have a time such as 20271231T235959Z in UNTIL")


def _weekday(text: str) -> tuple[int, int]:
    found = _BY_DAY.fullmatch(text)
    ordinal = int(found[1] or 0) if found else 0
    if found is None or abs(ordinal) > 53 or (found[1] and not ordinal):  # noqa: PLR2004 - weeks
        raise RuleError("must have days such as MO or -1FR in BYDAY")
    return ordinal, WEEKDAYS.index(found[2])


def _refuse(rule: Rule) -> None:
    """Refuse what RFC 5545 says must not be combined, and what runs too often."""
    frequency, ordinals = rule.frequency, any(ordinal for ordinal, _ in rule.by_day)
    complaints: Iterable[tuple[bool, str]] = (
        (rule.times is not None and rule.until is not None, "must not have COUNT and UNTIL"),
        (bool(rule.by_week) and frequency != "YEARLY", "must not have BYWEEKNO unless YEARLY"),
        (
            bool(rule.by_year_day) and frequency in {"DAILY", "WEEKLY", "MONTHLY"},
            "must not have BYYEARDAY unless YEARLY or HOURLY",
        ),
        (
            bool(rule.by_month_day) and frequency == "WEEKLY",
            "must not have BYMONTHDAY if WEEKLY",
        ),
        (
            ordinals and (frequency not in {"MONTHLY", "YEARLY"} or bool(rule.by_week)),
            "must not number the days of BYDAY unless MONTHLY or YEARLY without BYWEEKNO",
        ),
        (
            bool(rule.by_position)
            and not (rule.names_days or rule.by_month or rule.by_hour or rule.by_minute),
            "must have another BY part beside BYSETPOS",
        ),
        (
            max(1, len(rule.by_minute)) * max(1, len(rule.by_second)) > MOST_PER_HOUR,
            f"must not run more than {MOST_PER_HOUR} times an hour",
        ),
    )
    for refused, complaint in complaints:
        if refused:
            raise RuleError(complaint)


def find_zone(name: str) -> ZoneInfo:
    """A time zone by its name in the IANA database, such as `Europe/Madrid`.

    Raises:
        RuleError: There is none.
    """
    # Files that stand beside the zones have other names, or are no zones.
    if re.fullmatch(r"[A-Z][A-Za-z0-9_+-]*(?:/[A-Za-z0-9_+-]+)*", name):
        try:
            return ZoneInfo(name)
        except (OSError, ValueError, KeyError):  # a folder, another file, nothing
            pass
    raise RuleError("must be a time zone such as Europe/Madrid")


# --- Evaluating it ---


@dataclass(frozen=True)
class Recurrence:
    """A rule in a zone, since it was made.

    Attributes:
        rule: The rule.
        zone: The zone whose clock it goes by.
        anchor: When it was made; it never runs before, nor at that very moment.
    """

    rule: Rule
    zone: ZoneInfo
    anchor: datetime

    def after(self, moment: datetime, *, most: int) -> list[datetime]:
        """The next times that are later than a moment, in UTC.

        Args:
            moment: An aware time.
            most: How many.

        Returns:
            So many; fewer when the rule ends before, or within `HORIZON`.
        """
        moment = max(moment, self.anchor)
        since = self.anchor if self.rule.times else moment
        runs = islice(self._moments(since), self.rule.times)
        return list(islice((one for one in runs if one > moment), most))

    def _moments(self, since: datetime) -> Iterator[datetime]:
        """Every time after a moment, each once, in UTC."""
        search = _Search(self._completed(), self._local(self.anchor), self._local(since))
        last, end = since, self._end()
        for local in search.times():
            moment = to_moment(local, self.zone)
            if moment > end:
                return
            # Times that do not exist may be the same moment as one that does.
            if moment > last:
                yield moment
                last = moment

    def _local(self, moment: datetime) -> datetime:
        return moment.astimezone(self.zone).replace(tzinfo=None, microsecond=0)

    def _end(self) -> datetime:
        text = self.rule.until
        if text is None:
            return datetime.max.replace(tzinfo=UTC)
        until = datetime.fromisoformat(text)
        if until.tzinfo is not None:
            return until
        whole_day = "T" not in text
        return to_moment(datetime.combine(until, time.max) if whole_day else until, self.zone)

    def _completed(self) -> Rule:
        """The rule with what it leaves open, as RFC 5545 takes it from the first time."""
        rule, made = self.rule, self._local(self.anchor)
        if not rule.names_days:
            if rule.frequency == "YEARLY" and not rule.by_month:
                rule = rule._replace(by_month=frozenset({made.month}))
            if rule.frequency in {"YEARLY", "MONTHLY"}:
                rule = rule._replace(by_month_day=frozenset({made.day}))
            if rule.frequency == "WEEKLY":
                rule = rule._replace(by_day=frozenset({(0, made.weekday())}))
        minute = 0 if rule.by_hour else made.minute
        if not rule.by_hour and rule.frequency != "HOURLY":
            rule = rule._replace(by_hour=frozenset({made.hour}))
        return rule._replace(
            by_minute=rule.by_minute or frozenset({minute}),
            by_second=rule.by_second or frozenset({0}),
        )


def to_moment(local: datetime, zone: ZoneInfo) -> datetime:
    """The moment of a local time: the first of two, or the next that exists, in UTC."""
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) == local:
        return moment
    # Read with the offset from after the gap, it is before the gap: the clocks change in between.
    before, after = int(local.replace(tzinfo=zone, fold=1).timestamp()), int(moment.timestamp())
    offset = moment.astimezone(zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return datetime.fromtimestamp(after, UTC)


class _Unit(NamedTuple):
    """The period of a frequency, numbered so that the next one's number is one larger."""

    number: Callable[[datetime, int], int]
    days: Callable[[int, int], list[date]]


def _week(moment: datetime, week_start: int) -> int:
    # The ordinal 1 is a Monday.
    return (moment.toordinal() - 1 - week_start) // 7


def _days(first: date, count: int) -> list[date]:
    return [first + n * DAY for n in range(count)]


_UNITS = {
    "YEARLY": _Unit(
        lambda moment, _: moment.year,
        lambda year, _: _days(date(year, 1, 1), 365 + isleap(year)),
    ),
    "MONTHLY": _Unit(
        lambda moment, _: moment.year * 12 + moment.month - 1,
        lambda n, _: _days(date(n // 12, n % 12 + 1, 1), monthrange(n // 12, n % 12 + 1)[1]),
    ),
    "WEEKLY": _Unit(_week, lambda n, start: _days(date.fromordinal(n * 7 + 1 + start), 7)),
    "DAILY": _Unit(
        lambda moment, _: moment.toordinal(), lambda n, _: _days(date.fromordinal(n), 1)
    ),
    "HOURLY": _Unit(
        lambda moment, _: moment.toordinal() * 24 + moment.hour,
        lambda n, _: _days(date.fromordinal(n // 24), 1),
    ),
}


class _Search:
    """A search for local times, from the period of `since` on.

    Args:
        rule: A rule that leaves nothing open.
        made: When it was made: intervals count from there.
        since: Where the search begins.
    """

    def __init__(self, rule: Rule, made: datetime, since: datetime) -> None:
        self.rule = rule
        self.made = made
        self.since = since

    def times(self) -> Iterator[datetime]:
        """Local times in their order; some of the first may be earlier than `since`."""
        rule = self.rule
        for number, days in self._periods():
            hours = {number % 24} if rule.frequency == "HOURLY" else rule.by_hour
            if rule.frequency == "HOURLY" and rule.by_hour:
                hours &= rule.by_hour
            clock = [
                time(*one)
                for one in product(sorted(hours), sorted(rule.by_minute), sorted(rule.by_second))
            ]
            found = [datetime.combine(day, one) for day in days for one in clock]
            yield from self._chosen(found)

    def _chosen(self, found: list[datetime]) -> list[datetime]:
        if not self.rule.by_position:
            return found
        places = {one - 1 if one > 0 else len(found) + one for one in self.rule.by_position}
        return [found[place] for place in sorted(places) if 0 <= place < len(found)]

    def _periods(self) -> Iterator[tuple[int, list[date]]]:
        """Numbers of periods, each with the days in it on which the rule runs."""
        rule, unit = self.rule, _UNITS[self.rule.frequency]
        first = unit.number(self.made, rule.week_start)
        # A day before: a time that does not exist is later than its own clock says.
        here = unit.number(max(self.made, self.since - DAY), rule.week_start)
        number = first + (here - first) // rule.interval * rule.interval
        last = unit.number(self.since + HORIZON, rule.week_start)
        if rule.frequency == "HOURLY" and not self._reaches_an_hour(number % 24):
            return
        while number <= last:
            days = unit.days(number, rule.week_start)
            matching = [day for day in days if self._matches(day)]
            if matching:
                yield number, matching
            elif rule.frequency == "HOURLY":
                # No hour of this day will do.
                number += (23 - number % 24) // rule.interval * rule.interval
            number += rule.interval

    def _reaches_an_hour(self, hour: int) -> bool:
        """Whether steps of the interval ever come upon an hour that the rule names."""
        step = gcd(self.rule.interval, 24)
        return not self.rule.by_hour or any((one - hour) % step == 0 for one in self.rule.by_hour)

    def _matches(self, day: date) -> bool:
        rule = self.rule
        return (
            (not rule.by_month or day.month in rule.by_month)
            and (not rule.by_month_day or self._is_month_day(day))
            and (not rule.by_day or self._is_day(day))
            and (not rule.by_year_day or self._is_year_day(day))
            and (not rule.by_week or self._is_in_week(day))
        )

    def _is_month_day(self, day: date) -> bool:
        from_end = day.day - monthrange(day.year, day.month)[1] - 1
        return day.day in self.rule.by_month_day or from_end in self.rule.by_month_day

    def _is_year_day(self, day: date) -> bool:
        number, length = _year_day(day), 365 + isleap(day.year)
        return bool({number, number - length - 1} & self.rule.by_year_day)

    def _is_day(self, day: date) -> bool:
        weekday = day.weekday()
        if (0, weekday) in self.rule.by_day:
            return True
        if self.rule.per_month:
            number, length = day.day, monthrange(day.year, day.month)[1]
        else:
            number, length = _year_day(day), 365 + isleap(day.year)
        ordinals = {(number - 1) // 7 + 1, -((length - number) // 7 + 1)}
        return any((ordinal, weekday) in self.rule.by_day for ordinal in ordinals)

    def _is_in_week(self, day: date) -> bool:
        """Whether its week's number is named: a week belongs to the year of its fourth day."""
        fourth = day + (3 - (day.weekday() - self.rule.week_start) % 7) * DAY
        number, length = (_year_day(fourth) - 1) // 7, 365 + isleap(fourth.year)
        weeks = (length - 1 - (_year_day(fourth) - 1) % 7) // 7 + 1
        return bool({number + 1, number - weeks} & self.rule.by_week)


def _year_day(day: date) -> int:
    return day.toordinal() - date(day.year, 1, 1).toordinal() + 1

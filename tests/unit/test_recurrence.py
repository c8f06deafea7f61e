"""Recurrence rules: as dateutil has them, as a clock shows them, and in bounded work."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from chalicelib.tasks.recurrence import (
    HORIZON,
    WEEKDAYS,
    Recurrence,
    RuleError,
    find_zone,
    parse,
    to_moment,
)

ANCHOR = datetime(2026, 11, 26, 8, 20, 30, 500_000, tzinfo=UTC)


def runs(
    rule: str, zone: str = "UTC", *, anchor: datetime = ANCHOR, after: str = "", most: int = 5
) -> list[str]:
    """The next times, by the zone's clock, each with its offset."""
    moment = datetime.fromisoformat(after) if after else anchor
    found = Recurrence(parse(rule), find_zone(zone), anchor).after(moment, most=most)
    return [one.astimezone(ZoneInfo(zone)).isoformat(timespec="minutes") for one in found]


# --- Against dateutil ---

RULES = [
    "FREQ=HOURLY;BYMINUTE=0",
    "FREQ=HOURLY;INTERVAL=5;BYMINUTE=15",
    "FREQ=HOURLY;BYHOUR=1,2,3;BYMINUTE=30",
    "FREQ=HOURLY;BYDAY=MO,WE;BYHOUR=9,17;BYMINUTE=0,30",
    "FREQ=HOURLY;INTERVAL=7;BYMONTHDAY=1,-1;BYMINUTE=0",
    "FREQ=HOURLY;BYYEARDAY=1,100,-1;BYHOUR=12;BYMINUTE=0",
    "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
    "FREQ=DAILY;INTERVAL=3;BYHOUR=0;BYMINUTE=0",
    "FREQ=DAILY;BYMONTH=1,7;BYHOUR=3;BYMINUTE=0",
    "FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR;BYHOUR=13;BYMINUTE=13",
    "FREQ=DAILY;BYHOUR=9,12,15;BYMINUTE=0,20,40;BYSETPOS=1,-1",
    "FREQ=DAILY;BYDAY=SA,SU;BYHOUR=1,2;BYMINUTE=45",
    "FREQ=WEEKLY;BYDAY=MO;BYHOUR=3;BYMINUTE=0",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU,TU;BYHOUR=2;BYMINUTE=15",
    "FREQ=WEEKLY;INTERVAL=2;WKST=SU;BYDAY=SU,TU;BYHOUR=2;BYMINUTE=15",
    "FREQ=WEEKLY;BYMONTH=2;BYDAY=WE;BYHOUR=6;BYMINUTE=0",
    "FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3;BYMINUTE=0",
    "FREQ=MONTHLY;BYMONTHDAY=31;BYHOUR=3;BYMINUTE=0",
    "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=23;BYMINUTE=59",
    "FREQ=MONTHLY;BYMONTHDAY=29,30;BYHOUR=2;BYMINUTE=30",
    "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=15;BYHOUR=3;BYMINUTE=0",
    "FREQ=MONTHLY;BYDAY=2TU;BYHOUR=10;BYMINUTE=0",
    "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18;BYMINUTE=0",
    "FREQ=MONTHLY;BYDAY=1SU,-1SU;BYHOUR=2;BYMINUTE=30",
    "FREQ=MONTHLY;BYDAY=5MO;BYHOUR=2;BYMINUTE=30",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYHOUR=17;BYMINUTE=0",
    "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=1,3,-2;BYHOUR=8,9;BYMINUTE=0",
    "FREQ=MONTHLY;BYMONTHDAY=8,9,10,11,12,13,14;BYDAY=TH;BYHOUR=0;BYMINUTE=5",
    "FREQ=MONTHLY;BYMONTH=3,10;BYDAY=-1SU;BYHOUR=2;BYMINUTE=30",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=12;BYMINUTE=0",
    "FREQ=YEARLY;INTERVAL=4;BYMONTH=12;BYMONTHDAY=31;BYHOUR=23;BYMINUTE=0",
    "FREQ=YEARLY;BYYEARDAY=1,60,-1,366;BYHOUR=0;BYMINUTE=30",
    "FREQ=YEARLY;BYWEEKNO=1,26;BYDAY=MO,TU;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;BYWEEKNO=-1;BYDAY=FR;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;WKST=SU;BYWEEKNO=1,-1;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;BYDAY=20MO;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;BYDAY=-1TH;BYMONTH=11;BYHOUR=4;BYMINUTE=0",
    "FREQ=YEARLY;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8;INTERVAL=4;BYHOUR=8;BYMINUTE=0",
    "FREQ=YEARLY;BYMONTHDAY=31;BYHOUR=1;BYMINUTE=59",
    "FREQ=YEARLY;BYDAY=SU;BYSETPOS=10,-10;BYHOUR=2;BYMINUTE=0",
    "FREQ=YEARLY;BYMONTH=1,6;BYHOUR=3;BYMINUTE=0",
    "FREQ=DAILY;COUNT=7;BYHOUR=2;BYMINUTE=30",
    "FREQ=DAILY;UNTIL=20261215T020000Z;BYHOUR=2;BYMINUTE=30",
]
ZONES = [
    "UTC",
    "Europe/Madrid",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Seoul",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Apia",
    "Africa/Casablanca",
    "America/St_Johns",
]


def by_dateutil(rule: str, zone: ZoneInfo, anchor: datetime) -> Iterator[datetime]:
    """The same by dateutil's rules on the wall clock, and a walk through the clock's gaps."""
    made = anchor.astimezone(zone).replace(tzinfo=None, microsecond=0)
    text = ";".join(part for part in rule.split(";") if not part.startswith(("COUNT", "UNTIL")))
    seen = anchor
    for local in rrulestr(text, dtstart=made.replace(second=0)):
        moment = walk(local, zone)
        if moment > seen:
            seen = moment
            yield moment


def walk(local: datetime, zone: ZoneInfo) -> datetime:
    """Go on minute by minute until the time is one that exists; then take the first of its name."""
    while True:
        for fold in (0, 1):
            moment = local.replace(tzinfo=zone, fold=fold).astimezone(UTC)
            if moment.astimezone(zone).replace(tzinfo=None) == local:
                return moment
        local += timedelta(minutes=1)


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("rule", RULES)
def test_as_dateutil(rule: str, zone: str) -> None:
    """Each rule runs in each zone when dateutil says, from any moment on."""
    anchor = datetime(2026, 2, 25, 11, 0, tzinfo=UTC)
    clock = ZoneInfo(zone)
    expected = list(islice(by_dateutil(rule, clock, anchor), 60 if "HOURLY" in rule else 25))
    recurrence = Recurrence(parse(rule), clock, anchor)
    if recurrence.rule.times is not None:
        expected = expected[: recurrence.rule.times]
    if recurrence.rule.until is not None:
        expected = [one for one in expected if one <= datetime(2026, 12, 15, 2, tzinfo=UTC)]
    within = [one for one in expected if one < anchor + HORIZON]
    assert recurrence.after(anchor, most=len(within)) == within
    for index in range(0, len(within) - 6, 13):
        for moment in (within[index], within[index + 1] - timedelta(microseconds=1)):
            assert recurrence.after(moment, most=5) == within[index + 1 : index + 6]


@pytest.mark.parametrize("week", [1, 2, 26, 52, 53])
def test_weeks_as_the_calendar_numbers_them(week: int) -> None:
    """A week's number is ISO 8601's, also where it belongs to another year than its days.

    dateutil takes Sunday, 2 January 2039, for one of a week 53, which 2038 does not have.
    """
    day, expected = ANCHOR.date() + timedelta(days=1), list[str]()
    while len(expected) < 30 and day < (ANCHOR + HORIZON).date():
        expected += [day.isoformat()] * (day.isocalendar().week == week)
        day += timedelta(days=1)
    found = runs(f"FREQ=YEARLY;BYWEEKNO={week};BYHOUR=0", most=len(expected))
    assert [one[:10] for one in found] == expected


# --- Against a clock that is read every quarter of an hour ---

QUARTERS = (0, 15, 30, 45)

SMALL = st.fixed_dictionaries(
    {"FREQ": st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY", "HOURLY"])},
    optional={
        "BYHOUR": st.lists(st.integers(0, 23), min_size=1, max_size=3),
        "BYMINUTE": st.lists(st.sampled_from(QUARTERS), min_size=1, max_size=2),
        "BYMONTH": st.lists(st.integers(1, 12), min_size=1, max_size=6),
        "BYDAY": st.lists(st.sampled_from(WEEKDAYS), min_size=1, max_size=4),
        "BYMONTHDAY": st.lists(
            st.integers(-31, 31).filter(lambda one: one != 0), min_size=1, max_size=9
        ),
    },
)


def spelled(parts: dict[str, object]) -> str:
    values = (
        (name, ",".join(map(str, value)) if isinstance(value, list) else value)
        for name, value in parts.items()
    )
    return ";".join(f"{name}={value}" for name, value in values)


def quarters(parts: dict[str, object], zone: ZoneInfo, first: datetime) -> Iterator[datetime]:
    """Read the zone's clock every quarter of an hour, and see whether the rule names what it shows.

    A time that the clock skipped counts when the clock has just skipped it.
    """
    made = first.astimezone(zone).replace(tzinfo=None)
    moment, before = first.replace(second=0, microsecond=0), made.replace(second=0)
    while True:
        moment += timedelta(minutes=15)
        local = moment.astimezone(zone).replace(tzinfo=None)
        if local <= before:  # shown a second time
            continue
        skipped = int((local - before).total_seconds() // 900)
        if any(
            _named(parts, before + timedelta(minutes=15 * n + 15), made) for n in range(skipped)
        ):
            yield moment
        before = local


def _named(parts: dict[str, object], local: datetime, made: datetime) -> bool:
    """Whether a rule names a time, by RFC 5545's table for rules without numbered days."""
    frequency, names = parts["FREQ"], dict(parts)
    if not {"BYDAY", "BYMONTHDAY"} & names.keys():
        if frequency == "YEARLY" and "BYMONTH" not in names:
            names["BYMONTH"] = [made.month]
        if frequency in {"YEARLY", "MONTHLY"}:
            names["BYMONTHDAY"] = [made.day]
        if frequency == "WEEKLY":
            names["BYDAY"] = [WEEKDAYS[made.weekday()]]
    names.setdefault("BYMINUTE", [0 if "BYHOUR" in parts else made.minute])
    if frequency != "HOURLY":
        names.setdefault("BYHOUR", [made.hour])
    from_end = (local.replace(day=1) + timedelta(days=32)).replace(day=1) - local.replace(
        hour=0, minute=0
    )
    shows: dict[str, set[object]] = {
        "BYMINUTE": {local.minute},
        "BYHOUR": {local.hour},
        "BYMONTH": {local.month},
        "BYDAY": {WEEKDAYS[local.weekday()]},
        "BYMONTHDAY": {local.day, -((from_end + timedelta(hours=local.hour)).days)},
    }
    return all(
        shows[name] & set(value)  # type: ignore[call-overload]
        for name, value in names.items()
        if name in shows
    )


@settings(max_examples=60)
@given(
    parts=SMALL.filter(lambda one: not (one["FREQ"] == "WEEKLY" and "BYMONTHDAY" in one)),
    zone=st.sampled_from(["Europe/Madrid", "Australia/Lord_Howe", "America/St_Johns", "UTC"]),
    day=st.sampled_from(["2026-03-26", "2026-10-23", "2026-03-06", "2026-10-30", "2026-04-03"]),
)
def test_as_the_clock_shows(parts: dict[str, object], zone: str, day: str) -> None:
    """For five days about a change of the clocks, it runs when the clock shows a named time."""
    clock, first = ZoneInfo(zone), datetime.fromisoformat(day).replace(hour=7, tzinfo=UTC)
    end = first + timedelta(days=5)
    expected = []
    for moment in quarters(parts, clock, first):
        if moment > end:
            break
        expected.append(moment)
        if len(expected) == 40:
            break
    stop = expected[-1] if len(expected) == 40 else end
    found = Recurrence(parse(spelled(parts)), clock, first).after(first, most=len(expected) + 1)
    assert [one for one in found if one <= stop] == expected


# --- What the clocks do ---


@pytest.mark.parametrize(
    ("rule", "zone", "after", "expected"),
    [
        # Forward: half past two does not exist, three does.
        (
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
            "Europe/Madrid",
            "2027-03-27T00:00:00Z",
            ["2027-03-27T02:30+01:00", "2027-03-28T03:00+02:00", "2027-03-29T02:30+02:00"],
        ),
        # Back: it exists twice, and the first one counts.
        (
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
            "Europe/Madrid",
            "2027-10-30T00:00:00Z",
            ["2027-10-30T02:30+02:00", "2027-10-31T02:30+02:00", "2027-11-01T02:30+01:00"],
        ),
        # Asked between the two, the second is none.
        (
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=30",
            "Europe/Madrid",
            "2027-10-31T00:45:00Z",
            ["2027-11-01T02:30+01:00"],
        ),
        # Three times that are the same moment run once.
        (
            "FREQ=DAILY;BYHOUR=2,3;BYMINUTE=0,30",
            "Europe/Madrid",
            "2027-03-28T00:00:00Z",
            ["2027-03-28T03:00+02:00", "2027-03-28T03:30+02:00", "2027-03-29T02:00+02:00"],
        ),
        # Every hour of the wall clock: none is missed, and none runs twice.
        (
            "FREQ=HOURLY;BYMINUTE=30",
            "Europe/Madrid",
            "2027-03-28T00:00:00Z",
            ["2027-03-28T01:30+01:00", "2027-03-28T03:00+02:00", "2027-03-28T03:30+02:00"],
        ),
        (
            "FREQ=HOURLY;BYMINUTE=30",
            "Europe/Madrid",
            "2027-10-31T00:00:00Z",
            ["2027-10-31T02:30+02:00", "2027-10-31T03:30+01:00"],
        ),
        # Half an hour on Lord Howe Island.
        (
            "FREQ=DAILY;BYHOUR=2;BYMINUTE=15",
            "Australia/Lord_Howe",
            "2027-10-02T00:00:00Z",
            ["2027-10-03T02:30+11:00", "2027-10-04T02:15+11:00"],
        ),
        # At midnight, there is no midnight.
        (
            "FREQ=DAILY;BYHOUR=0;BYMINUTE=0",
            "America/Havana",
            "2027-03-13T12:00:00Z",
            ["2027-03-14T01:00-04:00", "2027-03-15T00:00-04:00"],
        ),
    ],
)
def test_clocks_that_change(rule: str, zone: str, after: str, expected: list[str]) -> None:
    """What does not exist is the next that does, and what exists twice runs once."""
    assert runs(rule, zone, after=after, most=len(expected)) == expected


@pytest.mark.parametrize(
    ("zone", "anchor", "expected"),
    [
        # Samoa left 30 December 2011 out.
        (
            "Pacific/Apia",
            "2011-12-29T00:00:00Z",
            ["2011-12-29T12:00-10:00", "2011-12-31T00:00+14:00", "2011-12-31T12:00+14:00"],
        ),
        # Moscow stayed on summer time, and went back for good.
        ("Europe/Moscow", "2011-03-27T06:00:00Z", ["2011-03-27T12:00+04:00"]),
        ("Europe/Moscow", "2014-10-26T06:00:00Z", ["2014-10-26T12:00+03:00"]),
        # North Korea went half an hour back, and forward again.
        ("Asia/Pyongyang", "2018-05-03T12:00:00Z", ["2018-05-04T12:00+08:30"]),
        ("Asia/Pyongyang", "2018-05-05T02:00:00Z", ["2018-05-05T12:00+09:00"]),
        # Morocco's clocks follow the moon.
        ("Africa/Casablanca", "2026-02-14T20:00:00Z", ["2026-02-15T12:00+00:00"]),
        ("Africa/Casablanca", "2026-03-22T20:00:00Z", ["2026-03-23T12:00+01:00"]),
        # Brazil gave summer time up.
        ("America/Sao_Paulo", "2018-11-04T00:00:00Z", ["2018-11-04T12:00-02:00"]),
        ("America/Sao_Paulo", "2019-11-04T00:00:00Z", ["2019-11-04T12:00-03:00"]),
    ],
)
def test_zones_that_change_their_rules(zone: str, anchor: str, expected: list[str]) -> None:
    """Noon is noon by the law of the day."""
    made = datetime.fromisoformat(anchor)
    found = runs("FREQ=DAILY;BYHOUR=12", zone, anchor=made, most=len(expected))
    assert found == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=MONTHLY;BYMONTHDAY=31;BYHOUR=0", ["2026-12-31", "2027-01-31", "2027-03-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=0", ["2026-11-30", "2026-12-31", "2027-01-31"]),
        ("FREQ=MONTHLY;BYMONTHDAY=30;BYHOUR=0", ["2026-11-30", "2026-12-30", "2027-01-30"]),
        (
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29;BYHOUR=0",
            ["2028-02-29", "2032-02-29", "2036-02-29"],
        ),
        (
            "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=-1;BYHOUR=0",
            ["2027-02-28", "2028-02-29", "2029-02-28"],
        ),
        ("FREQ=YEARLY;BYYEARDAY=366;BYHOUR=0", ["2028-12-31", "2032-12-31", "2036-12-31"]),
    ],
)
def test_leap_days_and_ends_of_months(rule: str, expected: list[str]) -> None:
    """A day that a month does not have is left out, and the last one is always there."""
    assert [one[:10] for one in runs(rule, most=len(expected))] == expected


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY", "2026-11-27T09:20+01:00"),
        ("FREQ=HOURLY", "2026-11-26T10:20+01:00"),
        ("FREQ=WEEKLY", "2026-12-03T09:20+01:00"),
        ("FREQ=MONTHLY", "2026-12-26T09:20+01:00"),
        ("FREQ=YEARLY", "2027-11-26T09:20+01:00"),
        ("FREQ=MONTHLY;BYMONTHDAY=1;BYHOUR=3", "2026-12-01T03:00+01:00"),
        ("FREQ=DAILY;BYMINUTE=45", "2026-11-26T09:45+01:00"),
        ("FREQ=YEARLY;BYMONTH=6", "2027-06-26T09:20+02:00"),
    ],
)
def test_what_a_rule_leaves_open(rule: str, expected: str) -> None:
    """It comes from when the rule was made; minutes beside an hour, and seconds, are zero."""
    assert runs(rule, "Europe/Madrid", most=1) == [expected]


def test_intervals_count_from_when_it_was_made() -> None:
    """However long ago that was, the phase stays."""
    two_days = "FREQ=DAILY;INTERVAL=2;BYHOUR=3"
    assert runs(two_days, after="2036-11-26T08:00:00Z", most=2) == [
        "2036-11-27T03:00+00:00",
        "2036-11-29T03:00+00:00",
    ]


def test_count_and_until_end_it() -> None:
    """So many times from when it was made, or up to a moment, inclusive."""
    assert len(runs("FREQ=DAILY;COUNT=3", most=9)) == 3
    assert len(runs("FREQ=DAILY;COUNT=3", after="2026-11-28T00:00:00Z", most=9)) == 2
    assert runs("FREQ=DAILY;COUNT=3", after="2030-01-01T00:00:00Z") == []
    for until in ("20261128", "20261128T030000", "20261128T020000Z"):
        found = runs(f"FREQ=DAILY;BYHOUR=3;UNTIL={until}", "Europe/Madrid", most=9)
        assert found == ["2026-11-27T03:00+01:00", "2026-11-28T03:00+01:00"]
    assert len(runs("FREQ=DAILY;BYHOUR=3;UNTIL=20261128T015959Z", "Europe/Madrid", most=9)) == 1
    assert runs("FREQ=DAILY;UNTIL=20200101") == []


# --- What is refused, and how long it takes ---


@pytest.mark.parametrize(
    ("rule", "complaint"),
    [
        ("", "must be a rule of RFC 5545"),
        ("every day", "must be a rule of RFC 5545"),
        ("FREQ=DAILY;", "must be a rule of RFC 5545"),
        ("RRULE:FREQ=DAILY", "must not have RRULE:FREQ|must have FREQ"),
        ("FREQ=DAILY\nRRULE:FREQ=DAILY", "must have FREQ"),
        ("BYHOUR=3", "must have FREQ"),
        ("FREQ=MINUTELY", "must have FREQ=HOURLY"),
        ("FREQ=SECONDLY;INTERVAL=86400", "must have FREQ=HOURLY"),
        ("FREQ=DAILY;FREQ=DAILY", "must not have FREQ twice"),
        ("FREQ=DAILY;BYHOUR=24", "must have numbers from 0 to 23 in BYHOUR"),
        ("FREQ=DAILY;BYHOUR=-1", "in BYHOUR"),
        ("FREQ=DAILY;BYHOUR=1,", "in BYHOUR"),
        ("FREQ=DAILY;BYHOUR=\u0661", "in BYHOUR"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "from 1 to 31 in BYMONTHDAY"),
        ("FREQ=MONTHLY;BYMONTHDAY=32", "in BYMONTHDAY"),
        ("FREQ=DAILY;INTERVAL=0", "in INTERVAL"),
        ("FREQ=DAILY;INTERVAL=1000000000000", "in INTERVAL"),
        ("FREQ=DAILY;COUNT=0", "in COUNT"),
        ("FREQ=DAILY;COUNT=10001", "in COUNT"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101", "must not have COUNT and UNTIL"),
        ("FREQ=DAILY;UNTIL=20270230", "in UNTIL"),
        ("FREQ=DAILY;UNTIL=tomorrow", "in UNTIL"),
        ("FREQ=WEEKLY;BYDAY=XX", "in BYDAY"),
        ("FREQ=MONTHLY;BYDAY=0MO", "in BYDAY"),
        ("FREQ=MONTHLY;BYDAY=54MO", "in BYDAY"),
        ("FREQ=WEEKLY;BYDAY=1MO", "must not number the days"),
        ("FREQ=YEARLY;BYWEEKNO=1;BYDAY=1MO", "must not number the days"),
        ("FREQ=WEEKLY;BYMONTHDAY=1", "BYMONTHDAY if WEEKLY"),
        ("FREQ=MONTHLY;BYWEEKNO=1", "BYWEEKNO unless YEARLY"),
        ("FREQ=MONTHLY;BYYEARDAY=1", "BYYEARDAY unless YEARLY"),
        ("FREQ=MONTHLY;BYSETPOS=1", "beside BYSETPOS"),
        ("FREQ=DAILY;WKST=X", "must not have WKST=X"),
        ("FREQ=DAILY;BYEASTER=0", "must not have BYEASTER"),
        ("FREQ=HOURLY;BYMINUTE=0,10,20,30,40", "must not run more than 4 times an hour"),
        ("FREQ=DAILY;BYMINUTE=0,30;BYSECOND=0,10,20", "must not run more than 4 times an hour"),
        ("FREQ=DAILY;BYHOUR=" + "1," * 300 + "1", "at most 500 characters"),
    ],
)
def test_rules_that_are_refused(rule: str, complaint: str) -> None:
    """What is no rule, what RFC 5545 forbids, and what would run too often; each says why."""
    with pytest.raises(RuleError, match=complaint):
        parse(rule)


@pytest.mark.parametrize(
    "name",
    [
        "", "Madrid", "europe/madrid", "Europe", "../etc/passwd", "/etc/localtime", "Europe/../UTC",
        "Europe/Madrid\n", "tzdata.zi", "posixrules/x", "leapseconds", "zone.tab",
        "Europe/Madrid\0", "A" * 300,
    ],
)  # fmt: skip
def test_zones_that_are_none(name: str) -> None:
    """A zone is a name of the IANA database, and no path."""
    with pytest.raises(RuleError, match="must be a time zone"):
        find_zone(name)


HOSTILE = [
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=HOURLY;BYMONTH=4,6,9,11;BYMONTHDAY=31",
    "FREQ=HOURLY;BYYEARDAY=366;BYMONTH=1",
    "FREQ=HOURLY;INTERVAL=24;BYHOUR=3",
    "FREQ=HOURLY;INTERVAL=2;BYHOUR=7",
    "FREQ=DAILY;INTERVAL=7;BYDAY=MO",
    "FREQ=WEEKLY;INTERVAL=10000;BYMONTH=2;BYDAY=MO",
    "FREQ=YEARLY;INTERVAL=10000",
    "FREQ=YEARLY;BYDAY=53MO;BYMONTH=2",
    "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
    "FREQ=MONTHLY;BYDAY=MO;BYSETPOS=300",
    "FREQ=DAILY;BYDAY=MO;BYMONTHDAY=31;BYMONTH=2;COUNT=10000",
]


@pytest.mark.parametrize("rule", HOSTILE)
def test_rules_that_never_run(rule: str) -> None:
    """The search for a time that never comes ends soon."""
    began = time.process_time()
    assert runs(rule) == []
    assert time.process_time() - began < 2


@pytest.mark.parametrize(
    "rule",
    [
        "FREQ=HOURLY;COUNT=10000",
        "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=" + ",".join(map(str, range(24)))
        + ";BYMINUTE=0,15,30,45;BYSETPOS=366,-366",
        "FREQ=HOURLY;INTERVAL=9999;BYHOUR=3;BYDAY=MO;BYMONTH=2",
    ],
)  # fmt: skip
def test_rules_that_are_dear(rule: str) -> None:
    """A rule with as much in it as a rule may have is evaluated soon, however old it is."""
    began = time.process_time()
    runs(rule, "Europe/Madrid", after="2027-12-26T08:00:00Z")
    assert time.process_time() - began < 2


def test_moments_of_times_in_a_gap() -> None:
    """The first moment after the gap is found to the second, also where it is not a whole hour."""
    zone = ZoneInfo("Africa/Monrovia")  # 44 minutes and 30 seconds, in 1972
    local = datetime(1972, 1, 7, 0, 10, tzinfo=UTC).replace(tzinfo=None)
    assert to_moment(local, zone) == datetime(1972, 1, 7, 0, 44, 30, tzinfo=UTC)

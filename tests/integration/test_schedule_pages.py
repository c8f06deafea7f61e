"""The page of schedules, as a browser without JavaScript meets it."""

import re
from html import unescape

import pytest

from chalicelib.tasks.schedule_runs import MAX_FAILURES
from chalicelib.values.languages import language_for
from chalicelib.web.pages.schedules import in_words
from chalicelib.wiring import Wiring
from tests.conftest import both_databases
from tests.harness.pages import Browser, Elements
from tests.harness.people import Person
from tests.integration.test_schedules import create, run_and_fail

FORM = {
    "name": "export_posts",
    "every": "week",
    "weekday": "FR",
    "day": "1",
    "time": "18:30",
    "timezone": "Europe/Madrid",
    "rrule": "",
}


@pytest.fixture
def browser(susan: Person) -> Browser:
    return Browser(susan.client, susan.token)


def text_of(browser: Browser, path: str = "/schedules") -> str:
    """The text of a page, with single spaces."""
    answer = browser.get(path)
    assert answer.status_code == 200
    words = unescape(re.sub(r"<[^>]+>", " ", answer.body.decode()))
    return " ".join(words.split())


@pytest.mark.parametrize(
    ("fields", "rule", "words"),
    [
        ({"every": "hour"}, "FREQ=HOURLY", "Every hour"),
        ({"every": "day"}, "FREQ=DAILY;BYHOUR=18;BYMINUTE=30", "Every day at 18:30"),
        ({}, "FREQ=WEEKLY;BYDAY=FR;BYHOUR=18;BYMINUTE=30", "Every Friday at 18:30"),
        (
            {"every": "month", "day": "28", "time": "00:00"},
            "FREQ=MONTHLY;BYMONTHDAY=28;BYHOUR=00;BYMINUTE=00",
            "Every month on day 28 at 00:00",
        ),
        (
            {"every": "month", "day": "-1"},
            "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=18;BYMINUTE=30",
            "Every month on the last day at 18:30",
        ),
        (
            {"rrule": " FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18 "},
            "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18",
            "FREQ=MONTHLY;BYDAY=-1FR;BYHOUR=18",
        ),
    ],
)
def test_create(
    browser: Browser, susan: Person, fields: dict[str, str], rule: str, words: str
) -> None:
    """What is chosen becomes a rule, and is shown in words with its next times."""
    answer = browser.send("/schedules", **FORM | fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/schedules")
    (made,) = susan.get("/v1/schedules").json_body["items"]
    assert (made["rrule"], made["timezone"]) == (rule, "Europe/Madrid")
    shown = text_of(browser)
    assert f"{words} · Europe/Madrid" in shown
    assert "Next runs" in shown


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"timezone": "Nowhere"}, "Enter a time zone such as Europe/Madrid."),
        ({"timezone": ""}, "Enter a time zone such as Europe/Madrid."),
        ({"rrule": "FREQ=MINUTELY"}, "Enter a rule such as"),
        ({"time": "25:00"}, "Enter a rule such as"),
        ({"time": ""}, "Enter a rule such as"),
        ({"every": "century"}, "Enter a rule such as"),
        ({"every": "month", "day": "32"}, "Enter a rule such as"),
        ({"name": "nothing"}, "Some of this isn't valid."),
        ({"name": "example"}, "Some of this isn't valid."),
    ],
)
def test_what_is_wrong(browser: Browser, susan: Person, fields: dict[str, str], told: str) -> None:
    """The form comes again with what was chosen, and says what is wrong."""
    answer = browser.send("/schedules", **FORM | fields)
    page = unescape(answer.body.decode())
    assert answer.status_code == 422
    assert told in page
    values = {a.get("name"): a.get("value") for tag, a in Elements(page).found if tag == "input"}
    assert (values["timezone"], values["time"]) == tuple(
        (FORM | fields)[name] for name in ("timezone", "time")
    )
    assert susan.get("/v1/schedules").json_body["items"] == []


@both_databases
def test_pause_resume_delete(browser: Browser, susan: Person) -> None:
    """The buttons do what they say."""
    path = f"/schedules/{create(susan)['id']}"
    assert "No schedules yet." not in text_of(browser)
    assert browser.send(f"{path}/pause").status_code == 303
    assert "Paused" in text_of(browser)
    assert susan.get(f"/v1{path}").json_body["enabled"] is False
    assert browser.send(f"{path}/resume").status_code == 303
    assert susan.get(f"/v1{path}").json_body["enabled"] is True
    assert browser.send(f"{path}/delete").status_code == 303
    assert "No schedules yet." in text_of(browser)
    assert browser.send(f"{path}/pause").status_code == 404


def test_disabled_and_skipped(browser: Browser, susan: Person, wiring: Wiring) -> None:
    """The page says why a schedule is paused."""
    created = create(susan)
    for _ in range(MAX_FAILURES):
        run_and_fail(wiring, created["id"], susan.user_id)
    assert "Paused because it failed three times in a row." in text_of(browser)


def test_many(browser: Browser, susan: Person) -> None:
    """There is a page for those that are older."""
    for hour in range(21):
        create(susan, rrule=f"FREQ=DAILY;BYHOUR={hour}")
    assert "Older schedules" in text_of(browser)
    page = browser.get("/schedules").body.decode()
    (older,) = re.findall(r'href="(/schedules\?cursor=[^"]+)"', page)
    assert "Every day at 00:00" in text_of(browser, older)


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("es", ["Cada hora", "Cada viernes, 18:30", "El último día de cada mes, 03:00"]),
        ("ko", ["매시간", "매주 금요일 18:30", "매월 마지막 날 03:00"]),
    ],
)
def test_rules_in_words(code: str, words: list[str]) -> None:
    """Each language has words for the rules that the form makes, and shows others as they are."""
    rules = [
        "FREQ=HOURLY",
        "FREQ=WEEKLY;BYDAY=FR;BYHOUR=18;BYMINUTE=30",
        "FREQ=MONTHLY;BYMONTHDAY=-1;BYHOUR=3",
    ]
    spoken = language_for(code)
    assert [in_words(rule, spoken) for rule in rules] == words
    for other in ("FREQ=DAILY;INTERVAL=2;BYHOUR=3", "FREQ=DAILY", "FREQ=YEARLY;BYHOUR=3", "x"):
        assert in_words(other, spoken) == other

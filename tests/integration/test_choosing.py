"""The page on which people choose what to export, without JavaScript, in their language."""

from typing import Any
from urllib.parse import urlencode

import pytest

from chalicelib.values.languages import LANGUAGES
from chalicelib.wiring import Wiring
from tests.harness.ledgers import START, the_task, write_posts
from tests.harness.pages import HOST, Browser, Elements
from tests.harness.people import Person
from worker import attempts


@pytest.fixture
def browser(susan: Person) -> Browser:
    return Browser(susan.client, susan.token)


def send(browser: Browser, fields: list[tuple[str, str]]) -> Any:
    """Send the form as a browser does, with a field for each box that is ticked."""
    fixed = [("csrf", browser.csrf()), ("name", "export_archive"), ("choice", "1")]
    headers = {
        "Host": HOST,
        "Accept": "text/html",
        "Content-Type": "application/x-www-form-urlencoded",
        "Origin": f"https://{HOST}",
        "Cookie": f"__Host-carryout_session={browser.cookie}",
    }
    body = urlencode([*fixed, *fields]).encode()
    return browser.client.http.request("POST", "/exports", headers=headers, body=body)


def ticked(page: str) -> list[tuple[str, str]]:
    """The boxes of a page that are ticked."""
    return [
        (a["name"] or "", a["value"] or "")
        for tag, a in Elements(page).found
        if tag == "input" and a.get("type") == "checkbox" and "checked" in a
    ]


def params_of(wiring: Wiring, answer: Any) -> dict[str, Any]:
    assert answer.status_code == 303, answer.body
    return the_task(wiring.database, answer.headers["Location"].rpartition("/")[2]).params


def test_everything_is_one_click(browser: Browser, wiring: Wiring) -> None:
    """The button asks for all datasets as JSON with the pages."""
    answer = browser.send("/exports", name="export_archive")
    params = params_of(wiring, answer)
    assert (params["datasets"], params["formats"], params["viewer"]) == (None, ["json"], True)


def test_the_form_as_it_stands(browser: Browser, wiring: Wiring, susan: Person) -> None:
    """Sent without a change it asks for every dataset by name, beside the size of each."""
    write_posts(wiring.database, susan.user_id, ["one", "two"])
    page = browser.get("/").body.decode()
    assert "2 rows" in page
    names = [one["name"] for one in susan.get("/v1/datasets").json_body["items"]]
    boxes = ticked(page)
    assert boxes == [*(("datasets", name) for name in names), ("formats", "json"), ("viewer", "1")]
    assert params_of(wiring, send(browser, [*boxes, ("from", ""), ("to", "")])) == {
        "datasets": names,
        "formats": ["json"],
        "from": None,
        "to": None,
        "viewer": True,
    }


def test_what_is_chosen(browser: Browser, wiring: Wiring) -> None:
    """Days are whole ones, the last is part of the period; what is not ticked is left out."""
    chosen = [("datasets", "posts"), ("datasets", "audit"), ("formats", "csv")]
    chosen += [("formats", "activitystreams"), ("from", "2026-01-31"), ("to", "2026-01-31")]
    assert params_of(wiring, send(browser, chosen)) == {
        "datasets": ["posts", "audit"],
        "formats": ["csv", "activitystreams"],
        "from": "2026-01-31T00:00:00Z",
        "to": "2026-02-01T00:00:00Z",
        "viewer": False,
    }


@pytest.mark.parametrize(
    ("chosen", "told"),
    [
        ([("formats", "json")], "Choose at least one kind of data."),
        ([("datasets", "posts")], "Choose at least one format."),
        (
            [("datasets", "audit"), ("formats", "activitystreams")],
            "One of these formats isn&#39;t available",
        ),
        (
            [
                ("datasets", "posts"),
                ("formats", "csv"),
                ("from", "2026-02-01"),
                ("to", "2026-01-01"),
            ],
            "the last one not before the first",
        ),
        ([("datasets", "posts"), ("formats", "csv"), ("from", "31/1/2026")], "Enter days such as"),
        ([("datasets", "posts"), ("formats", "csv"), ("to", "9999-12-31")], "Enter days such as"),
        ([("datasets", "secrets"), ("formats", "json")], "available for the data you chose"),
    ],
)
def test_what_is_refused(
    browser: Browser, susan: Person, chosen: list[tuple[str, str]], told: str
) -> None:
    """The page comes back open, with the choice as it was and a sentence that says what to do."""
    answer = send(browser, chosen)
    page = answer.body.decode()
    assert answer.status_code == 422
    assert told in page
    known = [one for one in chosen if one[0] in {"datasets", "formats"} and one[1] != "secrets"]
    assert ticked(page) == known
    assert any(tag == "details" and "open" in a for tag, a in Elements(page).found)
    assert susan.get("/v1/tasks").json_body["items"] == []


def test_a_second_one_leads_to_the_first(browser: Browser) -> None:
    """While an archive is made, the form leads to its page, whatever is chosen."""
    chosen = [("datasets", "posts"), ("formats", "json")]
    first, again = send(browser, chosen), send(browser, [*chosen, ("formats", "csv")])
    assert first.headers["Location"] == again.headers["Location"]


@pytest.mark.parametrize("code", LANGUAGES)
def test_pages_in_every_language(
    browser: Browser, wiring: Wiring, susan: Person, code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An archive's page tells the rows of each dataset, by its title, and the name of its file."""
    monkeypatch.setattr(attempts, "process_wiring", lambda: wiring)
    susan.patch("/v1/me", {"language": code})
    write_posts(wiring.database, susan.user_id, ["one"] * 1234, at=START)
    titles = {"en": "Posts", "es": "Publicaciones", "ko": "게시물"}
    choice = {"archive": True, "datasets": ["posts", "profile"], "viewer": False}
    task_id = susan.post("/v1/exports", choice).json_body["id"]
    attempts.run(task_id)
    page = browser.get(f"/exports/{task_id}").body.decode()
    number = {"es": "1234"}.get(code, "1,234")
    assert f"<dt>{titles[code]}</dt><dd>{number}</dd>" in page.replace("1.234", "1234")
    assert f"carryout-susan-{the_task(wiring.database, task_id).started_at:%Y%m%d}.zip" in page
    if code == "ko":
        assert "게시물 내보내기" not in page

"""How the script changes a page in place: `morph` of `app.js`, alone in a real browser."""

import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page

SCRIPT = Path(__file__).parents[2] / "chalicelib" / "web" / "static" / "app.js"

MORPH = """
([before, after, focus]) => {
  const part = html => new DOMParser().parseFromString(html, "text/html").body.firstChild;
  const old = document.body.appendChild(document.adoptNode(part(before)));
  const nodes = new Map([...old.querySelectorAll("[id]")].map(node => [node.id, node]));
  const focused = focus && old.querySelector(`#${focus} a`);
  if (focused) focused.focus();
  const fresh = document.adoptNode(part(after));
  const wanted = fresh.outerHTML;
  morph(old, fresh);
  const found = {
    equal: old.outerHTML === wanted,
    kept: [...old.querySelectorAll("[id]")].filter(n => nodes.get(n.id) === n).map(n => n.id),
    focused: document.activeElement.textContent,
  };
  old.remove();
  return found;
}
"""


@pytest.fixture(scope="module")
def page(browser: Browser) -> Iterator[Page]:
    """An empty page that has the function."""
    (function,) = re.findall(
        r"^function morph\(.*?^}", SCRIPT.read_text(), re.DOTALL | re.MULTILINE
    )
    page = browser.new_page()
    page.add_script_tag(content=function)
    yield page
    page.context.close()


def items(names: str, *, text: str = "", between: str = "\n") -> str:
    """A list of items, each with an id and a link."""
    parts = [
        f'<li id="{one}" class="{text}"><a href="/{one}">{one}</a>{text}</li>' for one in names
    ]
    return f"<ul>{between}{between.join(parts)}{between}</ul>"


def morphed(page: Page, before: str, after: str, focus: str = "") -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(MORPH, [before, after, focus])
    assert found["equal"], (before, after)
    return found


@pytest.mark.parametrize(
    ("before", "after", "focus"),
    [
        ("ab", "xab", "a"),  # a new one comes first, as on the list of exports
        ("abc", "bc", "b"),  # the first one goes, as on the list of tasks
        ("abc", "xby", "b"),
        ("abc", "abc", "c"),
    ],
)
def test_an_item_stays_itself(page: Page, before: str, after: str, focus: str) -> None:
    """Whoever is about to press a link presses that link, whatever comes or goes before it."""
    found = morphed(page, items(before), items(after, text="done"), focus)
    assert found["focused"] == focus
    assert set(found["kept"]) == set(before) & set(after)


def test_whatever_changes_into_whatever(page: Page) -> None:
    """The part is what the server sent, for any two lists, with text between items and without."""
    chance = random.Random(7)
    for _ in range(300):
        lists = [
            items(
                "".join(chance.sample("abcdef", chance.randint(0, 6))),
                text=chance.choice(["", "running", "done"]),
                between=chance.choice(["", "\n", "<!-- x -->", "<li>none</li>"]),
            )
            for _ in range(2)
        ]
        morphed(page, *lists)


def test_other_elements(page: Page) -> None:
    """Elements of other kinds, texts and attributes are replaced, added and taken away."""
    before = '<div class="a" hidden><p>one</p>text<b>two</b></div>'
    after = '<div class="b" title="x"><b>one</b><p id="p">two</p>other<i>three</i></div>'
    morphed(page, before, after)
    morphed(page, after, before)

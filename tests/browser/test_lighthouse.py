"""What Lighthouse says of every page; `make lighthouse` runs it, and takes ten minutes or more."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from playwright.sync_api import Browser

from chalicelib.wiring import Wiring
from tests.browser import places
from tests.browser.conftest import Join
from tests.harness import ledgers
from tests.harness.stacks import Stack

LIGHTHOUSE = os.environ.get("LIGHTHOUSE", "")

pytestmark = pytest.mark.skipif(not LIGHTHOUSE, reason="make lighthouse fetches it from npm")

CATEGORIES = ("performance", "accessibility", "best-practices")
LEAST = 95
ERRORS = {"missing", "refused"}
"""Pages whose status is an error, which Lighthouse does not measure."""

TRIES = 3
"""A machine that is busy with something else makes any page slow: the best of so many counts."""


def scores(address: str, *, cookie: str, folder: Path) -> dict[str, int]:
    """Measure a page as somebody with this cookie."""
    headers = folder / "headers.json"
    headers.write_text(json.dumps({"Cookie": cookie} if cookie else {}))
    done = subprocess.run(
        [
            *(LIGHTHOUSE, address, "--quiet", "--output=json", f"--extra-headers={headers}"),
            f"--only-categories={','.join(CATEGORIES)}",
            "--chrome-flags=--headless=new --no-sandbox --disable-gpu",
        ],
        capture_output=True,
        check=True,
        timeout=300,
    )
    found = json.loads(done.stdout)["categories"]
    return {name: round(100 * (found[name]["score"] or 0)) for name in CATEGORIES}


def test_every_page(
    join: Join, stack: Stack, wiring: Wiring, browser: Browser, tmp_path: Path
) -> None:
    """Each has 95 points or more for its performance, for accessibility and for best practices."""
    assert browser
    root = join()
    own = places.fill(root, stack, wiring)
    for task in root.call("GET", "/v1/tasks?limit=100")["items"]:
        if task["finished_at"] is None:  # a page that follows tasks never comes to rest
            ledgers.put(wiring.database, task["id"], status="cancelled", finished_at=ledgers.now())
    cookies = root.context.cookies()
    cookie = "; ".join(f"{one['name']}={one['value']}" for one in cookies)
    looks = [(name, path, cookie) for name, path in own.items()]
    looks += [(name, path, "") for name, path in places.OF_NOBODY.items()]
    poor = {}
    for name, path, known_by in looks:
        if name in ERRORS:
            continue
        best = dict.fromkeys(CATEGORIES, 0)
        for _ in range(TRIES):
            found = scores(stack.app_url + path, cookie=known_by, folder=tmp_path)
            best = {one: max(best[one], found[one]) for one in CATEGORIES}
            if min(best.values()) >= LEAST:
                break
        else:
            poor[name] = best
        print(name, *best.values(), flush=True)  # noqa: T201 - figures to be read
    assert poor == {}

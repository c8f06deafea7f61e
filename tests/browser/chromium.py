"""Where this machine has Chromium."""

import os
import shutil
from pathlib import Path

from playwright.sync_api import Playwright

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
MAC = Path("/Applications/Google Chrome.app/Contents/MacOS/Google Chrome")

MISSING = """\
Chromium is missing, which the browser tests drive. Install it in one of these ways:
  Debian, Ubuntu:  apt-get install chromium
  macOS:           brew install --cask google-chrome
  elsewhere:       .venv/bin/playwright install chromium"""

ARGUMENTS = [
    "--no-sandbox",  # of no use in a container, and root cannot have it
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def find(playwright: Playwright) -> str | None:
    """The path of a Chromium: the one that CHROMIUM names, the system's, or Playwright's own."""
    installed = [shutil.which(name) for name in NAMES]
    candidates = [os.environ.get("CHROMIUM"), *installed, MAC, playwright.chromium.executable_path]
    return next((str(path) for path in candidates if path and Path(path).exists()), None)

"""Chromium without a window, for pictures and for tests.

Belongs here: finding it and starting it. Does not: any page.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from playwright.sync_api import Browser

NAMES = ("chromium", "chromium-browser", "google-chrome")
MISSING = f"no browser: none of {', '.join(NAMES)} is on PATH. Install your system's package (Debian: apt-get install chromium)."
ARGUMENTS = (
    "--no-sandbox",  # which root does not have
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
"""It says nothing to its makers, nor to anybody but this machine."""


def find_browser() -> str | None:
    """Return the path of a Chromium of this machine, or None where it has none."""
    return next(filter(None, map(shutil.which, NAMES)), None)


@contextmanager
def running(path: str) -> Iterator["Browser"]:
    """Yield the browser, and end it afterwards.

    Args:
        path: Of its program.
    """
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()

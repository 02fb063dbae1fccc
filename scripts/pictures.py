"""Pictures for the docs, of what runs here: ``python -m scripts.pictures``, or ``make pictures``.

Belongs here: which page becomes which picture. Does not: what is seen there; docs/dashboard.md says what to run first.
"""

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from scripts.browser import MISSING, find_browser, running

if TYPE_CHECKING:
    from collections.abc import Callable

    from playwright.sync_api import Page

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
SETTLED_MS = 3_000
TIMEOUT_MS = 60_000
MAX_BYTES = 300_000


@dataclass(frozen=True)
class Picture:
    """One page.

    Attributes:
        is_of: ``dagster`` or ``dashboard``.
        path: Of its URL.
        size: Of the window, in pixels.
        prepare: Waits for what is shown, and pushes what shows it.
        is_dark: Whether the browser asks for dark pages.
    """

    is_of: str
    path: str
    size: tuple[int, int]
    prepare: "Callable[[Page], None]"
    is_dark: bool = False


def main() -> int:
    """Take every picture, or those that are named; exit with 1 where one is too large for a README."""
    parser = argparse.ArgumentParser(prog="python -m scripts.pictures", description="Pictures for the docs.")
    parser.add_argument("--dagster", default="http://127.0.0.1:3000", help="URL of the Dagster UI")
    parser.add_argument("--dashboard", default="http://127.0.0.1:8501", help="URL of the dashboard")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help=f"these of: {', '.join(TAKEN)}")
    arguments = parser.parse_args()
    path = find_browser()
    if path is None:
        sys.exit(MISSING)
    PICTURES.mkdir(exist_ok=True)
    wanted = arguments.only.split(",") if arguments.only else list(TAKEN)
    too_large = []
    with running(path) as browser:
        for name in wanted:
            taken, file = TAKEN[name], PICTURES / f"{name}.png"
            width, height = taken.size
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if taken.is_dark else "light"
            )
            page.set_default_timeout(TIMEOUT_MS)
            page.goto(f"{getattr(arguments, taken.is_of)}/{taken.path}")
            taken.prepare(page)
            page.wait_for_timeout(SETTLED_MS)
            page.screenshot(path=file)
            page.close()
            too_large += [name] if file.stat().st_size > MAX_BYTES else []
    if too_large:
        sys.exit(f"larger than {MAX_BYTES:,} bytes: {', '.join(too_large)}")
    return 0


def _all_groups(page: "Page") -> None:
    page.get_by_text("raw").first.wait_for()
    page.get_by_text("Hide navigation").click()
    page.wait_for_timeout(SETTLED_MS)
    page.keyboard.press("Alt+e")
    page.wait_for_timeout(SETTLED_MS)
    page.reload()  # fits it to the window
    page.get_by_text("manifest").first.wait_for()
    page.locator("button:has([aria-label=panel_show_right])").click()


def _failed_check(page: "Page") -> None:
    page.get_by_text("fit_to_serve").first.wait_for()


def _validation(page: "Page") -> None:
    page.get_by_text("fit_to_train").first.click()


def _first_markdown(page: "Page") -> None:
    page.get_by_text("[Show Markdown]").first.click()


def _drawn(page: "Page") -> None:
    page.get_by_test_id("stMetric").first.wait_for()
    page.wait_for_timeout(SETTLED_MS)
    page.get_by_test_id("stStatusWidget").wait_for(state="detached")


def _scrolled_to(heading: str) -> "Callable[[Page], None]":
    def scroll(page: "Page") -> None:
        found = page.get_by_role("heading", name=heading, exact=True)
        found.wait_for()
        page.get_by_test_id("stStatusWidget").wait_for(state="detached")
        page.wait_for_timeout(SETTLED_MS)
        found.evaluate("heading => heading.scrollIntoView()")

    return scroll


TAKEN = {
    "graph": Picture("dagster", "asset-groups", (2200, 900), _all_groups),
    "evaluation": Picture("dagster", "assets/model/evaluation", (1400, 1300), _first_markdown),
    "failed-check": Picture("dagster", "assets/model/registration?view=checks", (1600, 1000), _failed_check),
    "validation": Picture("dagster", "assets/raw/transactions?view=checks", (1600, 1000), _validation),
    "traffic": Picture("dashboard", "?range=7+days", (1400, 1000), _drawn),
    "traffic-dark": Picture("dashboard", "?range=7+days", (1400, 1000), _drawn, is_dark=True),
    "review": Picture("dashboard", "review?range=30+days", (1400, 1000), _drawn),
    "models": Picture("dashboard", "models?range=30+days", (1400, 1000), _scrolled_to("What thresholds cost")),
    "drift": Picture("dashboard", "models?range=30+days", (1400, 950), _scrolled_to("Drift of inputs and scores")),
    "system": Picture("dashboard", "system?range=24+hours", (1400, 1000), _drawn),
}


if __name__ == "__main__":
    sys.exit(main())

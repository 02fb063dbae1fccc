"""Pictures for the docs, taken in the Dagster UI: ``python -m scripts.pictures [--url http://127.0.0.1:3000]``.

Belongs here: which page becomes which picture. Does not: what is seen there; run the jobs first (docs/graph.md says which).
"""

import argparse
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import Page, sync_playwright

PICTURES = Path(__file__).parents[1] / "docs" / "pictures"
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SETTLED_MS = 3_000
TIMEOUT_MS = 60_000


def main() -> int:
    """Take every picture, or those that are named."""
    parser = argparse.ArgumentParser(prog="python -m scripts.pictures", description="Pictures for the docs.")
    parser.add_argument("--url", default="http://127.0.0.1:3000", help="of the Dagster UI")
    parser.add_argument("--only", default="", metavar="NAME,NAME", help=f"these of: {', '.join(TAKEN)}")
    arguments = parser.parse_args()
    browser_path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser_path is None:
        sys.exit("no Chromium on PATH: install your system's package (Debian: apt install chromium)")
    PICTURES.mkdir(exist_ok=True)
    wanted = set(arguments.only.split(",")) if arguments.only else set(TAKEN)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        for name, take in TAKEN.items():
            if name not in wanted:
                continue
            page = browser.new_page(viewport={"width": 1600, "height": 1000})
            page.set_default_timeout(TIMEOUT_MS)
            take(page, arguments.url)
            page.wait_for_timeout(SETTLED_MS)
            page.screenshot(path=PICTURES / f"{name}.png")
            page.close()
        browser.close()
    return 0


def _graph(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 2200, "height": 900})
    page.goto(f"{url}/asset-groups")
    page.get_by_text("raw").first.wait_for()
    page.get_by_text("Hide navigation").click()
    page.locator("button:has([aria-label=panel_show_right])").click()
    page.wait_for_timeout(SETTLED_MS)
    page.keyboard.press("Alt+e")


def _evaluation(page: Page, url: str) -> None:
    page.set_viewport_size({"width": 1400, "height": 1300})
    page.goto(f"{url}/assets/model/evaluation")
    page.get_by_text("[Show Markdown]").first.click()


def _failed_check(page: Page, url: str) -> None:
    page.goto(f"{url}/assets/model/registration?view=checks")
    page.get_by_text("fit_to_serve").first.wait_for()


def _validation(page: Page, url: str) -> None:
    page.goto(f"{url}/assets/raw/transactions?view=checks")
    page.get_by_text("fit_to_train").first.click()


TAKEN: dict[str, Callable[[Page, str], None]] = {
    "graph": _graph,
    "evaluation": _evaluation,
    "failed-check": _failed_check,
    "validation": _validation,
}


if __name__ == "__main__":
    sys.exit(main())

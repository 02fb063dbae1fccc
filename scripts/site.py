"""The site: the pages of ``docs/`` as HTML, into ``var/docs/site``; ``python -m scripts.site``, by ``make docs``.

Belongs here: what has to be done to the pages before the site generator (zensical, in an environment of its own) takes them, and
calling it. Does not: the pages, and the navigation (``zensical.toml``).

A page that links to a file of the checkout is right in a clone, but a site has no such file. So the file comes along, as text.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

from scripts.pages import BLOCK, DOCS, LINK, PROJECT_DIR, broken_links

CONFIG = PROJECT_DIR / "zensical.toml"
STAGED = PROJECT_DIR / "var" / "docs" / "pages"
SITE = PROJECT_DIR / "var" / "docs" / "site"
ZENSICAL = PROJECT_DIR / "var" / "docs" / "venv" / "bin" / "zensical"
SOURCES = "sources"
"""Folder of the site with the files of the checkout that pages link to."""


class SiteError(RuntimeError):
    """A page has broken links; the message names every one of them."""


def stage(target: Path) -> None:
    """Write the pages and pictures of ``docs/`` to ``target``, as the generator takes them.

    Raises:
        SiteError: A link leads nowhere.
    """
    pages = sorted(DOCS.rglob("*.md"))
    broken = [f"{page.relative_to(PROJECT_DIR)}: {problem}" for page in pages for problem in broken_links(page)]
    if broken:
        raise SiteError("\n".join(broken))
    shutil.rmtree(target, ignore_errors=True)
    for page in pages:
        copy = target / page.relative_to(DOCS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(_staged(page, target))
    shutil.copytree(DOCS / "pictures", target / "pictures")
    shutil.copy(DOCS / "site.css", target)


def _staged(page: Path, target: Path) -> str:
    """Return the text of a page, whose links to files beside ``docs/`` lead to copies of them, and to folders nowhere."""

    def lead_to_copy(found: re.Match[str]) -> str:
        path = (page.parent / found["target"].partition("#")[0]).resolve()
        if re.match(r"[a-z]+:|#", found["target"]) or path.is_relative_to(DOCS):
            return found[0]
        if path.is_dir() or path.suffix == ".md":
            return found["text"]
        copy = target / SOURCES / f"{path.relative_to(PROJECT_DIR)}.txt"
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, copy)
        up = "../" * len(page.relative_to(DOCS).parents[:-1])
        return f"[{found['text']}]({up}{copy.relative_to(target)})"

    def plain(block: re.Match[str]) -> str:
        return f"{block['indent']}```{block['info'].split(' ')[0]}\n{block['text']}{block['indent']}```"

    parts: list[str] = []
    end = 0
    text = page.read_text()
    for block in BLOCK.finditer(text):  # what looks like a link in code is none
        parts += [LINK.sub(lead_to_copy, text[end : block.start()]), plain(block)]
        end = block.end()
    return "".join([*parts, LINK.sub(lead_to_copy, text[end:])])


def main() -> None:
    """Build the site, strictly: a warning of the generator is an error."""
    try:
        stage(STAGED)
    except SiteError as error:
        sys.exit(f"docs: {error}")
    words = [str(ZENSICAL), "build", "--clean", "--strict", "--config-file", str(CONFIG)]
    done = subprocess.run(words, cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"docs: the site was not made\n{done.stdout}{done.stderr}")
    print(f"docs: {SITE / 'index.html'}")  # noqa: T201 - a command's answer


if __name__ == "__main__":
    main()

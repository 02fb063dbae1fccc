"""The Markdown pages of the checkout, read for what they promise: links, headings, commands.

Belongs here: reading them. Does not: making a site of them (``scripts/site.py``), writing any (``scripts/reference.py``), running what
they say (``tests/docs``).

A fenced block says in its first line what it is. ``sh`` alone is run by a test. Words after it say why it is not:

- ``sh aws``: needs an AWS account;
- ``sh not-run: needs Docker``: needs something else that is not here;
- ``sh parsed``: takes minutes, ends what the tests stand on, or is run with another page; that the command takes these words is tested.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).parents[1]
DOCS = PROJECT_DIR / "docs"
BLOCK = re.compile(r"^(?P<indent> *)```(?P<info>[^\n`]*)\n(?P<text>.*?)^ *```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[(?P<text>[^\]\n]*)\]\((?P<target>[^()\s]+)\)")
HREF = re.compile(r'<a href="(?P<target>[^"]+)">')
CODE = re.compile(r"`[^`\n]+`")
HEADING = re.compile(r"^#{1,6} +(?P<title>.+?)\s*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: the words of its first line, its text, and the line of the page that it begins in."""

    page: Path
    line: int
    info: tuple[str, ...]
    text: str

    @property
    def place(self) -> str:
        """Where it is, for people: ``docs/api.md:17``."""
        return f"{self.page.relative_to(PROJECT_DIR)}:{self.line}"


def pages() -> list[Path]:
    """Return every page of the checkout, sorted."""
    return sorted([PROJECT_DIR / "README.md", PROJECT_DIR / "CONTRIBUTING.md", *DOCS.rglob("*.md")])


def blocks(page: Path) -> Iterator[Block]:
    """Yield the fenced blocks of a page, from top to bottom."""
    text = page.read_text()
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start()) + 1
        yield Block(page, line, tuple(found["info"].split()), found["text"])


def prose(page: Path) -> str:
    """Return the page without its code."""
    return CODE.sub("", BLOCK.sub("", page.read_text()))


def links(page: Path) -> list[str]:
    """Return the targets of a page's links and pictures that lie in the checkout, as they are written."""
    targets = [found["target"] for pattern in (LINK, HREF) for found in pattern.finditer(prose(page))]
    return [target for target in targets if not re.match(r"[a-z]+:", target)]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    text = BLOCK.sub("", page.read_text())
    found: set[str] = set()
    for heading in HEADING.finditer(text):
        title = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading["title"])
        anchor = re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")
        repeated = sum(re.fullmatch(rf"{re.escape(anchor)}(-\d+)?", other) is not None for other in found)
        found.add(f"{anchor}-{repeated}" if repeated else anchor)
    return found


def broken_links(page: Path) -> list[str]:
    """Return the links of a page that lead nowhere, each with what is missing."""
    problems = []
    for target in links(page):
        name, _, anchor = target.partition("#")
        path = (page.parent / name).resolve() if name else page
        if not path.exists():
            problems.append(f"{target}: there is no {name}")
        elif anchor and anchor not in anchors(path):
            problems.append(f"{target}: {path.name} has no heading {anchor}")
    return problems

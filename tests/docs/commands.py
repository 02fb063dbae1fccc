"""The shell commands of the pages: where each is run, and whether the program that it names would take it.

A block that is run is run as it stands, with the others of its page, from top to bottom in one shell.
"""

import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.main import get_command

from fraudit_dagster.cli.app import app
from fraudit_dagster.settings import PROJECT_DIR
from scripts.pages import Block, blocks

RUN = ("sh",)
NOT_RUN = ("parsed", "aws", "not-run:")
"""What the second word says where a block is not run; a reason follows the last."""
RUN_IN_THE_DEMO = ("README.md", "docs/tutorial.md", "docs/how-to.md", "docs/local-world.md", "docs/runbook.md")
"""By ``tests/end_to_end/test_demo.py``, in the world that a demo leaves up."""
RUN_ELSEWHERE = ("docs/api.md",)
"""By ``tests/operate/test_api_page.py``, which looks at each answer."""
MAKEFILE = (PROJECT_DIR / "Makefile").read_text()


class RefusedError(AssertionError):
    """A program would not take the words that a page gives it."""


def script(page: Path) -> str:
    """Return what a page has run, as one script."""
    return "\n".join(block.text for block in blocks(page) if block.info == RUN)


def lines(block: Block) -> Iterator[list[str]]:
    """Yield the words of each command of ours in a block: ``fraudit`` and ``make``."""
    for line in block.text.replace("\\\n", " ").splitlines():
        words = shlex.split(line, comments=True) if re.match(r" *(fraudit|make)\b", line) else []
        if words:
            yield [word for word in words[: words.index(">")] if word] if ">" in words else words


def check(words: list[str]) -> None:
    """Check that ``fraudit`` or ``make`` takes these words, without doing anything.

    Raises:
        RefusedError: It does not; the message is its own.
    """
    if words[0] == "make":
        _check_make(words[1:])
    else:
        _check_fraudit(words[1:])


def _check_fraudit(words: list[str]) -> None:
    command: Any = get_command(app)
    dated = [re.sub(r"\$\(date [^)]*\)|\$DAY", "2026-11-23", word) for word in words]
    while inner := getattr(command, "commands", None):
        if not dated or dated[0] not in inner:
            raise RefusedError(f"fraudit {' '.join(words)}: there is no such command")
        command = inner[dated.pop(0)]
    try:
        command.make_context("fraudit", dated)
    except Exception as error:  # Typer's own, which it does not export
        raise RefusedError(f"fraudit {' '.join(words)}: {error}") from error


def _check_make(words: list[str]) -> None:
    variables = {word.partition("=")[0] for word in words if "=" in word}
    if unknown := [name for name in sorted(variables) if f"$({name})" not in MAKEFILE]:
        raise RefusedError(f"make {' '.join(words)}: the Makefile knows no {', '.join(unknown)}")
    done = subprocess.run(["make", "-n", *words], cwd=PROJECT_DIR, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RefusedError(f"make {' '.join(words)}: {done.stderr}")

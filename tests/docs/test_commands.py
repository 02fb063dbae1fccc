"""Every command of the pages is one: run by a test, or at least taken by the program that it names."""

import re
import subprocess
from pathlib import Path

import pytest

from fraudit_dagster.settings import PROJECT_DIR
from scripts.pages import Block, blocks, pages
from tests.docs import commands

PROGRAMS = re.compile(r" *(make|fraudit|curl|psql|aws|git|pip|uv|python3?|dagster|eval|export|\.venv/\S+) ")


def shell(*, page: Path | None = None) -> list[Block]:
    return [block for each in ([page] if page else pages()) for block in blocks(each) if block.info[:1] == ("sh",)]


def name_of(path: Path) -> str:
    return str(path.relative_to(PROJECT_DIR))


def test_a_block_of_shell_says_that_it_is_one() -> None:
    silent = [block for page in pages() for block in blocks(page) if not block.info]
    assert [block.place for block in silent if PROGRAMS.match(block.text)] == []


def test_a_block_that_is_not_run_says_why() -> None:
    for block in shell():
        if block.info != commands.RUN:
            assert block.info[1] in commands.NOT_RUN, block.place
            assert (block.info[1] == "not-run:") == (len(block.info) > 2), block.place


def test_each_page_with_blocks_to_run_has_a_test_that_runs_them() -> None:
    to_run = {name_of(block.page) for block in shell() if block.info == commands.RUN}
    assert to_run == {*commands.RUN_IN_THE_DEMO, *commands.RUN_ELSEWHERE}


@pytest.mark.parametrize("page", [page for page in pages() if shell(page=page)], ids=name_of)
def test_every_command_of_a_page_is_taken(page: Path) -> None:
    for block in shell(page=page):
        done = subprocess.run(["bash", "-n", "-c", block.text], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{block.place}: {done.stderr}"
        for words in commands.lines(block):
            commands.check(words)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("fraudit grap daily", "there is no such command"),
        ("fraudit graph", "there is no such command"),
        ("fraudit graph daily --from 2026-11-01", "--from"),
        ("fraudit warehouse drop-day yesterday", "yesterday"),
        ("fraudit simulate --order backwards", "backwards"),
        ("make dmeo", "dmeo"),
        ("make demo EVENT=5", "the Makefile knows no EVENT"),
    ],
)
def test_a_command_that_would_be_refused_is_found(line: str, says: str) -> None:
    with pytest.raises(commands.RefusedError, match=says):
        commands.check(line.split())

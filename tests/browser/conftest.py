"""A browser before the running dashboard and the Dagster UI. What it complains about fails the test."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import httpx
import pytest

from fraudit_dagster.settings import PROJECT_DIR
from scripts.browser import MISSING, find_browser, running
from tests.conftest import ASK

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

START_S, PATIENCE_MS = 180, 60_000
DESK, PHONE = (1400, 1000), (390, 844)

Open = Callable[..., "Page"]


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Of this machine. For one module: while it runs, nothing else can have an event loop in this thread."""
    path = find_browser()
    if path is None:
        pytest.skip(MISSING)
    with running(path) as browser:
        yield browser


@pytest.fixture
def visit(browser: "Browser") -> Iterator[Open]:
    """Opens pages. At the end none may have had an error, nor have asked anybody but this machine for anything."""
    complaints: list[str] = []
    pages: list[Page] = []

    def open_page(url: str, *, size: tuple[int, int] = DESK, is_dark: bool = False) -> "Page":
        page = browser.new_page(
            viewport={"width": size[0], "height": size[1]}, color_scheme="dark" if is_dark else "light"
        )
        page.set_default_timeout(PATIENCE_MS)
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda asked: complaints.append(asked.url) if _is_elsewhere(asked.url) else None)
        pages.append(page)
        page.goto(url)
        return page

    yield open_page
    for page in pages:
        page.close()
    assert complaints == []


def _is_elsewhere(url: str) -> bool:
    return urlsplit(url).hostname not in {"127.0.0.1", None}


@contextmanager
def served(command: Sequence[str], *, health: str, environment: Mapping[str, str], log: Path) -> Iterator[None]:
    """Run a server with its children until the end of the block, which begins when it answers.

    Args:
        command: A module of Python and its arguments.
        health: URL that answers once it is up.
        environment: Added to this process's.
        log: File for what it says.
    """
    with log.open("w") as said:
        server = subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=PROJECT_DIR,
            env={**os.environ, **environment},
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + START_S
        while not _answers(health):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)
        yield
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait(timeout=START_S)


def _answers(url: str) -> bool:
    try:
        return ASK.get(url).is_success
    except httpx.TransportError:
        return False

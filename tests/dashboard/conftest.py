"""The dashboard as a visitor sees it, over a warehouse of its own for each test."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import streamlit as st
from streamlit import config
from streamlit.testing.v1 import AppTest

from fraudit_dagster.settings import PROJECT_DIR
from tests.warehouse.conftest import Place, migrated, new_place, place

__all__ = ["migrated", "new_place", "place"]

Visit = Callable[..., AppTest]
APP = PROJECT_DIR / "dashboard" / "app.py"
PATIENCE_S = 60


@pytest.fixture
def listens_on() -> Iterator[Callable[[str], None]]:
    """Has the dashboard listen on another address than this machine's own."""
    before = config.get_option("server.address")

    def listen(address: str) -> None:
        config.set_option("server.address", address)

    listen("127.0.0.1")
    yield listen
    config.set_option("server.address", before)


@pytest.fixture
def visit(place: Place, listens_on: Callable[[str], None]) -> Visit:  # noqa: ARG001 - both are what it stands on
    """Opens a page by the name of its module, with filters as in its URL. Nothing is kept from an earlier visit."""

    def open_page(
        page: str = "traffic",
        *,
        secrets: dict[str, Any] | None = None,
        user: dict[str, Any] | None = None,
        **filters: str,
    ) -> AppTest:
        st.cache_data.clear()
        st.cache_resource.clear()
        test = AppTest.from_file(str(APP), default_timeout=PATIENCE_S)
        test.secrets, test.user = secrets or {}, user or {}
        test.query_params.update(filters)
        test.run()
        return test if page == "traffic" else test.switch_page(f"views/{page}.py").run()

    return open_page


def metrics(page: AppTest) -> dict[str, str]:
    """The numbers of a page by their label."""
    return {metric.label: metric.value for metric in page.metric}


def told(page: AppTest) -> str:
    """What a page says beside its figures."""
    return "\n".join(element.value for kind in (page.error, page.info, page.warning, page.success) for element in kind)

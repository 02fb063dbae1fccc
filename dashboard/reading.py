"""Where the figures come from: the warehouse by its reader role, the serving manifest, the prediction API.

Belongs here: clients, and for how long an answer is kept. Does not: any statement (``queries/``), what is shown (``views/``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import streamlit as st

from fraudit_dagster.settings import load_settings
from resources.aws import AwsError
from resources.deployment import build_warehouse
from resources.secrets import Secrets
from resources.warehouse import Warehouse, WarehouseError

QUERIES = Path(__file__).with_name("queries")
KEPT_S = 5
"""For how long an answer serves all visitors."""
CONNECT_S = 3


@st.cache_resource(show_spinner=False)
def warehouse() -> Warehouse:
    """Return the warehouse as its reader, whose role bounds each statement to 15 s and to reading."""
    settings = load_settings()
    return build_warehouse(settings, Secrets(region=settings.aws_region), role="reader", connect_timeout_s=CONNECT_S)


@st.cache_data(ttl=KEPT_S, max_entries=500, show_spinner="Reading the warehouse …")
def rows(query: str, **parameters: Any) -> list[dict[str, Any]]:
    """Return what a statement of ``queries/`` finds.

    Raises:
        WarehouseError: The database could not be reached, or the statement took too long.
        AwsError: The reader's secret could not be read.
    """
    return warehouse().query((QUERIES / f"{query}.sql").read_text(), parameters)


FAILURES = (WarehouseError, AwsError)
"""Of ``rows``."""


@contextmanager
def failures_told() -> Iterator[None]:
    """Say in words what could not be read, in place of what the block would have shown."""
    try:
        yield
    except FAILURES as error:
        st.error(
            f"The warehouse cannot be read: {error}\n\nThe page tries again when you reload it. `make status` says what lives.",
            icon=":material/cloud_off:",
        )

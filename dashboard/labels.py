"""An analyst's word on a transaction, sent to the prediction API.

Belongs here: sending it. Does not: storing it; that is the stream's, a second or two later.
"""

import asyncio
from datetime import UTC, datetime

import streamlit as st

from fraudit_dagster.settings import load_settings
from resources.prediction_api import Acceptance, PredictionApi

TIMEOUT_S, ATTEMPTS, THROTTLED_S = 5, 2, 5


@st.cache_resource(show_spinner=False)
def prediction_api() -> PredictionApi:
    """Return the API, asked for no longer than a person waits."""
    settings = load_settings()
    key = settings.fraudit_api_key
    return PredictionApi(
        url=settings.chalice_api_url,
        api_key=key.get_secret_value() if key else "",
        timeout_s=TIMEOUT_S,
        attempts=ATTEMPTS,
        throttled_s=THROTTLED_S,
    )


def send(transaction_id: str, label: int) -> Acceptance:
    """Tell the API what an analyst found: 1 for fraud, 0 for none.

    Raises:
        PredictionApiError: The API refused it, failed, or could not be reached; the label is not on its way.
    """
    body = {
        "transaction_id": transaction_id,
        "label": label,
        "source": "analyst",
        "labelled_at": datetime.now(UTC).isoformat(),
    }

    async def ask() -> Acceptance:
        async with prediction_api().connected() as connection:
            return await connection.feedback(body)

    return asyncio.run(ask())

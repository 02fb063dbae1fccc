"""An analyst's word on a transaction, sent to the prediction API.

Belongs here: sending it. Does not: storing it; that is the stream's, a second or two later.
"""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import streamlit as st

from fraudit_dagster.settings import load_settings
from resources.prediction_api import Acceptance, PredictionApi

TIMEOUT_S, ATTEMPTS, THROTTLED_S = 5, 2, 5


@dataclass(frozen=True, slots=True)
class Word:
    """What an analyst said of a transaction, and when: of two, the later one counts."""

    label: int
    at: datetime

    @classmethod
    def now(cls, label: int) -> Self:
        """Say it now, to the millisecond: as exactly as events tell it, so that what is stored is not taken for an earlier word."""
        now = datetime.now(UTC)
        return cls(label, now.replace(microsecond=now.microsecond // 1000 * 1000))


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


def send(transaction_id: str, word: Word) -> Acceptance:
    """Tell the API what an analyst found: 1 for fraud, 0 for none.

    Raises:
        PredictionApiError: The API refused it, failed, or could not be reached; the label is not on its way.
    """
    body = {
        "transaction_id": transaction_id,
        "label": word.label,
        "source": "analyst",
        "labelled_at": word.at.isoformat(),
    }

    async def ask() -> Acceptance:
        async with prediction_api().connected() as connection:
            return await connection.feedback(body)

    return asyncio.run(ask())

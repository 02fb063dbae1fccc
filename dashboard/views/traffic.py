"""What happens now: how many transactions there are, what was decided, how long it took."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import lines, stacked
from dashboard.filters import Filters, current
from dashboard.reading import failures_told, rows

REFRESH = "10s"
NOTHING = "No transactions in this range. Choose a longer one, or send some: `make data.generate EVENTS=2000 RATE=40`."


@st.fragment(run_every=REFRESH)
def show() -> None:
    """Show the page, and again every few seconds."""
    filters = current()
    st.caption(f"{filters}. By the time of the transaction; renewed every {REFRESH}.")
    with failures_told():
        counted = pd.DataFrame(rows("traffic", **filters.parameters()))
        if counted.empty:
            st.info(NOTHING, icon=":material/hourglass_empty:")
            return
        counted["approved"] = counted["transactions"] - counted["reviewed"] - counted["blocked"]
        _totals(counted, filters)
        _over_time(counted, filters)
        _speed(filters)
        _places(counted)
        _flagged(filters)


def _totals(counted: pd.DataFrame, filters: Filters) -> None:
    total = counted[["transactions", "amount", "reviewed", "blocked"]].sum()
    minutes = (filters.end - filters.start).total_seconds() / 60
    with st.container(horizontal=True):
        st.metric("Transactions", f"{total['transactions']:,.0f}", border=True)
        st.metric("Per minute", f"{total['transactions'] / minutes:,.1f}", border=True)
        st.metric("Amount", f"{total['amount']:,.0f}", border=True)
        st.metric("To review", f"{total['reviewed']:,.0f}", border=True)
        st.metric("Blocked", f"{total['blocked']:,.0f}", border=True)
        flagged = (total["reviewed"] + total["blocked"]) / total["transactions"]
        st.metric("Flagged", f"{flagged:.2%}", border=True)


def _over_time(counted: pd.DataFrame, filters: Filters) -> None:
    by_time = counted.groupby("at", as_index=False)[["approved", "reviewed", "blocked", "amount"]].sum()
    left, right = st.columns(2)
    with left:
        st.subheader("Decisions over time")
        st.altair_chart(stacked(by_time, ["approved", "reviewed", "blocked"], title="transactions", step=filters.step))
    with right:
        st.subheader("Flagged over time")
        st.altair_chart(stacked(by_time, ["reviewed", "blocked"], title="transactions", step=filters.step))
    st.subheader("Amount over time")
    st.altair_chart(lines(by_time, ["amount"], title="amount"))


def _speed(filters: Filters) -> None:
    speed = pd.DataFrame(rows("speed", **filters.parameters()))
    if speed.empty:
        return
    parts = {"latency": "Answer of the API", "delay": "From answer to row"}
    for column, (part, title) in zip(st.columns(2), parts.items(), strict=True):
        named = speed.rename(columns={f"{part}_p50_ms": "median", f"{part}_p95_ms": "95 of 100"})
        with column:
            st.subheader(title)
            st.altair_chart(lines(named, ["median", "95 of 100"], title="ms"))
    st.caption("Of at most 500 transactions per point.")


def _places(counted: pd.DataFrame) -> None:
    for column, label in zip(st.columns(2), ("source", "country"), strict=True):
        table = counted.groupby(label)[["transactions", "amount", "reviewed", "blocked"]].sum()
        table["flagged"] = (table["reviewed"] + table["blocked"]) / table["transactions"]
        with column:
            st.subheader(f"By {label}")
            st.dataframe(
                table.sort_values("transactions", ascending=False),
                column_config={
                    "transactions": st.column_config.NumberColumn(format="localized"),
                    "amount": st.column_config.NumberColumn(format="localized", step=1),
                    "flagged": st.column_config.NumberColumn(format="percent"),
                },
            )


def _flagged(filters: Filters) -> None:
    st.subheader("Newest flagged")
    flagged = pd.DataFrame(rows("flagged", **filters.parameters()))
    if flagged.empty:
        st.info("Nothing was flagged in this range.", icon=":material/check:")
        return
    st.dataframe(flagged, hide_index=True, column_config=SCORES)


SCORES: dict[str, Any] = {
    "occurred_at": st.column_config.DatetimeColumn("occurred at (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC"),
    "amount": st.column_config.NumberColumn(format="%.2f"),
    "fraud_proba": st.column_config.NumberColumn("fraud probability", format="%.4f"),
    "anomaly_score": st.column_config.NumberColumn("anomaly score", format="%.2f"),
    "transaction_id": "transaction",
}

show()

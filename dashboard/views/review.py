"""Flagged transactions that wait for a person: why they were flagged, and the buttons to say what they are."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.filters import current
from dashboard.labels import send
from dashboard.reading import failures_told, rows
from resources.prediction_api import PredictionApiError

REFRESH = "5s"
VERDICTS = {1: "fraud", 0: "not fraud"}


def show() -> None:
    """Show the page."""
    st.caption(f"{current()}. This page shows personal data: customer and city.")
    st.session_state.setdefault("sent", {})
    _outcome()
    _numbers()
    waiting = [row for row in rows("queue", **current().parameters()) if row["transaction_id"] not in _sent()]
    if not waiting:
        st.info(
            "Nothing waits for a review in this range. Choose a longer one, or send transactions: `make data.generate`.",
            icon=":material/check:",
        )
        return
    by_id = {row["transaction_id"]: row for row in waiting}
    chosen = st.selectbox(
        "Transaction (the newest 50 that wait)", list(by_id), format_func=lambda name: _line(by_id[name])
    )
    _details(by_id[chosen])


def _sent() -> dict[str, int]:
    """Return the labels that this visitor gave, by transaction: what was given is neither shown nor sent again."""
    sent: dict[str, int] = st.session_state["sent"]
    return sent


def _mark(transaction_id: str, label: int) -> None:
    """Send a label, before the page is drawn again."""
    if transaction_id in _sent():
        return
    try:
        acceptance = send(transaction_id, label)
    except PredictionApiError as error:
        st.session_state["outcome"] = f"`{transaction_id}` is not marked: {error}"
        return
    _sent()[transaction_id] = label
    late = " It arrives later: the event stream did not take it, and it was kept." if acceptance.degraded else ""
    st.session_state["outcome"] = f"`{transaction_id}` is marked as {VERDICTS[label]}.{late}"
    st.session_state["is_marked"] = True


def _outcome() -> None:
    outcome = st.session_state.pop("outcome", None)
    is_marked = st.session_state.pop("is_marked", False)
    if outcome is None:
        return
    if is_marked:
        st.success(outcome, icon=":material/check:")
    else:
        st.error(outcome, icon=":material/error:")


@st.fragment(run_every=REFRESH)
def _numbers() -> None:
    """Show how many wait and what was found; what this visitor has just said counts at once."""
    with failures_told():
        sent = _sent()
        (row,) = rows("reviewed", **current().parameters(), sent=sorted(sent))
        labels = [sent[name] for name in row["on_their_way"]]
        with st.container(horizontal=True):
            st.metric("Waiting", f"{row['waiting'] - len(labels):,}", border=True)
            st.metric("Amount waiting", f"{row['waiting_amount']:,.0f}", border=True)
            st.metric("Found to be fraud", f"{row['frauds'] + labels.count(1):,}", border=True)
            st.metric("Found to be good", f"{row['good'] + labels.count(0):,}", border=True)
        if labels:
            st.caption(f"{len(labels)} of them on their way to the warehouse.")


def _line(row: dict[str, Any]) -> str:
    proba = "no score" if row["fraud_proba"] is None else f"{row['fraud_proba']:.3f}"
    return (
        f"{row['occurred_at']:%d %b %H:%M:%S} · {row['decision']} · {row['amount']:,.2f} · {proba} · {row['country']}"
    )


def _details(row: dict[str, Any]) -> None:
    left, right = st.columns([2, 3])
    with left:
        facts = {
            "transaction": row["transaction_id"],
            "occurred at": f"{row['occurred_at']:%Y-%m-%d %H:%M:%S} UTC",
            "decision": row["decision"],
            "amount": f"{row['amount']:,.2f}",
            "fraud probability": _number(row["fraud_proba"]),
            "anomaly score": _number(row["anomaly_score"]),
            "customer": row["user_id"],
            "city": f"{row['city'] or 'unknown'}, {row['country']}",
            "source": " · ".join(filter(None, (row["source"], row["device_type"]))),
            "model version": row["classifier_version"] or "none",
            "without": ", ".join(row["degraded"]) or "nothing was missing",
            "others say": row["said"] or "nothing yet",
        }
        st.dataframe(pd.Series(facts, name="value"), column_config={"_index": "fact"}, height="content")
    with right:
        st.subheader("Why it was flagged")
        _reasons(row["reasons"])
        st.subheader("What is it?")
        with st.container(horizontal=True):
            for label, verdict in VERDICTS.items():
                st.button(
                    verdict.capitalize(),
                    key=f"{row['transaction_id']} is {verdict}",
                    type="primary" if label else "secondary",
                    on_click=_mark,
                    args=(row["transaction_id"], label),
                )


def _reasons(reasons: list[dict[str, Any]]) -> None:
    if not reasons:
        st.write("The models gave no reasons: it was flagged for its anomaly, or a model did not answer.")
        return
    heaviest = max(abs(reason["weight"]) for reason in reasons)
    st.dataframe(
        pd.DataFrame(reasons, columns=["feature", "value", "weight"]),
        hide_index=True,
        column_config={
            "feature": "input",
            "value": st.column_config.NumberColumn(format="%.3f"),
            "weight": st.column_config.ProgressColumn(
                "raised the probability by", format="%.3f", min_value=0, max_value=heaviest
            ),
        },
    )


def _number(value: float | None) -> str:
    return "the model did not answer" if value is None else f"{value:.4f}"


show()

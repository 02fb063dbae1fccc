"""Flagged transactions that wait for a person: why they were flagged, and the buttons to say what they are, or to correct that."""

from collections import Counter
from typing import Any

import pandas as pd
import streamlit as st

from dashboard.filters import current
from dashboard.labels import Word, send
from dashboard.reading import failures_told, rows
from resources.prediction_api import PredictionApiError

REFRESH = "5s"
VERDICTS = {1: "fraud", 0: "not fraud"}
WAITING, JUDGED = "Waiting", "Judged"
EMPTY = {
    WAITING: "Nothing waits for a review in this range. Choose a longer one, or send transactions: `make data.generate`.",
    JUDGED: "No analyst has judged a transaction of this range.",
}


def show() -> None:
    """Show the page."""
    st.caption(f"{current()}. This page shows personal data: customer and city.")
    st.session_state.setdefault("sent", {})
    _outcome()
    _numbers()
    which = str(st.radio("Transactions", list(EMPTY), horizontal=True, key="which"))
    found = rows("queue", **current().parameters(), judged=which == JUDGED)
    by_id = {row["transaction_id"]: row for row in found if which == JUDGED or row["transaction_id"] not in _sent()}
    if not by_id:
        st.info(EMPTY[which], icon=":material/check:")
        return
    chosen = st.selectbox("The newest 50", list(by_id), format_func=lambda name: _line(by_id[name]))
    _details(by_id[chosen])


def _sent() -> dict[str, Word]:
    """Return what this visitor said, by transaction: it counts before it is stored."""
    sent: dict[str, Word] = st.session_state["sent"]
    return sent


def _mark(transaction_id: str, label: int) -> None:
    """Send a label, before the page is drawn again; the same word of the same visitor only once."""
    said = _sent().get(transaction_id)
    if said is not None and said.label == label:
        return
    word = Word.now(label)
    try:
        acceptance = send(transaction_id, word)
    except PredictionApiError as error:
        st.session_state["outcome"] = f"`{transaction_id}` is not marked: {error}"
        return
    _sent()[transaction_id] = word
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
        times = [word.at for word in sent.values()]
        (row,) = rows("reviewed", **current().parameters(), sent=list(sent), sent_at=times)
        counted = Counter({None: row["waiting"], 1: row["frauds"], 0: row["good"]})
        for name, stored in row["on_their_way"].items():
            counted[stored] -= 1
            counted[sent[name].label] += 1
        with st.container(horizontal=True):
            st.metric("Waiting", f"{counted[None]:,}", border=True)
            st.metric("Amount waiting", f"{row['waiting_amount']:,.0f}", border=True)
            st.metric("Found to be fraud", f"{counted[1]:,}", border=True)
            st.metric("Found to be good", f"{counted[0]:,}", border=True)
        if row["on_their_way"]:
            st.caption(f"{len(row['on_their_way'])} of them on their way to the warehouse.")


def _line(row: dict[str, Any]) -> str:
    proba = "no score" if row["fraud_proba"] is None else f"{row['fraud_proba']:.3f}"
    return (
        f"{row['occurred_at']:%d %b %H:%M:%S} · {row['decision']} · {row['amount']:,.2f} · {proba} · {row['country']}"
    )


def _verdict(row: dict[str, Any]) -> int | None:
    """Return what an analyst says of a transaction: this visitor, where no later word is stored."""
    said = _sent().get(row["transaction_id"])
    if said is not None and (row["judged_at"] is None or said.at > row["judged_at"]):
        return said.label
    label: int | None = row["judged"]
    return label


def _details(row: dict[str, Any]) -> None:
    verdict = _verdict(row)
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
            "an analyst says": "nothing yet" if verdict is None else VERDICTS[verdict],
        }
        st.dataframe(pd.Series(facts, name="value"), column_config={"_index": "fact"}, height="content")
    with right:
        st.subheader("Why it was flagged")
        _reasons(row["reasons"])
        st.subheader("What is it?" if verdict is None else "Was that wrong?")
        with st.container(horizontal=True):
            for label, name in VERDICTS.items():
                st.button(
                    name.capitalize(),
                    key=f"{row['transaction_id']} is {name}",
                    type="primary" if label else "secondary",
                    disabled=label == verdict,
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

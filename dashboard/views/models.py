"""How good the models are: what serves, where its thresholds lie, what decisions were worth, and whether the inputs have changed."""

from typing import Any

import pandas as pd
import streamlit as st

from dashboard.charts import costs, heat_map, lines, scores
from dashboard.filters import current
from dashboard.manifests import cost_curve, served
from dashboard.reading import failures_told, rows
from fraudit_dagster.drift import KS_LIMIT, PSI_LIMIT, drifted
from fraudit_dagster.manifest import ManifestError
from resources.storage import StorageError

MEASURES = {
    "recall": "recall",
    "precision": "precision",
    "average_precision": "average precision",
    "amount_saved": "amount saved",
    "amount_lost": "amount lost",
}


def show() -> None:
    """Show the page."""
    filters = current()
    st.caption(f"{filters}. Performance and drift are by whole days, of all sources and countries.")
    serving = _versions()
    thresholds = {name: serving["policy"][f"{name}_at"] for name in ("review", "block") if serving}
    if serving:
        _costs(serving, thresholds)
    with failures_told():
        _scores(thresholds)
        _performance()
        _drift()


def _versions() -> dict[str, Any]:
    """Show what serves and what has, and return the manifest that serves; empty where none does."""
    st.subheader("What serves")
    try:
        manifests = served()
    except (ManifestError, StorageError) as error:
        st.error(f"The serving manifest cannot be read: {error}", icon=":material/cloud_off:")
        return {}
    if not manifests:
        st.info("Nothing serves yet: `fraudit graph bootstrap` trains and deploys.", icon=":material/hourglass_empty:")
        return {}
    table = pd.DataFrame([_version(document) for document in manifests])
    st.dataframe(table, hide_index=True)
    st.caption("The first row serves; `fraudit graph rollback` goes back to the second.")
    return manifests[0]


def _version(document: dict[str, Any]) -> dict[str, Any]:
    policy = document["policy"]
    return {
        "manifest": document["manifest_version"],
        "contract": document["contract"]["name"],
        "classifier": document["fraud_classifier"]["model_version"],
        "detector": document["anomaly_detector"]["model_version"],
        "review at": policy["review_at"],
        "block at": policy["block_at"],
        "anomaly review at": policy["anomaly_review_at"],
        "without a model": policy["when_degraded"],
        "code": document["lineage"].get("code_version"),
    }


def _costs(serving: dict[str, Any], thresholds: dict[str, float]) -> None:
    st.subheader("What thresholds cost")
    try:
        curve = cost_curve(serving["fraud_classifier"]["model_version"], serving["anomaly_detector"]["model_version"])
    except StorageError as error:
        st.error(f"The evaluation cannot be read: {error}", icon=":material/cloud_off:")
        return
    if curve is None:
        st.info("The evaluation of what serves has no cost curve.", icon=":material/hourglass_empty:")
        return
    st.altair_chart(costs(curve, thresholds))
    st.caption(
        "On the validation part of the evaluation. A line is one threshold alone, wherever it lies; the dashed ones were chosen."
    )


def _scores(thresholds: dict[str, float]) -> None:
    st.subheader("Scores and thresholds")
    counted = pd.DataFrame(rows("scores", **current().parameters()))
    if counted.empty:
        st.info(
            "No scored transactions in this range: `make data.generate` sends some.", icon=":material/hourglass_empty:"
        )
        return
    st.altair_chart(scores(counted, thresholds))
    st.caption("Of the newest 50,000 transactions of the range. The lines are the thresholds of what serves now.")


def _performance() -> None:
    st.subheader("What decisions were worth")
    found = pd.DataFrame(rows("performance", **current().parameters()))
    if found.empty:
        st.info(
            "No performance in this range: the job `daily` computes it after each day, from the labels.",
            icon=":material/hourglass_empty:",
        )
        return
    measure = st.segmented_control("Measure", list(MEASURES), default="recall", format_func=MEASURES.__getitem__)
    measure = measure or "recall"
    found["at"] = pd.to_datetime(found["day"], utc=True)
    found["line"] = found["label_age_days"].map(lambda age: f"{age} days later")
    if len(set(found["classifier_version"])) > 1:
        found["line"] = "version " + found["classifier_version"] + ", " + found["line"]
    wide = found.pivot_table(index="at", columns="line", values=measure, sort=False).reset_index()
    if wide.empty:
        st.info(f"No labels tell the {MEASURES[measure]} yet.", icon=":material/hourglass_empty:")
    else:
        st.altair_chart(lines(wide, [name for name in wide.columns if name != "at"], title=MEASURES[measure]))
    st.caption("Labels come late: a line for how many days after the transaction they were known.")
    newest = found.sort_values(["day", "label_age_days"], ascending=False).drop(columns=["at", "line"])
    newest["labelled"] = newest["labelled"] / newest["transactions"].clip(lower=1)
    percent = st.column_config.NumberColumn(format="percent")
    whole = st.column_config.NumberColumn(format="localized", step=1)
    st.dataframe(
        newest,
        hide_index=True,
        column_config={
            **dict.fromkeys(("labelled", "precision", "recall", "average_precision"), percent),
            **dict.fromkeys(("transactions", "amount_saved", "amount_lost"), whole),
        },
    )


def _drift() -> None:
    st.subheader("Drift of inputs and scores")
    found = rows("drift", **current().parameters())
    if not found:
        st.info(
            "No drift in this range: the job `daily` computes it after each day.", icon=":material/hourglass_empty:"
        )
        return
    last = max(row["day"] for row in found)
    moved = drifted(row for row in found if row["day"] == last)
    if moved:
        st.warning(f"On {last}: {', '.join(moved)} have drifted.", icon=":material/warning:")
    else:
        st.success(f"On {last} nothing had drifted.", icon=":material/check:")
    st.altair_chart(heat_map(pd.DataFrame(found), limit=PSI_LIMIT))
    st.caption(
        f"Population stability index against training; from {PSI_LIMIT} on, or a Kolmogorov-Smirnov distance from {KS_LIMIT} on, "
        "a distribution has changed."
    )


show()

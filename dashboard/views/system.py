"""Whether everything lives: the signals of the monitors, and what the stream stores and cannot."""

import pandas as pd
import streamlit as st

from dashboard.charts import lines
from dashboard.filters import current
from dashboard.reading import failures_told, rows
from dashboard.signals import findings
from fraudit_dagster.monitoring import Finding, Verdict
from fraudit_dagster.settings import load_settings

REFRESH = "15s"
MARKS = {
    Verdict.GOOD: ":green[:material/check_circle:]",
    Verdict.BAD: ":red[:material/error:]",
    Verdict.UNKNOWN: ":gray[:material/help:]",
}


@st.fragment(run_every=REFRESH)
def show() -> None:
    """Show the page, and again every few seconds."""
    st.caption(f"{current()}. By the time of storing, of all sources and countries; renewed every {REFRESH}.")
    st.subheader("Signals")
    found = findings()
    for column, (name, finding) in zip(st.columns(len(found)), found.items(), strict=True):
        with column:
            _finding(name, finding)
    url = load_settings().dagster_url
    st.caption(f"As the monitors of [Dagster]({url}) see them, which alert and have the stream job repaired.")
    with failures_told():
        _stream()
        _quarantine()


def _finding(name: str, finding: Finding) -> None:
    with st.container(border=True):
        st.markdown(f"**{name}**")
        for signal in finding.signals:
            st.markdown(f"{MARKS[signal.verdict]} {signal.name.replace('_', ' ')}")
            st.text(signal.says)


def _stream() -> None:
    st.subheader("Stream")
    batches = pd.DataFrame(rows("batches", **_stretch()))
    if batches.empty:
        st.info(
            "The stream stored nothing in this range. `fraudit stream start` starts it, `make data.generate` sends events.",
            icon=":material/hourglass_empty:",
        )
        return
    total = batches.drop(columns=["at", "lag_s"]).astype(int).sum()
    with st.container(horizontal=True):
        st.metric("Batches", f"{total['batches']:,}", border=True)
        st.metric("Rows per batch", f"{total['records'] / total['batches']:,.1f}", border=True)
        st.metric("Transactions stored", f"{total['predictions']:,}", border=True)
        st.metric("Labels stored", f"{total['labels']:,}", border=True)
        st.metric("Duplicates", f"{total['duplicates']:,}", border=True)
        st.metric("Quarantined", f"{total['quarantined']:,}", border=True)
        st.metric("Longest lag", f"{batches['lag_s'].max():,.1f} s", border=True)
    left, right = st.columns(2)
    with left:
        st.subheader("Lag")
        st.altair_chart(lines(batches.rename(columns={"lag_s": "oldest event"}), ["oldest event"], title="seconds"))
    with right:
        st.subheader("Rows per batch")
        each = batches.assign(records=batches["records"].astype(float) / batches["batches"])
        st.altair_chart(lines(each, ["records"], title="rows per batch"))


def _quarantine() -> None:
    st.subheader("Quarantine")
    found = pd.DataFrame(rows("quarantine", **_stretch()))
    if found.empty:
        st.success("No event was quarantined in this range.", icon=":material/check:")
        return
    st.dataframe(
        found,
        hide_index=True,
        column_config={
            "newest": st.column_config.DatetimeColumn("newest (UTC)", format="YYYY-MM-DD HH:mm:ss", timezone="UTC")
        },
    )
    st.caption("`fraudit replay quarantine` puts back what a newer version understands.")


def _stretch() -> dict[str, object]:
    filters = current()
    return {"start": filters.start, "end": filters.end, "step": filters.step}


show()

"""The signals of the monitors, looked at now: the same readings and limits by which Dagster's sensors judge and alert.

Belongs here: taking them for a page. Does not: readings (``resources/watch.py``) and verdicts (``fraudit_dagster/monitoring.py``).
"""

from concurrent.futures import ThreadPoolExecutor

import streamlit as st

from fraudit_dagster.monitoring import Finding
from fraudit_dagster.settings import load_settings
from resources.deployment import build_watch
from resources.watch import Watch

KEPT_S = 10


@st.cache_resource(show_spinner=False)
def _watch() -> Watch:
    """Return clients that ask once, for a few seconds at most: what is dead does not hold up the page."""
    return build_watch(load_settings(), role="reader")


@st.cache_data(ttl=KEPT_S, show_spinner="Looking at the parts …")
def findings() -> dict[str, Finding]:
    """Return how each part was found, by its name; all are looked at at once."""
    watch = _watch()
    looks = {"API": watch.api, "Event stream": watch.stream, "Stream job": watch.job, "Table": watch.table}
    with ThreadPoolExecutor(len(looks)) as pool:
        futures = {name: pool.submit(look) for name, look in looks.items()}
        return {name: future.result() for name, future in futures.items()}

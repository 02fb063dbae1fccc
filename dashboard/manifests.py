"""What serves, and what has served before it.

Belongs here: reading the manifests. Does not: switching them (``assets/serving.py``).
"""

from typing import Any

import streamlit as st

from fraudit_dagster.settings import load_settings
from resources.manifests import Manifests
from resources.storage import Storage

KEPT_S, NEWEST = 30, 5


@st.cache_data(ttl=KEPT_S, show_spinner="Reading the manifests …")
def served() -> list[dict[str, Any]]:
    """Return the manifests that served last, the current one first; empty where nothing has.

    Raises:
        ManifestError: What is there is no manifest.
        StorageError: S3 could not be reached.
    """
    settings = load_settings()
    storage = Storage(
        region=settings.aws_region,
        data_bucket=settings.data_bucket,
        stream_bucket=settings.stream_bucket,
        model_bucket=settings.model_bucket,
        brief=True,
    )
    manifests = Manifests(storage=storage)
    current = manifests.current()
    if current is None:
        return []
    earlier = [version for version in manifests.history()[::-1] if version != current.version]
    return [current.document, *(manifests.read(version) for version in earlier[: NEWEST - 1])]

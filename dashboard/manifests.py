"""What serves, what has served before it, and what its evaluation knew.

Belongs here: reading the manifests and evaluations. Does not: switching or making them (``assets/``).
"""

import json
from typing import Any

import streamlit as st

from fraudit_dagster.manifest import evaluation_key
from fraudit_dagster.records import CostOfThreshold
from fraudit_dagster.settings import load_settings
from resources.deployment import build_storage
from resources.manifests import Manifests
from resources.storage import Storage, StorageError

KEPT_S, NEWEST = 30, 5


@st.cache_data(ttl=KEPT_S, show_spinner="Reading the manifests …")
def served() -> list[dict[str, Any]]:
    """Return the manifests that served last, the current one first; empty where nothing has.

    Raises:
        ManifestError: What is there is no manifest.
        StorageError: S3 could not be reached.
    """
    manifests = Manifests(storage=_storage())
    current = manifests.current()
    if current is None:
        return []
    earlier = [version for version in manifests.history()[::-1] if version != current.version]
    return [current.document, *(manifests.read(version) for version in earlier[: NEWEST - 1])]


@st.cache_data(ttl=KEPT_S, show_spinner="Reading the evaluation …")
def cost_curve(classifier: str, detector: str) -> CostOfThreshold | None:
    """Return what thresholds cost by the evaluation of two model versions, or None where it does not say so.

    Raises:
        StorageError: S3 could not be reached.
    """
    storage = _storage()
    key = evaluation_key(classifier=classifier, detector=detector)
    try:
        kept = json.loads(storage.read(f"s3://{storage.model_bucket}/{key}")).get("cost_curve")
    except StorageError as error:
        if error.code == "NoSuchKey":
            return None
        raise
    return CostOfThreshold.model_validate(kept) if kept else None


def _storage() -> Storage:
    return build_storage(load_settings(), brief=True)

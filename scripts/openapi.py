"""The OpenAPI document of the shipped contract, for readers and reviews: ``python -m scripts.openapi``.

Belongs here: where it is written. Does not: what it says (``api/chalicelib/openapi.py``); a running API answers
``GET /openapi.json`` with the document for the inputs that it serves.
"""

import json
import sys
from datetime import UTC, datetime
from pathlib import Path

from fraudit_dagster.contract import load_contract

API = Path(__file__).parents[1] / "api"
DOCUMENT = API / "chalicelib" / "openapi.json"
EXAMPLE_AT = datetime(2026, 11, 23, 10, tzinfo=UTC)


def text() -> str:
    """Return the document as it is written."""
    sys.path.insert(0, str(API))
    from chalicelib.openapi import document

    contract = load_contract()
    models = (contract.models.xgboost, contract.models.random_cut_forest)
    logarithmic = {feature.column for model in models for feature in model.features if feature.transform == "log1p"}
    content = document(contract.inputs, logarithmic=logarithmic, example_at=EXAMPLE_AT)
    return json.dumps(content, indent=2) + "\n"


def main() -> None:
    """Write the document."""
    DOCUMENT.write_text(text())


if __name__ == "__main__":
    main()

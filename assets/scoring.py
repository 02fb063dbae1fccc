"""Scores of a part's rows, asked through endpoints a batch at a time.

Belongs here: reading parts, asking endpoints, what is kept of a row. Does not: judging the scores (``assets/evaluation.py``).
"""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fraudit_dagster.contract import Contract, ModelSpec
from fraudit_dagster.records import Algorithm, Part, ServedModel
from resources.sagemaker import SageMaker
from resources.storage import Storage

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd

GOLDEN_ROWS = 8
BATCH_ROWS = 65_536
"""Rows whose features are in memory at a time; of all others only label, weight, amount and scores are."""


@dataclass(frozen=True, slots=True)
class Scorer:
    """An endpoint, and what it is asked with."""

    endpoint: str
    spec: ModelSpec


@dataclass(frozen=True, slots=True)
class Scored:
    """What is kept of a part: (rows,) arrays, and the scores by algorithm."""

    label: "np.ndarray"
    weight: "np.ndarray"
    amount: "np.ndarray"
    scores: dict[Algorithm, "np.ndarray"]


def read_part(part: Part, storage: Storage, folder: Path) -> "pd.DataFrame":
    """Return the table of a part, with all columns of the contract."""
    import pyarrow.dataset as ds

    storage.download_folder(part.uri, folder)
    table: pd.DataFrame = ds.dataset(folder, format="parquet").to_table().to_pandas()
    return table


def scorers_of(candidates: Mapping[Algorithm, ServedModel], contract: Contract) -> dict[Algorithm, Scorer]:
    """Return how candidates are asked: with the features that the contract gives each model."""
    specs: dict[Algorithm, ModelSpec] = {
        "xgboost": contract.models.xgboost,
        "random_cut_forest": contract.models.random_cut_forest,
    }
    return {name: Scorer(candidates[name].endpoint, spec) for name, spec in specs.items()}


def score_part(folder: Path, contract: Contract, scorers: Mapping[Algorithm, Scorer], sagemaker: SageMaker) -> Scored:
    """Ask endpoints about every row of a part, a batch at a time."""
    import numpy as np

    from fraudit_dagster.tables import row_weights

    kept: dict[str, list[np.ndarray]] = {name: [] for name in ("label", "weight", "amount", *scorers)}
    for batch in _batches(folder, contract):
        kept["label"].append(batch[contract.label].to_numpy(dtype=np.int8))
        kept["weight"].append(row_weights(batch, contract))
        kept["amount"].append(batch[contract.amount].to_numpy(dtype=np.float64))
        for name, values in _ask(batch, scorers, sagemaker).items():
            kept[name].append(values)
    whole = {name: np.concatenate(values) for name, values in kept.items()}
    return Scored(whole["label"], whole["weight"], whole["amount"], {name: whole[name] for name in scorers})


def golden_rows(folder: Path, contract: Contract, proba: "np.ndarray", anomaly: "np.ndarray") -> list[dict[str, Any]]:
    """Return rows spread over the range of the classifier's score, each with the answers of now."""
    import numpy as np
    import pyarrow.dataset as ds

    order = np.argsort(proba, kind="stable")
    picked = order[np.linspace(0, len(order) - 1, min(GOLDEN_ROWS, len(order))).round().astype(int)]
    table = ds.dataset(folder, format="parquet").take(picked, columns=list(contract.inputs))
    rows = table.to_pandas()[list(contract.inputs)].to_numpy(dtype=np.float64)
    return [
        {
            "data": ",".join(repr(float(cell)) for cell in row),
            "pred_proba": float(proba[index]),
            "score": float(anomaly[index]),
        }
        for index, row in zip(picked, rows, strict=True)
    ]


def _batches(folder: Path, contract: Contract) -> Iterator["pd.DataFrame"]:
    """Yield a part's rows in their order, with the columns that are used."""
    import pyarrow.dataset as ds

    table = ds.dataset(folder, format="parquet")
    wanted = dict.fromkeys([*contract.inputs, contract.label, contract.amount])
    if contract.weight is not None and contract.weight.column in table.schema.names:
        wanted[contract.weight.column] = None
    for batch in table.to_batches(columns=list(wanted), batch_size=BATCH_ROWS, batch_readahead=1, fragment_readahead=1):
        if batch.num_rows:
            yield batch.to_pandas()


def _ask(
    table: "pd.DataFrame", scorers: Mapping[Algorithm, Scorer], sagemaker: SageMaker
) -> dict[Algorithm, "np.ndarray"]:
    with ThreadPoolExecutor(len(scorers)) as pool:
        answers = {
            name: pool.submit(sagemaker.score, scorer.endpoint, scorer.spec.apply(table))
            for name, scorer in scorers.items()
        }
        return {name: answer.result() for name, answer in answers.items()}

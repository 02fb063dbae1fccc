"""The three daily tables of one day as a plain script makes them: read the day into pandas, group, compare; no table is written.

Belongs here: a peer of the daily assets, in a program of its own. Does not: anything of this project.

Usage: ``daily_pandas.py CONNECTION DAY PROFILES`` (libpq connection, UTC day, JSON with edges and shares by feature); prints JSON with
the seconds of each step, the peak memory in MiB, and figures that ours must agree with.
"""

import json
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import psycopg2
from sklearn.metrics import average_precision_score

if TYPE_CHECKING:
    from collections.abc import Callable

COLUMNS = "transaction_id, source, country, amount, decision, fraud_proba, anomaly_score, scored_at, stored_at, classifier_version"


def rows(connection: Any, statement: str, parameters: Any) -> pd.DataFrame:
    """Return a query's rows as a frame."""
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return pd.DataFrame(cursor.fetchall(), columns=[column.name for column in cursor.description])


def day_of(connection: Any, day: str, columns: str) -> pd.DataFrame:
    """Return columns of the transactions of a day."""
    statement = f"select {columns} from fraud.fraud_predictions where occurred_at >= %(day)s::date and occurred_at < %(day)s::date + 1"  # noqa: S608
    return rows(connection, statement, {"day": day})


def summary(connection: Any, day: str) -> float:
    """Group by source and country; return the amount of all."""
    frame = day_of(connection, day, COLUMNS)
    frame["amount"] = frame["amount"].astype(float)
    frame["delay_ms"] = (frame["stored_at"] - frame["scored_at"]).dt.total_seconds() * 1000
    frame["flagged"] = frame["decision"] != "approve"
    groups = frame.groupby(["source", "country"], dropna=False)
    table = groups.agg(
        transactions=("amount", "size"),
        amount=("amount", "sum"),
        flagged=("flagged", "sum"),
        mean_fraud_proba=("fraud_proba", "mean"),
        mean_anomaly_score=("anomaly_score", "mean"),
    )
    for decision in ("approve", "review", "block"):
        table[decision] = (
            (frame["decision"] == decision).groupby([frame["source"], frame["country"]], dropna=False).sum()
        )
    for share in (0.5, 0.95, 0.99):
        table[f"delay_{share}"] = groups["delay_ms"].quantile(share)
    return float(table["amount"].sum())


def performance(connection: Any, day: str, ages: list[int]) -> float:
    """Judge the day at each age of its labels; return the average precision at the last."""
    frame = day_of(connection, day, COLUMNS)
    labels = rows(
        connection,
        "select l.* from fraud.fraud_labels as l join fraud.fraud_predictions as p using (transaction_id) "
        "where p.occurred_at >= %(day)s::date and p.occurred_at < %(day)s::date + 1",
        {"day": day},
    )
    end = pd.Timestamp(day, tz="UTC") + pd.Timedelta(days=1)
    labels["rank"] = labels["source"].map({"customer": 0, "analyst": 1, "chargeback": 2})
    labels = labels.sort_values(["labelled_at", "rank"])
    found = 0.0
    for age in ages:
        known = labels[labels["labelled_at"] < end + pd.Timedelta(days=age)].drop_duplicates(
            "transaction_id", keep="last"
        )
        judged = frame.merge(known[["transaction_id", "label"]], on="transaction_id")
        flagged, fraud = judged["decision"] != "approve", judged["label"] == 1
        for chosen in (flagged & fraud, flagged & ~fraud, ~flagged & fraud):
            judged.loc[chosen, "amount"].astype(float).sum()
        scored = judged.dropna(subset=["fraud_proba"])
        if scored["label"].nunique() == 2:  # noqa: PLR2004 - both classes
            found = average_precision_score(scored["label"], scored["fraud_proba"])
    return float(found)


def drift(connection: Any, day: str, profiles: dict[str, dict[str, list[float]]]) -> float:
    """Compare each feature with its profile; return the sum of the Kolmogorov-Smirnov distances."""
    frame = day_of(connection, day, "features, fraud_proba, anomaly_score")
    features = np.array(frame["features"].tolist(), dtype=np.float64)
    scores = ("fraud_proba", "anomaly_score")
    names = [name for name in profiles if name not in scores]
    total = 0.0
    for name, profile in profiles.items():
        values = frame[name].to_numpy(np.float64) if name in scores else features[:, names.index(name)]
        counts, _ = np.histogram(values, bins=[-np.inf, *profile["edges"], np.inf])
        total += np.abs(np.cumsum(counts)[:-1] / len(values) - profile["below"]).max()
    return float(total)


def main() -> None:
    """Do all three and print what they took."""
    connection, day, path = sys.argv[1:]
    known = json.loads(Path(path).read_text())
    steps: dict[str, Callable[[Any], float]] = {
        "summary": lambda database: summary(database, day),
        "performance": lambda database: performance(database, day, known["ages"]),
        "drift": lambda database: drift(database, day, known["profiles"]),
    }
    seconds, figures = {}, {}
    for name, step in steps.items():
        with psycopg2.connect(connection, options="-c timezone=UTC") as database:
            begun = time.perf_counter()
            figures[name] = step(database)
            seconds[name] = time.perf_counter() - begun
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak_mib = int(found[1]) / 1024 if found else 0.0  # ru_maxrss would begin with the memory of the parent
    sys.stdout.write(json.dumps({"seconds": seconds, "figures": figures, "peak_mib": peak_mib}) + "\n")


if __name__ == "__main__":
    main()

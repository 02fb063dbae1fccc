"""The Random Cut Forest of localaws, beside krcf (Amazon's own, in Rust), rrcf and scikit-learn's IsolationForest.

Measured on 200,000 rows of 30 features, 100 trees of 256 rows: rows a second of fit and of batch score, how alike the scores are to
krcf's on the same rows (Spearman), and how our cost grows with the rows.

krcf scores row by row, so it gets fewer of them; rrcf scores some ten rows a second, so it gets a few dozen. A row costs each of them
the same however many there are. rrcf runs in the environment of ``benchmarks/requirements.lock``.
"""

import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from localaws.algorithms.forest import Forest
from numpy.typing import NDArray
from rich.progress import Progress

from benchmarks import data, servers
from benchmarks.measure import Series, growth_exponent, interleaved, spearman
from benchmarks.report import Figure, Goal, Report, Table

OURS, AMAZONS, RRCF, ISOLATION = "localaws", "krcf", "rrcf", "IsolationForest"
COLUMNS = (OURS, AMAZONS, RRCF, ISOLATION)
GROWTH = 4


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    repetitions: int = 5
    rows: int = 200_000
    krcf_rows: int = 10_000
    rrcf_rows: int = 30


QUICK = Sizes(repetitions=2, rows=8_000, krcf_rows=1_000, rrcf_rows=4)


@dataclass(frozen=True, slots=True)
class Timed:
    """One fit and one scoring: seconds, and the scores of the first rows of the table."""

    fit_s: float
    score_s: float
    scores: NDArray[np.float64]


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the forest."""
    sizes = QUICK if quick else Sizes()
    rows = data.table(sizes.rows, seed=2)
    threads = os.cpu_count() or 1
    ours(rows[:1_000], threads=threads)  # compiled before it is timed
    ours(rows[:1_000], threads=1)
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR) as folder:
        path = Path(folder) / "rows.npy"
        np.save(path, rows)
        scores: dict[str, NDArray[np.float64]] = {}

        def contender(name: str, measure: Callable[[], Timed]) -> Callable[[], dict[str, float]]:
            def measured() -> dict[str, float]:
                timed = measure()
                scores[name] = timed.scores
                return {"fit": len(rows) / timed.fit_s, "score": len(timed.scores) / timed.score_s}

            return measured

        contenders = {
            OURS: contender(OURS, lambda: ours(rows, threads=1)),
            "all cores": contender("all cores", lambda: ours(rows, threads=threads)),
            AMAZONS: contender(AMAZONS, lambda: amazons(rows, scored=sizes.krcf_rows)),
            RRCF: contender(RRCF, lambda: _rrcf(path, scored=sizes.rrcf_rows)),
            ISOLATION: contender(ISOLATION, lambda: isolation(rows)),
        }
        task = progress.add_task("Forest: fit and score", total=len(contenders) * sizes.repetitions)
        found = interleaved(contenders, repetitions=sizes.repetitions, advance=lambda: progress.advance(task))
    speed = [Figure("fit", "rows/s", {name: found[name]["fit"] for name in COLUMNS})]
    for words, key in (("one thread", OURS), (f"ours on {threads} threads", "all cores")):
        results = {OURS: found[key]["score"], **{name: found[name]["score"] for name in COLUMNS[1:]}}
        advantage = results[OURS].median / results[AMAZONS].median
        speed.append(
            Figure(f"batch score, {words}", "rows/s", results, goal=Goal("4 x krcf", advantage >= 4))  # noqa: PLR2004 - as it says
        )
    alike = {name: Series((_likeness(scores[name], scores[AMAZONS]),)) for name in (OURS, RRCF, ISOLATION)}
    speed.append(Figure("rank correlation with krcf's scores", "Spearman", alike, compared=False))
    notes = [
        (
            f"{sizes.rows:,} rows, {data.FEATURES} features, {data.TREES} trees of {data.SAMPLES} rows. Scored: all rows; by krcf "
            f"{sizes.krcf_rows:,}, by rrcf {sizes.rrcf_rows}, and so many are compared."
        ),
        "krcf streams: its fit passes every row to every tree's reservoir. The others draw their samples from the table first.",
        "rrcf and IsolationForest compute scores of their own kind (collusive displacement, depth), not Amazon's.",
    ]
    tables = [Table("fit and score", COLUMNS, speed, notes), _growth(rows, sizes, progress)]
    versions = {"rrcf": servers.peer_version("rrcf")}
    return Report("forest", "Random Cut Forest", ("localaws", "krcf", "scikit-learn", "numba"), tables, versions)


def ours(rows: NDArray[np.float32], *, threads: int) -> Timed:
    """Fit and score all rows by localaws."""
    started = time.perf_counter()
    forest = Forest.fit(rows, num_trees=data.TREES, num_samples_per_tree=data.SAMPLES, seed=0)
    fitted = time.perf_counter()
    scores = forest.score(rows, threads=threads)
    return Timed(fitted - started, time.perf_counter() - fitted, scores)


def amazons(rows: NDArray[np.float32], *, scored: int) -> Timed:
    """Fit all rows and score the first ones by krcf."""
    from krcf import RandomCutForest

    forest = RandomCutForest(
        {
            "dimensions": rows.shape[1],
            "shingle_size": 1,
            "num_trees": data.TREES,
            "sample_size": data.SAMPLES,
            "output_after": 1,
            "random_seed": 7,
        }
    )
    started = time.perf_counter()
    for row in rows:
        forest.update(row)
    fitted = time.perf_counter()
    scores = [forest.score(row) for row in rows[:scored]]
    return Timed(fitted - started, time.perf_counter() - fitted, np.asarray(scores))


def isolation(rows: NDArray[np.float32]) -> Timed:
    """Fit and score all rows by scikit-learn."""
    from sklearn.ensemble import IsolationForest

    forest = IsolationForest(n_estimators=data.TREES, max_samples=data.SAMPLES, random_state=0)
    started = time.perf_counter()
    forest.fit(rows)
    fitted = time.perf_counter()
    scores = -forest.score_samples(rows)
    return Timed(fitted - started, time.perf_counter() - fitted, scores)


def _rrcf(path: Path, *, scored: int) -> Timed:
    script = servers.PEERS_DIR / "rrcf_forest.py"
    options = ["--trees", str(data.TREES), "--samples", str(data.SAMPLES), "--score", str(scored)]
    answer = json.loads(servers.output([servers.PEERS_BIN / "python", "-W", "ignore", script, path, *options]))
    return Timed(answer["fit_s"], answer["score_s"], np.asarray(answer["scores"]))


def _likeness(scores: NDArray[np.float64], others: NDArray[np.float64]) -> float:
    """Return the rank correlation on the rows that both have scored."""
    count = min(len(scores), len(others))
    return spearman(scores[:count], others[:count])


def _growth(rows: NDArray[np.float32], sizes: Sizes, progress: Progress) -> Table:
    task = progress.add_task("Forest: growth", total=2 * sizes.repetitions)

    def contender(part: NDArray[np.float32]) -> Callable[[], dict[str, float]]:
        def measured() -> dict[str, float]:
            timed = ours(part, threads=1)
            return {"fit": timed.fit_s, "score": timed.score_s}

        return measured

    few = sizes.rows // GROWTH
    contenders = {"few": contender(rows[:few]), "all": contender(rows)}
    found = interleaved(contenders, repetitions=sizes.repetitions, advance=lambda: progress.advance(task))
    figures = []
    for what in ("fit", "score"):
        exponent = growth_exponent(found["few"][what], found["all"][what], factor=GROWTH)
        goal = Goal("about 1 or less (at most 1.2)", exponent.median <= 1.2)  # noqa: PLR2004 - as it says
        figures.append(Figure(f"growth of {what}", "exponent", {OURS: exponent}, higher_is_better=False, goal=goal))
    notes = [f"From {few:,} rows to {sizes.rows:,}. Exponent 1: twice the rows take twice as long."]
    return Table("growth", (OURS,), figures, notes)

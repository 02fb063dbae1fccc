"""rrcf as a peer: fit a forest to a table and score its first rows, ``python rrcf_forest.py ROWS.npy --score N``.

Runs in the environment of ``benchmarks/requirements.lock``. Prints JSON: seconds of both, and the scores. Fitted as its
documentation does for a batch: samples drawn without replacement, one tree of each; scored as for a stream: the row is put into each
tree, its collusive displacement (CoDisp) read, and taken out again.
"""

import argparse
import json
import time

import numpy as np
import rrcf


def main() -> None:
    """Fit and score."""
    parser = argparse.ArgumentParser(prog="rrcf_forest.py")
    parser.add_argument("rows")
    parser.add_argument("--trees", type=int, required=True)
    parser.add_argument("--samples", type=int, required=True)
    parser.add_argument("--score", type=int, required=True)
    arguments = parser.parse_args()
    rows = np.load(arguments.rows).astype(np.float64)
    generator = np.random.default_rng(0)
    started = time.perf_counter()
    drawn = [generator.choice(len(rows), size=arguments.samples, replace=False) for _ in range(arguments.trees)]
    trees = [rrcf.RCTree(rows[sample]) for sample in drawn]
    fitted = time.perf_counter()
    scores = [float(np.mean([_displacement(tree, row) for tree in trees])) for row in rows[: arguments.score]]
    done = time.perf_counter()
    print(json.dumps({"fit_s": fitted - started, "score_s": done - fitted, "scores": scores}))  # noqa: T201 - its answer


def _displacement(tree: rrcf.RCTree, row: "np.ndarray") -> float:
    tree.insert_point(row, index="scored")
    displacement = float(tree.codisp("scored"))
    tree.forget_point("scored")
    return displacement


if __name__ == "__main__":
    main()

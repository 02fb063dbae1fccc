"""Boosted trees scored by a compiled walk: a few rows in microseconds, bit for bit what the library answers.

Belongs here: the walk, the models it can score, and the proof at load that it does. Does not: training, files, requests.

The library's own prediction takes some 200 us for one row, nearly all of it around the trees. The walk reads what
``Booster.save_raw("json")`` documents (https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html) and does in
float32 and in the same order what the library does, so the two can take turns.
"""

import json
import logging
import math
from typing import TYPE_CHECKING, Any, NamedTuple, Self

import numba
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import xgboost as xgb

OBJECTIVE = "binary:logistic"
PROBE_ROWS = 256
LEAF = -1

_log = logging.getLogger(__name__)


class _UnsupportedError(Exception):
    """The walk cannot score the model; the message says why."""


class _Nodes(NamedTuple):
    """Nodes of all trees, one after the other: T trees, N nodes.

    Attributes:
        root: (T,) int32, index of a tree's first node.
        feature: (N,) int32, what a node tests.
        value: (N,) float32, rows with x[feature] < value go left; in a leaf, what it adds.
        left: (N,) int32, index of the left child, -1 in a leaf.
        right: (N,) int32, index of the right child.
        missing_left: (N,) bool, where a row goes whose feature is missing.
    """

    root: NDArray[np.int32]
    feature: NDArray[np.int32]
    value: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    missing_left: NDArray[np.bool_]


class CompiledTrees:
    """The trees of a ``binary:logistic`` model."""

    def __init__(self, nodes: _Nodes, base_score: np.float32) -> None:
        self._nodes = nodes
        self._base_score = base_score

    @classmethod
    def of(cls, booster: "xgb.Booster") -> Self | None:
        """Return a model's trees, or None, with the reason in the log, where only the library can score it.

        They are compared with the library on rows that lie on, just below and just above the trees' own thresholds, or
        miss values.
        """
        try:
            nodes, base_score = _read(json.loads(booster.save_raw("json"))["learner"])
        except _UnsupportedError as reason:
            _log.info("the trees are not compiled: %s", reason)
            return None
        trees = cls(nodes, base_score)
        rows = _probes(nodes, features=booster.num_features())
        if not np.array_equal(trees.score(rows), booster.inplace_predict(rows, missing=math.nan)):
            _log.warning("the trees are not compiled: they would score otherwise than the library")
            return None
        return trees

    @property
    def count(self) -> int:
        """Number of trees."""
        return len(self._nodes.root)

    def score(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the probability of each of (n, d) rows, (n,); a missing value is NaN."""
        scores = np.empty(len(rows), np.float32)
        _walk(rows, self._nodes, self._base_score, scores)
        return scores


def _read(learner: dict[str, Any]) -> tuple[_Nodes, np.float32]:
    """Read nodes and base score of a model's JSON, refusing what the walk would not score as the library does."""
    parameters, booster = learner["learner_model_param"], learner["gradient_booster"]
    if learner["objective"]["name"] != OBJECTIVE:
        raise _UnsupportedError(f"its objective is {learner['objective']['name']}")
    if booster["name"] != "gbtree" or parameters["num_target"] != "1":
        raise _UnsupportedError("it has another booster than gbtree, or several targets")
    trees = booster["model"]["trees"]
    if not trees or any(tree["categories_nodes"] for tree in trees):
        raise _UnsupportedError("it has no trees, or categorical splits")
    sizes = [len(tree["left_children"]) for tree in trees]
    root = np.cumsum([0, *sizes[:-1]], dtype=np.int32)

    def joined(member: str, kind: type) -> NDArray[Any]:
        return np.concatenate([np.asarray(tree[member], kind) for tree in trees])

    offset = np.repeat(root, sizes)
    left, right = joined("left_children", np.int32), joined("right_children", np.int32)
    inner = left != LEAF
    nodes = _Nodes(
        root=root,
        feature=joined("split_indices", np.int32),
        value=joined("split_conditions", np.float32),
        left=np.where(inner, left + offset, LEAF).astype(np.int32),
        right=np.where(inner, right + offset, LEAF).astype(np.int32),
        missing_left=joined("default_left", np.bool_),
    )
    # The walk checks no bounds: a child must come after its node and in the same tree, so that every walk ends.
    ends = (offset + np.repeat(sizes, sizes))[inner]
    own = np.arange(len(left))[inner]
    children = np.stack([nodes.left[inner], nodes.right[inner]])
    in_range = (nodes.feature[inner] >= 0) & (nodes.feature[inner] < int(parameters["num_feature"]))
    if not ((children > own).all() and (children < ends).all() and in_range.all()):
        raise _UnsupportedError("a node of it points outside of its tree, backwards, or to no feature")
    return nodes, np.float32(parameters["base_score"].strip("[]"))


def _probes(nodes: _Nodes, *, features: int) -> NDArray[np.float32]:
    """Return rows (PROBE_ROWS, d) at the edges of what the trees tell apart."""
    generator = np.random.default_rng(0)
    rows = np.empty((PROBE_ROWS, features), np.float32)
    inner = nodes.left != LEAF
    for feature in range(features):
        thresholds = nodes.value[inner & (nodes.feature == feature)]
        edges = [
            thresholds,
            np.nextafter(thresholds, np.float32(-np.inf)),
            np.nextafter(thresholds, np.float32(np.inf)),
        ]
        others = np.array([np.nan, 0, -1e30, 1e30], np.float32)
        rows[:, feature] = generator.choice(np.concatenate([*edges, others]), PROBE_ROWS)
        rows[generator.random(PROBE_ROWS) < 1 / len(others), feature] = np.nan
    return rows


@numba.njit(nogil=True, cache=True)
def _walk(rows: NDArray[np.float32], nodes: _Nodes, base_score: np.float32, scores: NDArray[np.float32]) -> None:
    """Write the probability of (n, d) rows to ``scores`` (n,): the sigmoid of the base margin plus a leaf of each tree."""
    root, feature, value, left, right, missing_left = nodes
    one = np.float32(1.0)
    base = np.float32(-math.log(one / base_score - one))
    for i in range(rows.shape[0]):
        margin = base
        for tree in range(root.shape[0]):
            node = root[tree]
            while left[node] >= 0:
                x = rows[i, feature[node]]
                goes_left = missing_left[node] if np.isnan(x) else x < value[node]
                node = left[node] if goes_left else right[node]
            margin += value[node]
        exponent = min(-margin, np.float32(88.7))
        scores[i] = one / (np.float32(math.exp(exponent)) + one + np.float32(1e-16))

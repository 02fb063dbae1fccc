"""Random Cut Forest: isolation by random cuts, scored as Amazon's own forest scores.

Belongs here: fitting, scoring, attribution and the artefact's format. Does not: files of a training job, HTTP.

The trees follow Guha, Mishra, Roy, Schrijvers, "Robust Random Cut Forest Based Anomaly Detection on Streams"
(ICML 2016): a node's cut dimension is drawn with probability proportional to its range, the cut uniformly in it.
Score and attribution follow ``AnomalyScoreVisitor`` and ``AnomalyAttributionVisitor`` of aws/random-cut-forest-by-aws,
against whose Rust edition the tests compare.

Every random number is drawn by NumPy before a compiled function runs, and rows are drawn from an order that their contents
give. So a seed and a set of rows give one forest, on any number of threads and however files and rows were ordered.
"""

import json
import math
import zipfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

import numba
import numpy as np
from numpy.typing import NDArray

FORMAT = "localaws-random-cut-forest"
FORMAT_VERSION = 1
BLOCK_ROWS = 512
"""Rows scored together: one tree (some 120 kB) stays in the cache while they pass through it."""

MAX_BYTES = 2 * 1024**3
"""Most memory that a forest's nodes may take, and its artefact."""

LEAF = -1


class ForestError(ValueError):
    """A table cannot be fitted or scored, or an artefact is not a forest; the message says which and why."""


class Trees(NamedTuple):
    """Nodes of all trees, side by side: T trees of at most N = 2S - 1 nodes over d features.

    Node 0 is a tree's root and children come after their parent. A leaf has ``feature`` -1 and holds ``mass`` equal rows.

    Attributes:
        feature: (T, N) int32, the cut dimension.
        cut: (T, N) float32, rows with x[feature] <= cut go left.
        left: (T, N) int32, index of the left child.
        right: (T, N) int32, index of the right child.
        mass: (T, N) int32, rows of the sample below the node.
        low: (T, N, d) float32, lower corner of the bounding box.
        high: (T, N, d) float32, upper corner of the bounding box.
        span: (T, N) float64, sum of the box's sides.
    """

    feature: NDArray[np.int32]
    cut: NDArray[np.float32]
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    mass: NDArray[np.int32]
    low: NDArray[np.float32]
    high: NDArray[np.float32]
    span: NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted Random Cut Forest.

    Attributes:
        trees: The nodes.
    """

    trees: Trees

    @property
    def feature_dim(self) -> int:
        """Number of features of a row."""
        return int(self.trees.low.shape[2])

    @classmethod
    def fit(cls, table: NDArray[np.float32], *, num_trees: int, num_samples_per_tree: int, seed: int) -> Self:
        """Fit a forest to (n, d) rows.

        As SageMaker documents it, ``num_trees * num_samples_per_tree`` rows are drawn without replacement and dealt
        out to the trees; a table with fewer rows gives every tree its own sample without replacement. The order of the
        rows does not matter.

        Raises:
            ForestError: The table is empty or holds a value that is not finite, or the forest would be too large.
        """
        table = _finite_rows(table)
        if not len(table):
            raise ForestError("the training table holds no rows")
        samples = min(num_samples_per_tree, len(table))
        size_bytes = (
            sum(array.nbytes for array in _unbuilt(trees=1, samples=samples, features=table.shape[1])) * num_trees
        )
        if size_bytes > MAX_BYTES:
            raise ForestError(
                f"{num_trees} trees of {samples} rows with {table.shape[1]} features take {size_bytes:,} bytes, more than "
                f"{MAX_BYTES:,}"
            )
        order = np.argsort(_hashes(table.view(np.uint32)), kind="stable")
        generator = np.random.default_rng(seed)
        if num_trees * samples <= len(table):
            drawn = generator.choice(len(table), num_trees * samples, replace=False).reshape(num_trees, samples)
        else:
            drawn = np.stack([generator.choice(len(table), samples, replace=False) for _ in range(num_trees)])
        uniforms = generator.random((num_trees, samples))
        trees = _unbuilt(trees=num_trees, samples=samples, features=table.shape[1])
        _build(table[order[drawn]], uniforms, trees)
        return cls(trees)

    def score(self, rows: NDArray[np.float32], *, threads: int = 1) -> NDArray[np.float64]:
        """Return the anomaly score of each of (n, d) rows, (n,): about 1 for an ordinary row, more for an anomaly.

        Raises:
            ForestError: The rows do not have the forest's number of features, or a value is not finite.
        """
        rows = self._checked(rows)
        scores = np.zeros(len(rows))
        _in_blocks(_score, rows, self.trees, scores, threads=threads)
        return scores

    def attribution(self, rows: NDArray[np.float32], *, threads: int = 1) -> NDArray[np.float64]:
        """Return how much each feature contributes to the anomaly score of (n, d) rows: (n, d), whose rows sum to the score.

        The probability that a cut separates a row is split by the features in which the row is outside of a node's box, too
        high and too low taken together. A row that equals a leaf is compared with the boxes of all the others, as
        ``AnomalyAttributionVisitor`` does.

        Raises:
            ForestError: The rows do not have the forest's number of features, or a value is not finite.
        """
        rows = self._checked(rows)
        result = np.zeros(rows.shape)
        _in_blocks(_attribute, rows, self.trees, result, threads=threads)
        return result

    def _checked(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = _finite_rows(rows)
        if rows.shape[1] != self.feature_dim:
            raise ForestError(f"a row has {rows.shape[1]} features, the forest was trained on {self.feature_dim}")
        return rows

    def save(self, path: Path) -> None:
        """Write the artefact: an ``.npz`` of the arrays of `Trees` and ``header``, UTF-8 JSON as bytes.

        The header is ``{"format": "localaws-random-cut-forest", "version": 1, "trees": T, "nodes": N, "feature_dim": d}``.
        Nothing in it is pickled.
        """
        trees, nodes, features = self.trees.low.shape
        header = {"format": FORMAT, "version": FORMAT_VERSION, "trees": trees, "nodes": nodes, "feature_dim": features}
        content = {"header": np.frombuffer(json.dumps(header).encode(), np.uint8), **self.trees._asdict()}
        with path.open("wb") as file:
            np.savez(file, **content)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read an artefact, trusting nothing in it.

        Raises:
            ForestError: The file is no such artefact, of another version, or inconsistent.
        """
        try:
            with zipfile.ZipFile(path) as archive:
                size_bytes = sum(member.file_size for member in archive.infolist())
            if size_bytes > MAX_BYTES:
                raise ForestError(f"{path.name} holds {size_bytes:,} bytes, more than {MAX_BYTES:,}")
            with np.load(path, allow_pickle=False) as content:
                header = json.loads(content["header"].tobytes())
                trees = Trees(**{name: np.ascontiguousarray(content[name]) for name in Trees._fields})
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
            raise ForestError(f"{path.name} is not a Random Cut Forest of this program: {error}") from error
        if header.get("format") != FORMAT or header.get("version") != FORMAT_VERSION:
            raise ForestError(f"{path.name} is not in format {FORMAT} version {FORMAT_VERSION}: its header is {header}")
        _check_trees(trees, name=path.name)
        return cls(trees)


def _in_blocks(
    compiled: Callable[[NDArray[np.float32], Trees, NDArray[np.float64]], None],
    rows: NDArray[np.float32],
    trees: Trees,
    result: NDArray[np.float64],
    *,
    threads: int,
) -> None:
    """Call a compiled function on blocks of rows, each of which it adds to the same block of the result."""
    blocks = [slice(start, start + BLOCK_ROWS) for start in range(0, len(rows), BLOCK_ROWS)]

    def on_block(block: slice) -> None:
        compiled(rows[block], trees, result[block])

    if threads == 1 or len(blocks) <= 1:
        for block in blocks:
            on_block(block)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(on_block, blocks))


def _unbuilt(*, trees: int, samples: int, features: int) -> Trees:
    nodes = (trees, 2 * samples - 1)
    return Trees(
        feature=np.full(nodes, LEAF, np.int32),
        cut=np.zeros(nodes, np.float32),
        left=np.full(nodes, LEAF, np.int32),
        right=np.full(nodes, LEAF, np.int32),
        mass=np.zeros(nodes, np.int32),
        low=np.zeros((*nodes, features), np.float32),
        high=np.zeros((*nodes, features), np.float32),
        span=np.zeros(nodes, np.float64),
    )


def _finite_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    rows = np.ascontiguousarray(rows, np.float32)
    if not np.isfinite(rows).all():
        raise ForestError("a Random Cut Forest takes finite numbers only: a value is missing or infinite")
    return rows


def _check_trees(trees: Trees, *, name: str) -> None:
    """Refuse arrays on which the compiled functions, which check no bounds, would read astray or never end."""
    match trees.low.shape:
        case (int(count), int(nodes), int(features)) if count and features and nodes % 2:
            samples = (nodes + 1) // 2
        case shape:
            raise ForestError(f"{name}: the boxes have shape {shape}, not (trees, 2 * samples - 1, features)")
    expected = _unbuilt(trees=1, samples=samples, features=features)
    for field in Trees._fields:
        array, model = getattr(trees, field), getattr(expected, field)
        shape = (count, *model.shape[1:])
        if array.dtype != model.dtype or array.shape != shape:
            raise ForestError(f"{name}: {field} is {array.dtype}{array.shape}, not {model.dtype}{shape}")
    inner = trees.feature != LEAF
    own_index = np.broadcast_to(np.arange(nodes), inner.shape)[inner]
    children = np.stack([trees.left[inner], trees.right[inner]])
    in_range = (trees.feature[inner] >= 0) & (trees.feature[inner] < features)
    if not (in_range.all() and (children > own_index).all() and (children < nodes).all()):
        raise ForestError(f"{name}: a node points outside of its tree or its features")
    if (trees.mass[:, 0] < 1).any():
        raise ForestError(f"{name}: a tree holds no rows")


@numba.njit(nogil=True, cache=True)
def _hashes(bits: NDArray[np.uint32]) -> NDArray[np.uint64]:
    """Hash the bits of (n, d) float32 to (n,): equal rows alike, others apart but for a collision of 64 bits."""
    hashes = np.empty(bits.shape[0], np.uint64)
    for i in range(bits.shape[0]):
        value = np.uint64(0)
        for j in range(bits.shape[1]):
            word = bits[i, j]
            if word == np.uint32(0x80000000):  # -0.0 equals 0.0
                word = np.uint32(0)
            value = (value ^ np.uint64(word)) * np.uint64(0x9E3779B97F4A7C15)
            value ^= value >> np.uint64(32)
        hashes[i] = value
    return hashes


@numba.njit(nogil=True, cache=True)
def _build(points: NDArray[np.float32], uniforms: NDArray[np.float64], trees: Trees) -> None:  # noqa: C901  # one loop nest
    """Build all trees from points (T, S, d), with one number of ``uniforms`` (T, S) for each cut."""
    feature, cut, left, right, mass, low, high, span = trees
    samples, features = points.shape[1], points.shape[2]
    first = np.empty(2 * samples, np.int64)
    last = np.empty(2 * samples, np.int64)
    for tree in range(points.shape[0]):
        order = np.arange(samples)
        first[0], last[0] = 0, samples
        nodes, cuts, node = 1, 0, 0
        while node < nodes:
            start, end = first[node], last[node]
            total = 0.0
            for j in range(features):
                lowest = points[tree, order[start], j]
                highest = lowest
                for i in range(start + 1, end):
                    value = points[tree, order[i], j]
                    lowest = min(lowest, value)
                    highest = max(highest, value)
                low[tree, node, j] = lowest
                high[tree, node, j] = highest
                total += np.float64(highest) - np.float64(lowest)
            span[tree, node] = total
            mass[tree, node] = end - start
            if total > 0.0:
                rest = uniforms[tree, cuts] * total
                cuts += 1
                dimension = 0
                for j in range(features):
                    side = np.float64(high[tree, node, j]) - np.float64(low[tree, node, j])
                    if side > 0.0:
                        dimension = j
                        if rest < side:
                            break
                        rest -= side
                threshold = np.float32(np.float64(low[tree, node, dimension]) + rest)
                if threshold >= high[tree, node, dimension]:
                    threshold = low[tree, node, dimension]
                i, k = start, end - 1
                while i <= k:
                    if points[tree, order[i], dimension] <= threshold:
                        i += 1
                    else:
                        order[i], order[k] = order[k], order[i]
                        k -= 1
                feature[tree, node] = dimension
                cut[tree, node] = threshold
                left[tree, node] = nodes
                right[tree, node] = nodes + 1
                first[nodes], last[nodes] = start, i
                first[nodes + 1], last[nodes + 1] = i, end
                nodes += 2
            node += 1


@numba.njit(nogil=True, cache=True, fastmath=True)
def _score(rows: NDArray[np.float32], trees: Trees, scores: NDArray[np.float64]) -> None:
    """Add the mean score of (n, d) rows over the trees to ``scores`` (n,).

    In one tree with M rows, at the leaf of depth k: (1 - m / 2M) / (k + log2(1 + m)) where x equals its m rows, else
    1 / (k + 1). Going up, with p = (distance of x outside of the node's box) / (span + that distance), the score s
    becomes p / (depth + 1) + (1 - p) s, until x lies inside. Times log2(M + 1).
    """
    feature, cut, left, right, mass, low, high, span = trees
    count, features = feature.shape[0], rows.shape[1]
    path = np.empty(feature.shape[1], np.int32)
    for tree in range(count):
        root_mass = mass[tree, 0]
        scale = math.log2(root_mass + 1.0) / count
        for i in range(rows.shape[0]):
            node, depth = 0, 0
            while feature[tree, node] >= 0:
                path[depth] = node
                depth += 1
                node = left[tree, node] if rows[i, feature[tree, node]] <= cut[tree, node] else right[tree, node]
            path[depth] = node
            score = 1.0 / (depth + 1.0)
            k = depth
            while k >= 0:
                node = path[k]
                outside = np.float32(0.0)
                for j in range(features):
                    above = rows[i, j] - high[tree, node, j]
                    below = low[tree, node, j] - rows[i, j]
                    outside += max(above, np.float32(0.0)) + max(below, np.float32(0.0))
                if outside <= 0.0:
                    if k == depth:
                        leaf_mass = mass[tree, node]
                        score = (1.0 - leaf_mass / (2.0 * root_mass)) / (depth + math.log2(leaf_mass + 1.0))
                    break
                p = outside / (span[tree, node] + outside)
                score = p / (k + 1.0) + (1.0 - p) * score
                k -= 1
            scores[i] += score * scale


@numba.njit(nogil=True, cache=True)
def _attribute(rows: NDArray[np.float32], trees: Trees, result: NDArray[np.float64]) -> None:  # noqa: C901, PLR0912  # one loop nest
    """Add the mean attribution of (n, d) rows over the trees to ``result`` (n, d).

    As in ``_score``, but p is kept by feature. Where x equals a leaf, the box of a node is that of its rows without the
    leaf's (they would hide what sets x apart), and the attribution is scaled to the leaf's score.
    """
    feature, cut, left, right, mass, low, high, _ = trees
    count, features = feature.shape[0], rows.shape[1]
    path = np.empty(feature.shape[1], np.int32)
    parts = np.empty(features)
    outside = np.empty(features)
    box_low = np.empty(features, np.float32)
    box_high = np.empty(features, np.float32)
    for tree in range(count):
        root_mass = mass[tree, 0]
        scale = math.log2(root_mass + 1.0) / count
        for i in range(rows.shape[0]):
            node, depth = 0, 0
            while feature[tree, node] >= 0:
                path[depth] = node
                depth += 1
                node = left[tree, node] if rows[i, feature[tree, node]] <= cut[tree, node] else right[tree, node]
            path[depth] = node
            equal = True
            for j in range(features):
                equal = equal and rows[i, j] == low[tree, node, j]
                box_low[j], box_high[j] = np.float32(np.inf), np.float32(-np.inf)
                parts[j] = 0.0
            score = 1.0 / (depth + 1.0)
            if equal:
                score = (1.0 - mass[tree, node] / (2.0 * root_mass)) / (depth + math.log2(mass[tree, node] + 1.0))
            k = depth - 1 if equal else depth
            while k >= 0:
                if equal:
                    other = left[tree, path[k]] if right[tree, path[k]] == path[k + 1] else right[tree, path[k]]
                    for j in range(features):
                        box_low[j] = min(box_low[j], low[tree, other, j])
                        box_high[j] = max(box_high[j], high[tree, other, j])
                else:
                    for j in range(features):
                        box_low[j], box_high[j] = low[tree, path[k], j], high[tree, path[k], j]
                distance, sides = 0.0, 0.0
                for j in range(features):
                    above = max(np.float64(rows[i, j]) - np.float64(box_high[j]), 0.0)
                    below = max(np.float64(box_low[j]) - np.float64(rows[i, j]), 0.0)
                    outside[j] = above + below
                    distance += outside[j]
                    sides += np.float64(box_high[j]) - np.float64(box_low[j])
                if distance <= 0.0:
                    break
                p = distance / (sides + distance)
                for j in range(features):
                    parts[j] = (1.0 - p) * parts[j] + outside[j] / (sides + distance) / (k + 1.0)
                if not equal:
                    score = p / (k + 1.0) + (1.0 - p) * score
                k -= 1
            total = 0.0
            for j in range(features):
                total += parts[j]
            for j in range(features):
                share = parts[j] / total if total > 0.0 else 1.0 / features
                result[i, j] += share * score * scale

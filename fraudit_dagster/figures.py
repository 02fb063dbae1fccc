"""Pictures and tables of an evaluation and of drift, as Markdown that the Dagster UI shows.

Belongs here: drawing. Does not: computing what is drawn (``fraudit_dagster/curves.py``, ``fraudit_dagster/drift.py``).

A picture has a white ground of its own, so that it reads the same in the light and the dark UI.
"""

import base64
import io
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from fraudit_dagster.policy import NEVER, Policy

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fraudit_dagster.curves import Calibration, CostCurve, Histogram, PrecisionRecall

DECISIONS = ("approve", "review", "block")
GOOD, FRAUD, REVIEW, BLOCK, MUTED = "#3b6ea8", "#c8403f", "#b7791f", "#5b3a8e", "#6b7280"
MODELS = {"xgboost": ("classifier (XGBoost)", FRAUD), "random_cut_forest": ("anomaly detector (forest)", GOOD)}
MARKS = {"review": REVIEW, "block": BLOCK}
WIDE, SQUARE = (7.2, 3.6), (5.2, 4.2)
PER = 1000
"""Transactions that a cost is given for."""
LINE_INCHES, LABELLED_DAYS = 0.17, 10


def precision_recall(
    models: "Mapping[str, PrecisionRecall]", points: Mapping[str, tuple[float, float]], *, rows: str
) -> str:
    """Draw precision over recall of each model, and where the chosen thresholds lie.

    Args:
        models: By algorithm.
        points: Recall and precision of what is flagged from a threshold on, by its name (``review``, ``block``).
        rows: Which transactions these are.
    """
    figure, axes = _axes(
        "recall: share of the frauds that are flagged", "precision: share of the flagged that are fraud"
    )
    for name, curve in models.items():
        label, colour = MODELS[name]
        axes.step(curve.recall, curve.precision, where="post", color=colour, label=label, linewidth=1.8)
        axes.axhline(curve.prevalence, color=MUTED, linewidth=0.8, linestyle=":")
    for name, (recall, precision) in points.items():
        axes.plot(recall, precision, "o", markersize=8, color=MARKS[name], label=f"{name} from here on", zorder=5)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.03)
    axes.legend(loc="center left", fontsize=8, framealpha=0.9)
    return _markdown(figure, f"Precision over recall, {rows}")


def cost(curve: "CostCurve", policy: Policy, *, transactions: float, rows: str) -> str:
    """Draw what a threshold alone would cost over where it lies, the chosen ones, and what they cost together.

    Args:
        curve: Costs per transaction.
        policy: The thresholds that were chosen on these rows.
        transactions: That the rows stand for.
        rows: Which transactions these are.
    """
    figure, axes = _axes("threshold: probability of fraud", f"cost per {PER:,} transactions", size=WIDE)
    chosen = policy.expected_cost / transactions
    axes.plot(curve.threshold, curve.review * PER, color=REVIEW, label="review from here on, block nothing")
    axes.plot(curve.threshold, curve.block * PER, color=BLOCK, label="block from here on, review nothing")
    axes.axhline(curve.nothing * PER, color=MUTED, linestyle="--", label=f"no model: {curve.nothing * PER:,.1f}")
    axes.axhline(chosen * PER, color=GOOD, linestyle="-", linewidth=1, label=f"both thresholds: {chosen * PER:,.1f}")
    for name, at in (("review", policy.review_at), ("block", policy.block_at)):
        if at < NEVER:
            axes.axvline(max(at, curve.threshold[0]), color=MARKS[name], linestyle=":", linewidth=1.4)
            axes.annotate(
                f"{name} at {at:.3g}",
                (max(at, curve.threshold[0]), 0.98),
                xycoords=("data", "axes fraction"),
                xytext=(-4, 0),
                textcoords="offset points",
                rotation=90,
                ha="right",
                va="top",
                fontsize=8,
                color=MARKS[name],
            )
    axes.set_xscale("log")
    axes.set_xlim(curve.threshold[0], 1)
    # The left end, where every good customer would be reviewed or blocked, would flatten all the rest.
    axes.set_ylim(0, 2.2 * max(curve.nothing, chosen) * PER)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    return _markdown(figure, f"Cost over the threshold, {rows}")


def calibration(curve: "Calibration", *, rows: str) -> str:
    """Draw the share of frauds over the predicted probability; on the diagonal a score is a probability.

    Args:
        curve: Bins with their intervals.
        rows: Which transactions these are.
    """
    import numpy as np

    figure, axes = _axes("predicted probability of fraud", "observed share of frauds", size=SQUARE)
    low = min(float(curve.predicted[curve.predicted > 0].min(initial=1.0)), 1e-4) / 2
    axes.plot([low, 1], [low, 1], color=MUTED, linewidth=1, linestyle="--", label="promised = observed")
    found = curve.observed > 0
    spans = np.clip(np.stack([curve.observed - curve.low, curve.high - curve.observed]), 0, None)
    axes.errorbar(
        curve.predicted[found],
        curve.observed[found],
        spans[:, found],
        marker="o",
        color=FRAUD,
        label="observed, with its 95 % interval",
        linestyle="none",
        capsize=3,
        elinewidth=1.2,
    )
    axes.plot(curve.predicted[~found], curve.high[~found], "v", color=GOOD, label="no fraud: the interval's upper end")
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlim(low, 1.3)
    axes.set_ylim(low, 1.3)
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    return _markdown(figure, f"Calibration, {rows}")


def scores(classifier: "Histogram", detector: "Histogram", policy: Policy, *, rows: str) -> str:
    """Draw how many good transactions and frauds have which score, for both models, and the thresholds.

    Args:
        classifier: Of the calibrated probability.
        detector: Of the anomaly score.
        policy: The thresholds.
        rows: Which transactions these are.
    """
    figure, (left, right) = _panels("probability of fraud", "anomaly score")
    for axes, counts in ((left, classifier), (right, detector)):
        for values, name, colour in ((counts.good, "good", GOOD), (counts.fraud, "fraud", FRAUD)):
            axes.stairs(values, counts.edges, fill=True, alpha=0.55, color=colour, label=name)
        axes.set_yscale("symlog", linthresh=1)
        axes.set_ylim(0)
    left.set_xscale("log")
    left.set_xlim(classifier.edges[0], 1)
    for name, at in (("review", policy.review_at), ("block", policy.block_at)):
        if at < NEVER:
            left.axvline(max(at, classifier.edges[0]), color=MARKS[name], linewidth=1.6, label=f"{name} at {at:.3g}")
    if policy.anomaly_review_at is not None:
        at = policy.anomaly_review_at
        right.axvline(at, color=REVIEW, linewidth=1.6, label=f"review at {at:.3g}")
    left.set_ylabel("transactions")
    for axes in (left, right):
        axes.legend(fontsize=8, framealpha=0.9)
    return _markdown(figure, f"Scores of good transactions and frauds, {rows}")


def drift(psi: "NDArray[np.float64]", features: Sequence[str], days: Sequence[str], *, limit: float) -> str:
    """Draw how far each feature was from its profile on each day; black where it was not compared.

    Args:
        psi: Population stability indexes, NaN where there is none; shape (features, days).
        features: Names of the rows, from the top down.
        days: Names of the columns.
        limit: What counts as drift: the middle of the colours, from white to its double.
    """
    figure = _figure((WIDE[0], 1.4 + LINE_INCHES * len(features)))
    axes = figure.add_subplot()
    axes.set_facecolor("black")
    mesh = axes.pcolormesh(psi, cmap="Reds", vmin=0, vmax=2 * limit, edgecolors="white", linewidth=0.4)
    axes.set_yticks([place + 0.5 for place in range(len(features))], features, fontsize=7)
    shown = range(len(days) - 1, -1, -max(1, -(-len(days) // LABELLED_DAYS)))
    axes.set_xticks([place + 0.5 for place in shown], [days[place] for place in shown], fontsize=7, rotation=30)
    axes.invert_yaxis()
    axes.tick_params(length=0)
    figure.colorbar(mesh, ax=axes, extend="max", label=f"population stability index; drift from {limit:g} on")
    return _markdown(figure, f"Drift of {len(features)} features, {days[0]} to {days[-1]}")


def confusion_table(decisions: "NDArray[np.str_]", labels: "NDArray[np.int8]", weights: "NDArray[np.float64]") -> str:
    """Return a table of transactions (weighted) by label and decision."""
    lines = ["| | " + " | ".join(DECISIONS) + " |", "|---|" + "---:|" * len(DECISIONS)]
    for name, label in (("good", 0), ("fraud", 1)):
        counts = [float(weights[(decisions == decision) & (labels == label)].sum()) for decision in DECISIONS]
        lines.append(f"| {name} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
    return "\n".join(lines)


def _axes(x: str, y: str, *, size: tuple[float, float] = WIDE) -> tuple["Figure", "Axes"]:
    figure = _figure(size)
    axes = figure.add_subplot()
    _dress(axes, x)
    axes.set_ylabel(y)
    return figure, axes


def _panels(left: str, right: str) -> tuple["Figure", tuple["Axes", "Axes"]]:
    figure = _figure(WIDE)
    first = figure.add_subplot(1, 2, 1)
    second = figure.add_subplot(1, 2, 2, sharey=first)
    _dress(first, left)
    _dress(second, right)
    return figure, (first, second)


def _figure(size: tuple[float, float]) -> "Figure":
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def _dress(axes: "Axes", x: str) -> None:
    axes.set_xlabel(x)
    axes.grid(visible=True, alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)


def _markdown(figure: "Figure", title: str) -> str:
    figure.suptitle(title, fontsize=10)
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"

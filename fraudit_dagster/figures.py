"""Pictures and tables of an evaluation, of drift and of traffic: as Markdown that the Dagster UI shows, or as SVG for a page.

Belongs here: drawing. Does not: computing what is drawn (``fraudit_dagster/curves.py``, ``fraudit_dagster/drift.py``).
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from fraudit_dagster.policy import NEVER, Policy

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fraudit_dagster.curves import Calibration, Histogram
    from fraudit_dagster.records import CostOfThreshold, PrecisionOverRecall

DECISIONS = ("approve", "review", "block")
GOOD, FRAUD, REVIEW, BLOCK, MUTED = "#3b6ea8", "#c8403f", "#b7791f", "#5b3a8e", "#6b7280"
MODELS = {"xgboost": ("classifier (XGBoost)", FRAUD), "random_cut_forest": ("anomaly detector (forest)", GOOD)}
MARKS = {"review": REVIEW, "block": BLOCK}
WIDE, SQUARE = (7.2, 3.6), (5.2, 4.2)
PER = 1000
"""Transactions that a cost is given for."""
LINE_INCHES, LABELLED_DAYS = 0.17, 10
PAGE_COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--ground)",
    GOOD: "var(--good)",
    FRAUD: "var(--fraud)",
    REVIEW: "var(--review)",
    BLOCK: "var(--block)",
    MUTED: "var(--muted)",
}
"""Whose colours a picture takes in a page, so that it reads in a light and in a dark one."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing.

    Attributes:
        title: What it shows, of which rows.
        figure: The drawing itself, without its title.
    """

    title: str
    figure: "Figure"

    def png(self) -> bytes:
        """Return it with its title, on a white ground of its own: the same in a light and in a dark UI."""
        self.figure.suptitle(self.title, fontsize=10)
        picture = io.BytesIO()
        self.figure.savefig(picture, format="png", dpi=100)
        return picture.getvalue()

    _repr_png_ = png
    """Where Jupyter looks for the picture of a value."""

    def markdown(self) -> str:
        """Return it as a picture in Markdown."""
        return f"![{self.title}](data:image/png;base64,{base64.b64encode(self.png()).decode()})"

    def svg(self) -> str:
        """Return it as an ``svg`` element for a page that defines the variables of ``PAGE_COLOURS``; its text is text."""
        from matplotlib import rc_context

        drawn = io.StringIO()
        with rc_context({"svg.fonttype": "none", "svg.hashsalt": self.title, "font.family": "sans-serif"}):
            self.figure.savefig(drawn, format="svg", transparent=True, metadata={"Date": None})
        element = re.sub(r' id="[\w.]+_\d+"', "", drawn.getvalue()[drawn.getvalue().index("<svg") :])
        element = re.sub("<metadata>.*?</metadata>", "", element, flags=re.DOTALL).replace("xlink:href", "href")
        for ours, of_the_page in PAGE_COLOURS.items():
            element = element.replace(ours, of_the_page)
        return re.sub(r'^<svg [^>]*(viewBox="[^"]+")[^>]*>', rf'<svg role="img" aria-label="{self.title}" \1>', element)


def precision_recall(ranking: "PrecisionOverRecall", *, rows: str) -> Picture:
    """Draw precision over recall of each model, and where the chosen thresholds lie.

    Args:
        ranking: The curves and the thresholds' points.
        rows: Which transactions these are.
    """
    figure, axes = _axes(
        "recall: share of the frauds that are flagged", "precision: share of the flagged that are fraud"
    )
    for algorithm, curve in ranking.models.items():
        label, colour = MODELS[algorithm]
        axes.step(curve.recall, curve.precision, where="post", color=colour, label=label, linewidth=1.8)
        axes.axhline(curve.prevalence, color=MUTED, linewidth=0.8, linestyle=":")
    for name, (recall, precision) in ranking.points.items():
        axes.plot(recall, precision, "o", markersize=8, color=MARKS[name], label=f"{name} from here on", zorder=5)
    axes.set_xlim(0, 1.01)
    axes.set_ylim(0, 1.03)
    axes.legend(loc="best", fontsize=8, framealpha=0.9)
    return Picture(f"Precision over recall, {rows}", figure)


def cost(curve: "CostOfThreshold", thresholds: Mapping[str, float], *, rows: str) -> Picture:
    """Draw what a threshold alone would cost over where it lies, the chosen ones, and what they cost together.

    Args:
        curve: Costs per transaction.
        thresholds: That were chosen on these rows, by their name (``review``, ``block``).
        rows: Which transactions these are.
    """
    import numpy as np

    figure, axes = _axes("threshold: probability of fraud", f"cost per {PER:,} transactions", size=WIDE)
    nothing, chosen = curve.nothing * PER, curve.chosen * PER
    axes.plot(curve.threshold, np.multiply(curve.review, PER), color=REVIEW, label="review from here on, block nothing")
    axes.plot(curve.threshold, np.multiply(curve.block, PER), color=BLOCK, label="block from here on, review nothing")
    axes.axhline(nothing, color=MUTED, linestyle="--", label=f"no model: {nothing:,.1f}")
    axes.axhline(chosen, color=GOOD, linestyle="-", linewidth=1, label=f"both thresholds: {chosen:,.1f}")
    for name, at in thresholds.items():
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
    axes.set_ylim(0, 2.2 * max(nothing, chosen))
    axes.legend(loc="upper left", fontsize=8, framealpha=0.9)
    return Picture(f"Cost over the threshold, {rows}", figure)


def calibration(curve: "Calibration", *, rows: str) -> Picture:
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
    return Picture(f"Calibration, {rows}", figure)


def scores(classifier: "Histogram", detector: "Histogram", policy: Policy, *, rows: str) -> Picture:
    """Draw how many good transactions and frauds have which score, for both models, and the thresholds.

    Args:
        classifier: Of the calibrated probability.
        detector: Of the anomaly score.
        policy: The thresholds.
        rows: Which transactions these are.
    """
    figure, (left, right) = _panels("probability of fraud", "anomaly score")
    _histogram(left, classifier, {"review": policy.review_at, "block": policy.block_at}, probability=True)
    unusual = {} if policy.anomaly_review_at is None else {"review": policy.anomaly_review_at}
    _histogram(right, detector, unusual, probability=False)
    left.set_ylabel("transactions")
    return Picture(f"Scores of good transactions and frauds, {rows}", figure)


def one_score(counts: "Histogram", thresholds: Mapping[str, float], *, probability: bool, rows: str) -> Picture:
    """Draw how many good transactions and frauds have which score of one model, and its thresholds.

    Args:
        counts: By score.
        thresholds: By their name (``review``, ``block``).
        probability: The score is one.
        rows: Which transactions these are.
    """
    figure, axes = _axes("probability of fraud" if probability else "anomaly score", "transactions")
    _histogram(axes, counts, thresholds, probability=probability)
    what = "Probabilities" if probability else "Anomaly scores"
    return Picture(f"{what} of good transactions and frauds, {rows}", figure)


def review_cost(score: "NDArray[np.float64]", cost: "NDArray[np.float64]", *, nothing: float, rows: str) -> Picture:
    """Draw what reviewing from a score on would cost, over where that score lies.

    Args:
        score: Rising; shape (rows,).
        cost: Per transaction, of reviewing from each score on; same shape.
        nothing: Cost of approving everything.
        rows: Which transactions these are.
    """
    import numpy as np

    figure, axes = _axes("threshold: anomaly score", f"cost per {PER:,} transactions")
    axes.plot(score, np.multiply(cost, PER), color=REVIEW, label="review from here on")
    axes.axhline(nothing * PER, color=MUTED, linestyle="--", label=f"no model: {nothing * PER:,.1f}")
    axes.set_ylim(0, 2.2 * PER * nothing)  # the left end, where everybody is reviewed, would flatten all the rest
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    return Picture(f"Cost of reviews over the anomaly score, {rows}", figure)


def drift(psi: "NDArray[np.float64]", features: Sequence[str], days: Sequence[str], *, limit: float) -> Picture:
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
    return Picture(f"Drift of {len(features)} features, {days[0]} to {days[-1]}", figure)


def latencies(edges_ms: Sequence[float], counts: Sequence[int], marks_ms: Mapping[str, float], *, of: str) -> Picture:
    """Draw how many answers took how long.

    Args:
        edges_ms: Limits of the bins, rising, one more than there are bins.
        counts: Answers in each bin.
        marks_ms: Latencies to mark, by their name (``p50``).
        of: Which answers these are.
    """
    figure, axes = _axes("milliseconds", "answers")
    axes.stairs(counts, edges_ms, fill=True, alpha=0.55, color=GOOD)
    for (name, at), colour in zip(marks_ms.items(), (MUTED, REVIEW, FRAUD), strict=False):
        axes.axvline(at, color=colour, linestyle="--", linewidth=1.4, label=f"{name}: {at:,.1f} ms")
    axes.set_xscale("log")
    axes.set_xlim(edges_ms[0], edges_ms[-1])
    axes.xaxis.set_major_formatter("{x:g}")
    axes.legend(loc="upper right", fontsize=8, framealpha=0.9)
    return Picture(f"Latency of {of}", figure)


def decisions(hours: Sequence[datetime], counts: Mapping[str, Sequence[int]], *, of: str) -> Picture:
    """Draw transactions by hour, and below them those that were not approved, on a scale of their own.

    Args:
        hours: Their beginnings, in order.
        counts: Transactions of each hour, by decision; shape (hours,).
        of: Which transactions these are.
    """
    from matplotlib.dates import ConciseDateFormatter
    from matplotlib.ticker import MaxNLocator

    figure = _figure(WIDE)
    upper, lower = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": (2, 1)})
    width_days = 0.85 / 24
    all_of_them = [sum(counts[name][place] for name in DECISIONS) for place in range(len(hours))]
    upper.bar(hours, all_of_them, width=width_days, align="edge", color=GOOD, alpha=0.55)
    flagged = [0] * len(hours)
    for name in ("review", "block"):
        lower.bar(hours, counts[name], width=width_days, align="edge", bottom=flagged, color=MARKS[name], label=name)
        flagged = [below + more for below, more in zip(flagged, counts[name], strict=True)]
    for axes, label in ((upper, "transactions an hour"), (lower, "not approved")):
        _dress(axes, "")
        axes.set_ylabel(label)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    lower.set_ylim(0, max(2, *flagged))
    lower.legend(loc="upper right", fontsize=8, framealpha=0.9, ncols=2)
    lower.xaxis.set_major_formatter(ConciseDateFormatter(lower.xaxis.get_major_locator()))  # type: ignore[no-untyped-call]
    return Picture(f"Decisions over time (UTC), {of}", figure)


def confusion_table(decisions: "NDArray[np.str_]", labels: "NDArray[np.int8]", weights: "NDArray[np.float64]") -> str:
    """Return a table of transactions (weighted) by label and decision."""
    lines = ["| | " + " | ".join(DECISIONS) + " |", "|---|" + "---:|" * len(DECISIONS)]
    for name, label in (("good", 0), ("fraud", 1)):
        counts = [float(weights[(decisions == decision) & (labels == label)].sum()) for decision in DECISIONS]
        lines.append(f"| {name} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
    return "\n".join(lines)


def _histogram(axes: "Axes", counts: "Histogram", thresholds: Mapping[str, float], *, probability: bool) -> None:
    for values, name, colour in ((counts.good, "good", GOOD), (counts.fraud, "fraud", FRAUD)):
        axes.stairs(values, counts.edges, fill=True, alpha=0.55, color=colour, label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.set_ylim(0)
    if probability:
        axes.set_xscale("log")
        axes.set_xlim(counts.edges[0], 1)
    for name, at in thresholds.items():
        if not probability or at < NEVER:
            shown = max(at, counts.edges[0]) if probability else at
            axes.axvline(shown, color=MARKS[name], linewidth=1.6, label=f"{name} at {at:.3g}")
    axes.legend(fontsize=8, framealpha=0.9)


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

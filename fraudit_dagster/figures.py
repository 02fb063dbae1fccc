"""Pictures and tables of an evaluation, as Markdown that the Dagster UI shows.

Belongs here: drawing. Does not: computing what is drawn (``fraudit_dagster/evaluation.py``).
"""

import base64
import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

    from fraudit_dagster.evaluation import Curves

DECISIONS = ("approve", "review", "block")
GOOD, FRAUD = "#4c78a8", "#e45756"


def precision_recall(curves: "Curves") -> str:
    """Draw precision over recall."""
    figure, axes = _axes("recall: share of the frauds that are found", "precision: share of the flagged that are fraud")
    axes.step(curves.recall, curves.precision, where="post", color=FRAUD)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1.02)
    return _markdown(figure, "Precision over recall")


def calibration(curves: "Curves") -> str:
    """Draw the share of frauds over the predicted probability; on the diagonal a score is a probability."""
    figure, axes = _axes("predicted probability", "share of frauds")
    axes.plot([0, 1], [0, 1], color="0.7", linewidth=1)
    axes.plot(curves.predicted, curves.observed, marker="o", color=FRAUD)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    return _markdown(figure, "Calibration")


def score_histogram(curves: "Curves") -> str:
    """Draw how many good transactions and frauds have which score."""
    figure, axes = _axes("probability of fraud", "transactions")
    for counts, name, colour in ((curves.good, "good", GOOD), (curves.fraud, "fraud", FRAUD)):
        axes.stairs(counts, curves.edges, fill=True, alpha=0.6, color=colour, label=name)
    axes.set_yscale("symlog", linthresh=1)
    axes.legend()
    return _markdown(figure, "Scores of good transactions and frauds")


def confusion_table(decisions: "NDArray[np.str_]", labels: "NDArray[np.int8]", weights: "NDArray[np.float64]") -> str:
    """Return a table of transactions (weighted) by label and decision."""
    lines = ["| | " + " | ".join(DECISIONS) + " |", "|---|" + "---:|" * len(DECISIONS)]
    for name, label in (("good", 0), ("fraud", 1)):
        counts = [float(weights[(decisions == decision) & (labels == label)].sum()) for decision in DECISIONS]
        lines.append(f"| {name} | " + " | ".join(f"{count:,.0f}" for count in counts) + " |")
    return "\n".join(lines)


def _axes(x: str, y: str) -> tuple["Figure", "Axes"]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 3.4), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    axes.grid(visible=True, alpha=0.3)
    return figure, axes


def _markdown(figure: "Figure", title: str) -> str:
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=100)
    return f"![{title}](data:image/png;base64,{base64.b64encode(picture.getvalue()).decode()})"

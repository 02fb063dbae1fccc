"""What would have been decided otherwise, and what that would have cost: two models on the same past transactions.

Belongs here: comparing decisions, and telling it in tables. Does not: asking models (``assets/backtest.py``), what a decision costs
(``costs.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

import numpy as np

from fraudit_dagster.archive import UNKNOWN
from fraudit_dagster.costs import CostComparison, Costs, Decision, compare_costs, row_costs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Labels = NDArray[np.int8]
    Decisions = NDArray[np.str_]

DECISIONS: tuple[Decision, ...] = get_args(Decision)
LABELS = {"fraud": 1, "good": 0, "not known": UNKNOWN}
RESAMPLES = 500


class BacktestError(RuntimeError):
    """Two models cannot be compared on past transactions; the message says what is missing."""


@dataclass(frozen=True, slots=True)
class Money:
    """What the decisions on the labelled transactions cost.

    Attributes:
        champion: By label, ``fraud`` and ``good``.
        challenger: By label.
        comparison: Per labelled transaction, with its interval.
        transactions: That are labelled.
    """

    champion: dict[str, float]
    challenger: dict[str, float]
    comparison: CostComparison
    transactions: int

    @property
    def difference(self) -> float:
        """Challenger minus champion; below 0 where the challenger is cheaper."""
        return sum(self.challenger.values()) - sum(self.champion.values())


def changes(champion: Decisions, challenger: Decisions) -> NDArray[np.int64]:
    """Count transactions by both decisions: champion's in the rows, challenger's in the columns; shape (3, 3), as ``DECISIONS``."""
    return np.array(
        [
            [np.count_nonzero((champion == before) & (challenger == after)) for after in DECISIONS]
            for before in DECISIONS
        ]
    )


def money(champion: Decisions, challenger: Decisions, label: Labels, amount: Floats, *, costs: Costs) -> Money | None:
    """Compare what decisions cost on the transactions whose label is known, or return None where it is of none.

    Args:
        champion: Its decisions; shape (rows,).
        challenger: Its decisions on the same rows.
        label: 1, 0 or ``UNKNOWN``; shape (rows,).
        amount: Money at stake; shape (rows,).
        costs: What decisions cost.
    """
    known = label != UNKNOWN
    if not known.any():
        return None

    def spent(decisions: Decisions) -> Floats:
        # Costs are defined on rows of both classes; often all that is known are frauds: one row of each is added, and taken off again.
        rows = np.append(decisions[known], ["approve", "approve"])
        return row_costs(rows, np.append(label[known], [0, 1]), np.append(amount[known], [0.0, 0.0]), costs=costs)[:-2]

    before, after = spent(champion), spent(challenger)
    of = {name: label[known] == value for name, value in LABELS.items() if value != UNKNOWN}
    transactions = int(np.count_nonzero(known))
    return Money(
        champion={name: float(before[rows].sum()) for name, rows in of.items()},
        challenger={name: float(after[rows].sum()) for name, rows in of.items()},
        comparison=compare_costs(before, after, transactions, resamples=RESAMPLES, seed=0),
        transactions=transactions,
    )


def changes_tables(champion: Decisions, challenger: Decisions, label: Labels) -> str:
    """Return Markdown: a table of both decisions for all transactions, and one for each label that there is."""
    wanted = {"all": np.ones(label.shape, bool), **{name: label == value for name, value in LABELS.items()}}
    return "\n\n".join(
        _table(name, changes(champion[rows], challenger[rows])) for name, rows in wanted.items() if rows.any()
    )


def money_table(found: Money | None) -> str:
    """Return Markdown: what each costs by label, and the difference with its 95 % interval."""
    if found is None:
        return "No label is known of these transactions, so neither is what the decisions cost."
    lines = ["| label | champion | challenger | difference |", "|---|---:|---:|---:|"]
    for name, before in found.champion.items():
        after = found.challenger[name]
        lines.append(f"| {name} | {before:,.2f} | {after:,.2f} | {after - before:+,.2f} |")
    low, high = (end * found.transactions for end in found.comparison.cost_interval)
    lines.append(
        f"| both | {sum(found.champion.values()):,.2f} | {sum(found.challenger.values()):,.2f} | {found.difference:+,.2f} |"
    )
    return "\n".join([*lines, "", f"95 % interval of the difference: {low:+,.2f} to {high:+,.2f}."])


def _table(name: str, counts: NDArray[np.int64]) -> str:
    head = f"| {name}: champion ↓ challenger → | {' | '.join(DECISIONS)} |"
    rows = [
        f"| {decision} | {' | '.join(f'{count:,}' for count in row)} |"
        for decision, row in zip(DECISIONS, counts.tolist(), strict=True)
    ]
    return "\n".join([head, "|---|---:|---:|---:|", *rows])

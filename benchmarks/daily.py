"""The daily tables: what they cost for a day of 1 million transactions, and how that grows from a day of 250,000.

Measured: ``daily_fraud_summary``, ``daily_model_performance`` and ``daily_feature_drift`` of one day, as the assets make them
(``daily_steps``, a program), beside a plain script that reads the day into pandas (``peers/daily_pandas.py``). Both days are in one table;
the smaller one is a fifth of it, and its plans are shown.
"""

import json
import math
import re
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from rich.progress import Progress

from assets.analytics import LABEL_AGES
from assets.drift import NUMBERS, SCORES
from benchmarks import servers
from benchmarks.daily_steps import CONTRACT, MANIFEST, warehouse_at
from benchmarks.measure import Contender, Series, growth_exponent, interleaved
from benchmarks.report import Figure, Goal, Report, Table
from fraudit_dagster.drift import profile_of
from resources.warehouse import SQL, Warehouse

LOCALAWS = Path(sys.executable).with_name("localaws")
OURS, PANDAS = "fraudit", "pandas script"
STEPS = {"summary": "daily_fraud_summary", "performance": "daily_model_performance", "drift": "daily_feature_drift"}
FEATURES, PROFILE_ROWS = 30, 200_000
GOAL_EXPONENT = 1.1
FACTOR = 4
SAME = 1e-6
"""Relative difference up to which two computations are said to agree."""

FILL = """
insert into fraud.fraud_predictions (transaction_id, event_id, occurred_at, scored_at, stored_at, user_id, source, country, hour, weekday,
    amount, amount_band, contract, manifest_version, classifier_version, detector_version, features, fraud_proba, anomaly_score, decision)
select
    %(day)s || '-' || n, '00000000-0000-4000-8000-000000000000', at, at, at + n %% 5 * interval '100 milliseconds', 'user',
    (array['Web', 'App', 'POS'])[1 + n %% 3], (array['DE', 'NL', 'FR', 'ES', null])[1 + n %% 5], 1, 1, 10 + n %% 500, '10-50',
    %(contract)s, %(manifest)s, '7', '7', array[{features}], p, 1 + random(),
    case when p > 0.98 then 'block' when p > 0.95 then 'review' else 'approve' end
from generate_series(0, %(rows)s - 1) as n
cross join lateral (select %(day)s::timestamptz + n * interval '1 day' / %(rows)s as at, random() + 0 * n as p) as drawn
"""
LABEL = """
insert into fraud.fraud_labels (transaction_id, source, label, labelled_at)
select transaction_id, (array['chargeback', 'analyst'])[1 + hash % 2], (random() < fraud_proba ^ 8)::int,
    occurred_at + random() * interval '80 days'
from (select *, abs(hashtext(transaction_id)) as hash from fraud.fraud_predictions) as decided
where hash % 10 = 0
"""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    repetitions: int = 3
    rows: int = 1_000_000


QUICK = Sizes(repetitions=1, rows=20_000)


@dataclass(frozen=True, slots=True)
class Days:
    """A warehouse with two days in it, and what a model knew, as a file."""

    connection: str
    profiles: Path
    large: date
    small: date

    @property
    def warehouse(self) -> Warehouse:
        """The client of the graph, as the owner."""
        return warehouse_at(self.connection)


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the daily tables."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("Daily tables", total=1 + 3 * sizes.repetitions)

    def advance() -> None:
        progress.advance(task)

    with (
        tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="daily-", ignore_cleanup_errors=True) as name,
        _filled(Path(name), rows=sizes.rows) as days,
    ):
        advance()
        contenders: dict[str, Contender] = {
            OURS: lambda: _measured([sys.executable, "-m", "benchmarks.daily_steps"], days, days.large),
            PANDAS: lambda: _measured([sys.executable, servers.PEERS_DIR / "daily_pandas.py"], days, days.large),
            "small": lambda: _measured([sys.executable, "-m", "benchmarks.daily_steps"], days, days.small),
        }
        found = interleaved(contenders, repetitions=sizes.repetitions, advance=advance)
        agree(found[OURS], found[PANDAS])
        plans = _plans_table(days)
    tables = [_time_table(found, sizes), _growth_table(found), plans]
    return Report("daily", "Daily tables", ("psycopg2-binary", "pyarrow", "numpy", "pandas", "scikit-learn"), tables)


def agree(ours: Mapping[str, Series], peer: Mapping[str, Series]) -> None:
    """Refuse to compare the times of computations that do not come to the same.

    Raises:
        ServerError: A figure differs; the message names the table.
    """
    for step, table in STEPS.items():
        mine, its = ours[f"{step} figure"].median, peer[f"{step} figure"].median
        if not math.isclose(mine, its, rel_tol=SAME):
            raise servers.ServerError(f"{table}: ours is {mine!r}, the script's {its!r}")


@contextmanager
def _filled(folder: Path, *, rows: int) -> Iterator[Days]:
    """Have PostgreSQL up with a day of so many transactions and one of a quarter as many, a tenth of them labelled."""
    state = folder / "state"
    servers.output([LOCALAWS, "up", "--state", state, "--only", "postgres", "--port-base", str(servers.free_port())])
    try:
        env: dict[str, str] = json.loads((state / "status.json").read_text())["env"]
        names = {"host": "HOST", "port": "PORT", "dbname": "DB", "user": "USER", "password": "PASSWORD"}
        connection = " ".join(f"{name}={env[f'POSTGRES_{variable}']}" for name, variable in names.items())
        oldest = datetime.now(UTC).date() - timedelta(days=max(LABEL_AGES) + 10)
        days = Days(connection, folder / "profiles.json", oldest, oldest + timedelta(days=1))
        days.warehouse.migrate()
        with days.warehouse.transaction() as cursor:
            cursor.execute("alter table fraud.fraud_predictions set unlogged")  # is there sooner, and read alike
            cursor.execute("select setseed(0.5)")
            fill = FILL.format(features=", ".join(["random() + random() + 0 * n"] * FEATURES))
            for day, count in ((days.large, rows), (days.small, rows // FACTOR)):
                cursor.execute(fill, {"day": str(day), "rows": count, "contract": CONTRACT, "manifest": MANIFEST})
            cursor.execute(LABEL)
        with days.warehouse.transaction() as cursor:
            cursor.execute("analyze fraud.fraud_predictions, fraud.fraud_labels")
        days.profiles.write_text(json.dumps({"ages": LABEL_AGES, "profiles": _profiles()}))
        yield days
    finally:
        servers.output([LOCALAWS, "down", "--state", state])


def _profiles() -> dict[str, Any]:
    random = np.random.default_rng(0)
    inputs = {f"V{number}": random.random(PROFILE_ROWS) + random.random(PROFILE_ROWS) for number in range(FEATURES)}
    scores = dict(zip(SCORES, (random.random(PROFILE_ROWS), 1 + random.random(PROFILE_ROWS)), strict=True))
    return {name: profile_of(values).model_dump() for name, values in {**inputs, **scores}.items()}


def _measured(command: list[str | Path], days: Days, day: date) -> dict[str, float]:
    """Run a program of the daily tables, and return seconds and figures by step, and its peak memory."""
    printed = servers.output([*command, days.connection, str(day), days.profiles], cwd=servers.PROJECT_DIR)
    found = json.loads(printed.splitlines()[-1])
    return {
        **{f"{step} s": found["seconds"][step] for step in STEPS},
        **{f"{step} figure": found["figures"][step] for step in STEPS},
        "s": sum(found["seconds"].values()),
        "peak_mib": found["peak_mib"],
    }


def _time_table(found: Mapping[str, Mapping[str, Series]], sizes: Sizes) -> Table:
    def figure(what: str, unit: str, key: str) -> Figure:
        results = {name: found[name][key] for name in (OURS, PANDAS)}
        return Figure(what, unit, results, higher_is_better=False)

    return Table(
        f"one day of {sizes.rows:,} transactions",
        (OURS, PANDAS),
        [
            *(figure(table, "s", f"{step} s") for step, table in STEPS.items()),
            figure("all three", "s", "s"),
            figure("peak memory of the program", "MiB", "peak_mib"),
        ],
        [
            (
                f"{FEATURES} inputs and two scores are compared, at about 100 edges each; a tenth of the transactions is labelled, judged at "
                f"{len(LABEL_AGES)} ages. Both come to the same amount, average precision and Kolmogorov-Smirnov distances, or nothing "
                "is reported. Ours also writes the rows, the script reads alone."
            )
        ],
    )


def _growth_table(found: Mapping[str, Mapping[str, Series]]) -> Table:
    def figure(what: str, key: str) -> Figure:
        """Show an exponent: 1 grows with the transactions, 0 does not grow."""
        exponent = growth_exponent(found["small"][key], found[OURS][key], factor=FACTOR)
        goal = Goal(f"at most {GOAL_EXPONENT:g}", met=exponent.median <= GOAL_EXPONENT)
        return Figure(what, "exponent", {OURS: exponent}, higher_is_better=False, goal=goal)

    figures = [
        *(figure(table, f"{step} s") for step, table in STEPS.items()),
        figure("all three", "s"),
        figure("peak memory of the program", "peak_mib"),
    ]
    small = found["small"]["s"]
    memory = found["small"]["peak_mib"]
    notes = [
        (
            "Seconds and memory grow as the transactions to this power. All three tables of the smaller day took "
            f"{small.median:.1f} s and {memory.median:.0f} MiB."
        )
    ]
    return Table(f"growth, from a day of a {FACTOR}th of that", (OURS,), figures, notes)


def _plans_table(days: Days) -> Table:
    """Show what the statements of the smaller day touch of the table that has both."""
    start = datetime(days.small.year, days.small.month, days.small.day, tzinfo=UTC)
    given = {
        "start": start,
        "end": start + timedelta(days=1),
        "ages": list(LABEL_AGES),
        "contract": CONTRACT,
        "manifest_version": MANIFEST,
    }
    columns = ", ".join([*SCORES, *(f"features[{place}]" for place in range(1, FEATURES + 1))])
    statements = {
        **{
            step: re.split(r"\n\)\n(?=select|with)", (SQL / f"{STEPS[step]}.sql").read_text(), maxsplit=1)[1]
            for step in ("summary", "performance")
        },
        "drift": NUMBERS.format(columns=columns),
    }
    (whole,) = days.warehouse.query("select relpages from pg_class where oid = 'fraud.fraud_predictions'::regclass")
    figures, notes = [], []
    for step, statement in statements.items():
        (row,) = days.warehouse.query(f"explain (analyze, buffers, format json) {statement}", given)
        plan = row["QUERY PLAN"][0]["Plan"]
        reads = [node for node in _nodes(plan) if node.get("Relation Name") == "fraud_predictions"]
        scans = [f"{node['Node Type']} {node.get('Index Name', '')}".strip() for node in reads]
        pages = sum(node["Shared Hit Blocks"] + node["Shared Read Blocks"] for node in reads)
        results = {
            OURS: Series((float(pages),)),
            "whole table": Series((float(whole["relpages"]),)),
        }
        figures.append(Figure(f"{STEPS[step]}: pages of fraud_predictions", "pages", results, compared=False))
        notes.append(f"{STEPS[step]} reads fraud_predictions by: {', '.join(scans)}.")
    return Table("plans, of the smaller day", (OURS, "whole table"), figures, notes)


def _nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for inner in plan.get("Plans", ()):
        yield from _nodes(inner)

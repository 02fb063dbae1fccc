"""The graph: where the time of ``bootstrap`` goes, how it grows with the rows, and what it costs to load the definitions.

Measured: ``fraudit graph bootstrap`` as a person runs it, a process of its own against services that are up, on the synthetic table of
284,807 rows; beside it a plain script (``peers/plain_script.py``) on the same rows. Then the same on 4 and 16 times the rows, with
the peak of the memory of the Dagster process. And ``dagster definitions validate`` beside an empty project's.
"""

import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil
from rich.progress import Progress

from benchmarks import servers
from benchmarks.measure import Contender, Series, growth_exponent, interleaved
from benchmarks.report import Figure, Goal, Report, Table

ROWS = 284_807
FRAUDS = 492
GOAL_S = 90.0
GOAL_EXPONENT = 1.1
GOAL_LOADING = 1.3
FLAT = 1.2
"""Times the memory on the smallest table that the largest may take and still be called flat."""
FRAUDIT = Path(sys.executable).with_name("fraudit")
DAGSTER = Path(sys.executable).with_name("dagster")
OURS, SCRIPT, EMPTY = "fraudit", "plain script", "empty project"
STEPS = {
    "raw__transactions": "raw table, stored and validated",
    "split": "split into three parts, validated",
    "model__xgboost": "model xgboost",
    "model__random_cut_forest": "model random cut forest",
    "endpoint__xgboost": "endpoint xgboost",
    "endpoint__random_cut_forest": "endpoint random cut forest",
    "model__evaluation": "evaluation through the endpoints",
    "model__registration": "registration",
    "serving__manifest": "gate and manifest",
}
BESIDE = {
    "raw__transactions": "read",
    "split": "split",
    "model__xgboost": "model xgboost",
    "model__random_cut_forest": "model random cut forest",
    "model__evaluation": "score",
}
"""Steps of ours that a step of the plain script may be held against."""
ROUNDS = 60
SAME_ROUNDS = f"ops: {{model__xgboost: {{config: {{num_round: {ROUNDS}, early_stopping_rounds: {ROUNDS}}}}}}}\n"
"""Else more rows would also mean more rounds before the training stops by itself, and their number would be measured too."""
EMPTY_PROJECT = "import dagster as dg\n\n\n@dg.definitions\ndef defs():\n    return dg.Definitions()\n"


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    repetitions: int = 2
    loadings: int = 5
    rows: int = ROWS
    frauds: int = FRAUDS
    factors: tuple[int, ...] = (1, 4, 16)


QUICK = Sizes(repetitions=1, loadings=1, rows=12_000, frauds=240, factors=(1, 4))


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the graph."""
    sizes = QUICK if quick else Sizes()
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    total = 2 * len(sizes.factors) + 2 * sizes.repetitions + 2 * sizes.loadings
    task = progress.add_task("Graph", total=total)

    def advance() -> None:
        progress.advance(task)

    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="graph-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        tables = {}
        for factor in sizes.factors:
            tables[factor] = _table(folder, rows=sizes.rows * factor, frauds=sizes.frauds * factor)
            advance()
        with _world(folder / "state") as environment:
            first = tables[sizes.factors[0]]
            contenders: dict[str, Contender] = {
                OURS: lambda: _bootstrap(first, environment),
                SCRIPT: lambda: _script(first),
            }
            found = interleaved(contenders, repetitions=sizes.repetitions, advance=advance)
            config = folder / "same-rounds.yaml"
            config.write_text(SAME_ROUNDS)
            grown = {}
            for factor, table in tables.items():
                once = _bootstrap(table, environment, config=config)
                grown[factor] = {key: Series((value,)) for key, value in once.items()}
                advance()
        loaded = interleaved(_loadings(folder), repetitions=sizes.loadings, advance=advance)
    tables_found = [
        _steps_table(found, sizes),
        _growth_table(grown, sizes),
        _loading_table(loaded),
    ]
    packages = ("dagster", "pyspark", "great-expectations", "xgboost", "pandas")
    return Report("graph", "The graph", packages, tables_found)


def _table(folder: Path, *, rows: int, frauds: int) -> Path:
    from fraudit_dagster.synthetic import write_synthetic

    path = folder / f"synthetic-{rows}.parquet"
    write_synthetic(path, rows=rows, frauds=frauds)
    return path


@contextmanager
def _world(state: Path) -> Iterator[dict[str, str]]:
    """Have the local world up without Dagster's UI, and give the environment that points to it."""
    _output([FRAUDIT, "up", "--state", state, "--only", "api,cloudwatch"], servers.environment())
    try:
        lines = _output([FRAUDIT, "env", "--state", state], servers.environment()).splitlines()
        pairs = (line.removeprefix("export ").split("=", 1) for line in lines)
        yield servers.environment(**{key: value.strip("'") for key, value in pairs})
    finally:
        _output([FRAUDIT, "down", "--state", state], servers.environment())


def _bootstrap(table: Path, environment: Mapping[str, str], *, config: Path | None = None) -> dict[str, float]:
    """Run ``bootstrap`` once; return seconds by step, in all, and the peak memory of its process (MiB) by step and in all."""
    command: list[str | Path] = [FRAUDIT, "graph", "bootstrap", "--json"]
    if config is not None:
        command += ["--config", config]
    started = time.perf_counter()
    child = subprocess.Popen(
        command,
        env={**environment, "FRAUDIT_DATASET": str(table)},
        cwd=servers.PROJECT_DIR,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    peaks = _Peaks(child.pid)
    events = []
    for line in child.stdout or ():
        if line.startswith("{"):
            events.append(json.loads(line))
            peaks.step = events[-1]["step"]
    child.wait()
    elapsed_s = time.perf_counter() - started
    if child.returncode:
        raise servers.ServerError(f"bootstrap failed: {events[-1]['message'] if events else 'it said nothing'}")
    steps = {event["step"]: event["seconds"] for event in events if event["event"] == "success"}
    rest = elapsed_s - sum(steps.values())
    memory = {f"{step} MiB": peak for step, peak in peaks.values().items()}
    return {**steps, **memory, "rest": rest, "all": elapsed_s, "peak_mib": max(memory.values())}


class _Peaks:
    """The most memory that a process has had in each step, looked at five times a second; its children do not count."""

    def __init__(self, pid: int) -> None:
        self.step = "starting"
        self._process = psutil.Process(pid)
        self._most: dict[str, int] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def _watch(self) -> None:
        try:
            while True:
                step = self.step
                self._most[step] = max(self._most.get(step, 0), self._process.memory_info().rss)
                time.sleep(0.2)
        except psutil.NoSuchProcess:
            return

    def values(self) -> dict[str, float]:
        """MiB by step."""
        self._thread.join(timeout=5)
        return {step: most / (1 << 20) for step, most in self._most.items()}


def _script(table: Path) -> dict[str, float]:
    started = time.perf_counter()
    printed = servers.output([sys.executable, servers.PEERS_DIR / "plain_script.py", table])
    elapsed_s = time.perf_counter() - started
    steps: dict[str, float] = json.loads(printed)["steps"]
    return {**steps, "rest": elapsed_s - sum(steps.values()), "all": elapsed_s}


def _loadings(folder: Path) -> dict[str, Contender]:
    empty = folder / "empty.py"
    empty.write_text(EMPTY_PROJECT)
    commands: dict[str, list[str | Path]] = {
        OURS: [DAGSTER, "definitions", "validate", "-w", servers.PROJECT_DIR / "workspace.yaml"],
        EMPTY: [DAGSTER, "definitions", "validate", "-f", empty],
    }

    def contender(command: list[str | Path]) -> Contender:
        def measure() -> dict[str, float]:
            started = time.perf_counter()
            _output(command, servers.environment())
            return {"validate": time.perf_counter() - started}

        return measure

    return {name: contender(command) for name, command in commands.items()}


def _output(command: list[str | Path], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        command, env=dict(environment), cwd=servers.PROJECT_DIR, check=False, capture_output=True, text=True
    )
    if done.returncode:
        raise servers.ServerError(f"{command[0]} ended with exit code {done.returncode}: {done.stderr[-1000:]}")
    return done.stdout


def _steps_table(found: Mapping[str, Mapping[str, Series]], sizes: Sizes) -> Table:
    ours, script = found[OURS], found[SCRIPT]
    whole = Figure(
        "bootstrap, from the command to its return",
        "s",
        {OURS: ours["all"], SCRIPT: script["all"]},
        higher_is_better=False,
        compared=False,
        goal=Goal(f"at most {GOAL_S:g} s", ours["all"].median <= GOAL_S),
    )
    steps = [
        Figure(
            text,
            "s",
            {OURS: ours[step], **({SCRIPT: script[BESIDE[step]]} if step in BESIDE else {})},
            higher_is_better=False,
            compared=False,
        )
        for step, text in STEPS.items()
    ]
    rest = Figure(
        "starting and ending the process",
        "s",
        {OURS: ours["rest"], SCRIPT: script["rest"]},
        higher_is_better=False,
        compared=False,
    )
    notes = [
        (
            "The services were up. The graph stores, validates and splits by Spark, trains by jobs, deploys, and judges through "
            "the endpoints over HTTP; the script does none of that. What the graph costs more is the price of it."
        )
    ]
    return Table(f"bootstrap on {sizes.rows:,} rows", (OURS, SCRIPT), [whole, *steps, rest], notes)


def _growth_table(grown: Mapping[int, Mapping[str, Series]], sizes: Sizes) -> Table:
    columns = [f"{factor} x" for factor in grown]
    least, most = min(grown), max(grown)
    figures = []
    for step, text in {**STEPS, "all": "bootstrap"}.items():
        exponent = growth_exponent(grown[least][step], grown[most][step], factor=most / least)
        figures.append(
            Figure(
                f"{text} (grows as rows^{exponent.median:.2f})",
                "s",
                {column: grown[factor][step] for column, factor in zip(columns, grown, strict=True)},
                higher_is_better=False,
                compared=False,
                goal=Goal(f"exponent at most {GOAL_EXPONENT:g}", exponent.median <= GOAL_EXPONENT),
            )
        )
    for key, text in {"peak_mib": "", **{f"{step} MiB": f": {text}" for step, text in STEPS.items()}}.items():
        peaks = {column: grown[factor][key] for column, factor in zip(columns, grown, strict=True)}
        goal = Goal(f"flat: at most {FLAT:g} times", peaks[columns[-1]].median <= FLAT * peaks[columns[0]].median)
        figures.append(
            Figure(
                f"peak memory of the Dagster process{text}",
                "MiB",
                peaks,
                higher_is_better=False,
                compared=False,
                goal=goal if key == "peak_mib" else None,
            )
        )
    notes = [
        f"Each once, with {ROUNDS} rounds of XGBoost at every size. Spark's Java process, the training jobs and the endpoints are processes of their own."
    ]
    return Table(f"growth from {sizes.rows:,} rows", columns, figures, notes)


def _loading_table(loaded: Mapping[str, Mapping[str, Series]]) -> Table:
    series = {name: loaded[name]["validate"] for name in (OURS, EMPTY)}
    ratio = series[OURS].over(series[EMPTY])
    figures = [
        Figure("dagster definitions validate", "s", series, higher_is_better=False),
        Figure(
            "ours over the empty project's",
            "x",
            {OURS: ratio},
            higher_is_better=False,
            goal=Goal(f"at most {GOAL_LOADING:g}", ratio.median <= GOAL_LOADING),
        ),
    ]
    return Table("loading the definitions", (OURS, EMPTY), figures)

"""``make demo``: everything once on this machine, from a table to rows in PostgreSQL, and a report.

Belongs here: the order of things, what is shown, the report. Does not: doing any of them.
"""

import json
import os
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from fraudit_dagster.cli import data, world
from fraudit_dagster.cli.errors import CommandError, known_errors
from fraudit_dagster.cli.simulate import Plan, simulate
from fraudit_dagster.contract import load_contract
from fraudit_dagster.monitoring import RUNNING, STARTING_STATES
from fraudit_dagster.settings import PROJECT_DIR, load_settings
from fraudit_dagster.tables import count_table, resolve_dataset
from fraudit_dagster.traffic import TrafficReport

SERVICES = ("api", "stream", "cloudwatch")
DRAIN_TIMEOUT_S = 180.0
SEED = 7

COUNTS = """
SELECT (SELECT count(*) FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS stored,
       (SELECT count(*) - count(DISTINCT transaction_id) FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS duplicates,
       (SELECT count(*) FROM fraud.quarantined_events) AS quarantined,
       (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - scored_at) * 1000)
          FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS p95_delay_ms
"""
DAILY = """
SELECT day, sum(transactions)::bigint AS transactions, sum(flagged)::bigint AS flagged
  FROM fraud.daily_fraud_summary WHERE day >= %(first)s AND day <= %(last)s GROUP BY day ORDER BY day
"""


def run(*, folder: Path, dataset: str | None, contract: Path | None, events: int, keep: bool, setup_s: float) -> None:
    """Run the demo; write ``report.json`` into its folder; leave nothing running unless ``keep``.

    Raises:
        CommandError: A part failed; the message says which and where its log is.
    """
    folder = folder.resolve()
    if dataset is not None:
        os.environ["FRAUDIT_DATASET"] = str(Path(dataset).resolve()) if Path(dataset).exists() else dataset
    if contract is not None:
        os.environ["FRAUDIT_CONTRACT"] = str(contract.resolve())
    _check_inputs()
    if folder.exists():
        world.stop(folder, log=folder / "logs" / "down.log")
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    console = Console(stderr=False)
    started = time.monotonic()
    try:
        with _Display(console) as display, _blaming(folder):
            report = _Demo(folder, display, events=events).run()
        report["timings_s"] = {
            "setup": setup_s,
            **report["timings_s"],
            "total": round(time.monotonic() - started + setup_s, 1),
        }
        (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
        console.print(_closing_table(report))
        console.print(f"report: {folder / 'report.json'}\nlogs:   {folder / 'logs'}", soft_wrap=True)
        if report["stream"]["sent"] != report["stream"]["stored"] or report["api"]["errors"]:
            raise CommandError(
                f"not every transaction arrived: {report['stream']}, {report['api']['errors']} errors of the API"
            )
        if keep:
            console.print(f"still up: `fraudit status --state {folder}`, `fraudit down --state {folder}`")
    finally:
        if not keep or sys.exc_info()[0] is not None:
            world.stop(folder, log=folder / "logs" / "down.log")


def _check_inputs() -> None:
    """Find what is wrong with the settings, the contract, the table or Java before anything is started."""
    from fraudit_dagster.java import find_java

    settings = load_settings()
    contract = load_contract(settings.contract)
    source = resolve_dataset(settings.dataset, user_file=PROJECT_DIR / "dataset" / "creditcard.csv")
    if source.kind in ("kaggle", "openml"):
        data.download(source=source.kind, force=False)
    if source.kind == "path" and count_table(Path(source.location), contract).frauds == 0:
        raise CommandError(f"{source.location}: no row has {contract.label} = 1, so there are no frauds to learn from")
    find_java()


@contextmanager
def _blaming(folder: Path) -> Iterator[None]:
    """Add to an error which services have died, if any, also those that came back: they are the likely cause."""
    try:
        yield
    except known_errors() as error:
        services = world.services(folder)
        dead = [
            f"service {name} is {service['status']}: {service['why'] or 'no reason given'}\nlog: {service['log']}"
            for name, service in services.items()
            if service["status"] not in {"healthy", "done"} or service["restarts"]
        ]
        raise CommandError("\n".join([str(error), *dead])) from error


class _Display:
    """One calm display: a line per stage, the one under way with its current step."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            SpinnerColumn(finished_text="✔"),
            TextColumn("{task.description:<28}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            TextColumn("[dim]{task.fields[step]}"),
            console=console,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._progress.stop()

    def note(self, text: str) -> None:
        """Say something that stays."""
        self._console.print(text)

    @contextmanager
    def stage(self, name: str) -> Iterator["_Stage"]:
        """Show a stage while the block runs."""
        stage = _Stage(self._progress, self._progress.add_task(name, total=None, step=""))
        if not self._console.is_terminal:
            self._console.print(f"… {name}")
        started = time.monotonic()
        yield stage
        stage.seconds = round(time.monotonic() - started, 1)
        stage.finish()


class _Stage:
    """One line of the display."""

    def __init__(self, progress: Progress, task: Any) -> None:
        self._progress, self._task = progress, task
        self.seconds = 0.0

    def step(self, text: str) -> None:
        """Say what is under way."""
        self._progress.update(self._task, step=text)

    def advance(self, done: int, total: int) -> None:
        """Say how much is done."""
        self._progress.update(self._task, completed=done, total=total)

    def finish(self) -> None:
        """Mark the stage as done."""
        self._progress.update(self._task, completed=1, total=1, step="")


class _Demo:
    """The stages, in order."""

    def __init__(self, folder: Path, display: _Display, *, events: int) -> None:
        self.folder, self.display, self.events = folder, display, events
        self.logs = folder / "logs"
        self.run_id = str(uuid.uuid4())
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start, self.end = today - timedelta(days=2), today

    def run(self) -> dict[str, Any]:
        """Run every stage and return the report, without the set-up's time."""
        timings: dict[str, float] = {}
        with self.display.stage("embedded AWS, API, stream") as stage:
            world.start(self.folder, only=SERVICES, log=self.logs / "up.log")
            os.environ.update(world.environment(self.folder))
            for name, service in world.services(self.folder).items():
                if service["port"] != service["wanted_port"]:
                    self.display.note(f"port {service['wanted_port']} is taken: {name} is at {service['url']}")
        timings["services"] = stage.seconds
        with self.display.stage("graph: train, judge, promote") as stage:
            self._graph(["bootstrap"], stage)
        timings["graph"] = stage.seconds
        self._look_at_services()
        with self.display.stage(f"{self.events:,} transactions") as stage:
            traffic = self._traffic(stage)
            stream = self._drain(traffic.answered, stage)
        timings["traffic"] = stage.seconds
        with self.display.stage("daily summary") as stage:
            last = self.end - timedelta(days=1)
            self._graph(["daily", "--first", f"{self.start:%Y-%m-%d}", "--last", f"{last:%Y-%m-%d}"], stage)
            days = self._query(DAILY, {"first": self.start.date(), "last": last.date()})
        timings["daily"] = stage.seconds
        return {
            **self._models(),
            "api": {
                "requests": traffic.requests,
                "errors": sum(traffic.errors.values()),
                "p50_ms": round(traffic.p50_ms, 2),
                "p99_ms": round(traffic.p99_ms, 2),
            },
            "stream": {"sent": traffic.answered, **stream},
            "daily": [
                {"day": f"{day['day']}", "transactions": day["transactions"], "flagged": day["flagged"]} for day in days
            ],
            "timings_s": timings,
        }

    def _graph(self, words: list[str], stage: _Stage) -> None:
        """Run a job of the graph in a process of its own and show its steps."""
        log = self.logs / "graph.log"
        reason = "it gave no reason"
        with log.open("a") as file:
            command = [sys.executable, "-m", "fraudit_dagster.cli", "graph", *words, "--json"]
            child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=file, text=True, cwd=PROJECT_DIR)
            try:
                for line in child.stdout or ():
                    file.write(line)
                    file.flush()
                    event = json.loads(line)
                    if event["event"] == "end":
                        reason = event["message"]
                    stage.step(event["message"] if event["event"] == "log" else event["step"])
            finally:
                if child.poll() is None:
                    child.terminate()
                code = child.wait()
        if code:
            raise CommandError(f"the graph failed: {reason}\nlog: {log}")

    def _traffic(self, stage: _Stage) -> TrafficReport:
        plan = Plan(
            events=self.events,
            seed=SEED,
            start=self.start,
            end=self.end - timedelta(milliseconds=1),
            run_id=self.run_id,
        )
        report = simulate(plan, watch=lambda tally: stage.advance(tally.requests, self.events)).report
        if report.interrupted:
            raise KeyboardInterrupt
        if report.stopped_by is not None:
            raise CommandError(report.stopped_by)
        return report

    def _drain(self, sent: int, stage: _Stage) -> dict[str, Any]:
        """Wait until every event is a row or in quarantine, the stream job dies, or the time is over."""
        stage.step("waiting for the stream")
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            (found,) = self._query(COUNTS, {"run_id": self.run_id})
            if found["stored"] + found["quarantined"] >= sent or time.monotonic() > deadline:
                break
            self._look_at_services()
            time.sleep(0.5)
        return {
            "stored": found["stored"],
            "duplicates": found["duplicates"],
            "quarantined": found["quarantined"],
            "p95_delay_ms": round(float(found["p95_delay_ms"] or 0.0), 1),
        }

    def _look_at_services(self) -> None:
        from fraudit_dagster.cli.operate import resources

        with resources(load_settings(), "stream_job") as using:
            run = using.stream_job.newest_run()
        if run is None or run.state not in {RUNNING, *STARTING_STATES}:
            state, reason = (run.state, run.error) if run else ("missing", "")
            log = self.folder / "glue" / "runs" / (run.id if run else "") / "error.log"
            raise CommandError(f"the stream job is {state}: {reason}\nlog: {log}")

    def _query(self, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        from fraudit_dagster.cli.operate import resources

        with resources(load_settings(), "warehouse") as using:
            rows: list[dict[str, Any]] = using.warehouse.query(statement, parameters)
        return rows

    def _models(self) -> dict[str, Any]:
        from fraudit_dagster.cli.operate import resources
        from fraudit_dagster.records import Evaluation, RawTable

        with resources(load_settings(), "storage") as using:
            graph = f"s3://{using.storage.model_bucket}/graph"
            raw = RawTable.model_validate_json(using.storage.read(f"{graph}/raw/transactions.json"))
            evaluation = Evaluation.model_validate_json(using.storage.read(f"{graph}/model/evaluation.json"))
        return {
            "dataset": {"source": raw.source, "rows": raw.rows, "frauds": raw.frauds, "synthetic": raw.synthetic},
            "models": {
                name: {key: round(scores[key], 4) for key in ("average_precision", "roc_auc")}
                for name, scores in evaluation.models.items()
            },
            "policy": {
                "review_at": evaluation.policy["review_at"],
                "block_at": evaluation.policy["block_at"],
                "expected_cost": round(evaluation.fused["expected_cost"], 2),
                "cost_without_model": round(evaluation.fused["cost_without_model"], 2),
            },
        }


def _closing_table(report: Mapping[str, Any]) -> Table:
    dataset, models, policy, stream, api = (report[key] for key in ("dataset", "models", "policy", "stream", "api"))
    kind = "synthetic transactions" if dataset["synthetic"] else "transactions"
    rows = [
        ("data", f"{dataset['rows']:,} {kind}, {dataset['frauds']:,} frauds"),
        *(
            (
                name.replace("_", " "),
                f"average precision {score['average_precision']:.3f}, ROC-AUC {score['roc_auc']:.3f}",
            )
            for name, score in models.items()
        ),
        (
            "decision",
            f"costs {policy['expected_cost']:,.0f} on the test part; without a model {policy['cost_without_model']:,.0f}",
        ),
        (
            "API",
            f"{api['requests']:,} requests, {api['errors']} errors, p50 {api['p50_ms']} ms, p99 {api['p99_ms']} ms",
        ),
        (
            "stream",
            (
                f"{stream['sent']:,} sent, {stream['stored']:,} stored, {stream['duplicates']} twice, "
                f"{stream['quarantined']} in quarantine, p95 {stream['p95_delay_ms']:,.0f} ms"
            ),
        ),
        *(
            (f"{day['day']}", f"{day['transactions']:,} transactions, {day['flagged']:,} flagged")
            for day in report["daily"]
        ),
        ("time", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["timings_s"].items())),
    ]
    table = Table(show_header=False, title="fraudit demo" + (" (synthetic data)" if dataset["synthetic"] else ""))
    for label, text in rows:
        table.add_row(label, text)
    return table

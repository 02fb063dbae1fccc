"""``make demo``: everything once on this machine, from a table to rows in PostgreSQL, and a report.

Belongs here: the order of things, and what is reported. Does not: doing any of them, showing them (``cli/demo_display.py``,
``cli/demo_report.py``).
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rich.console import Console

from fraudit_dagster.cli import data, world
from fraudit_dagster.cli.demo_display import Display, Stage
from fraudit_dagster.cli.demo_report import closing_table, page
from fraudit_dagster.cli.errors import CommandError, known_errors
from fraudit_dagster.cli.interrupts import interruptible, uninterrupted
from fraudit_dagster.cli.operate import resources, start_stream
from fraudit_dagster.cli.simulate import simulate
from fraudit_dagster.contract import load_contract
from fraudit_dagster.monitoring import RUNNING, STARTING_STATES
from fraudit_dagster.settings import PROJECT_DIR, load_settings
from fraudit_dagster.synthetic import kept_table
from fraudit_dagster.tables import count_table, resolve_dataset
from fraudit_dagster.traffic import TrafficReport
from jobs.simulator import Plan

SERVICES = ("api", "glue", "cloudwatch")
STREAM_AFTER = "raw__transactions"
"""Step of the graph after which the stream job starts: not beside the longest one, and long before there is traffic."""
DRAIN_TIMEOUT_S = 180.0
SEED = 7
USER_FILE = PROJECT_DIR / "dataset" / "creditcard.csv"

COUNTS = """
SELECT (SELECT count(*) FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS stored,
       (SELECT count(*) - count(DISTINCT transaction_id) FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS duplicates,
       (SELECT count(*) FROM fraud.quarantined_events) AS quarantined,
       (SELECT percentile_cont(0.95) WITHIN GROUP (ORDER BY extract(epoch FROM stored_at - scored_at) * 1000)
          FROM fraud.fraud_predictions WHERE run_id = %(run_id)s) AS p95_delay_ms
"""
HOURS = """
SELECT date_trunc('hour', occurred_at, 'UTC') AS hour,
       count(*) FILTER (WHERE decision = 'approve') AS approve,
       count(*) FILTER (WHERE decision = 'review') AS review,
       count(*) FILTER (WHERE decision = 'block') AS block
  FROM fraud.fraud_predictions WHERE run_id = %(run_id)s GROUP BY 1 ORDER BY 1
"""
DAILY = """
SELECT day, sum(transactions)::bigint AS transactions, sum(flagged)::bigint AS flagged
  FROM fraud.daily_fraud_summary WHERE day >= %(first)s AND day <= %(last)s GROUP BY day ORDER BY day
"""


def run(*, folder: Path, dataset: str | None, contract: Path | None, events: int, keep: bool, setup_s: float) -> None:
    """Run the demo; write ``report.json`` and ``report.html`` into its folder; leave nothing running unless ``keep``.

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
    console = Console()
    started, kept = time.monotonic(), False
    with interruptible("everything is stopped, nothing is left running"), Display(console) as display:
        try:
            with _blaming(folder):
                report = _Demo(folder, display, events=events).run()
            lost = _lost(report)
            kept = keep and lost is None
        finally:
            if not kept:
                with display.stage("stop everything"), uninterrupted():
                    world.stop(folder, log=folder / "logs" / "down.log")
    report["timings_s"] = {
        "setup": setup_s,
        **report["timings_s"],
        "total": round(time.monotonic() - started + setup_s, 1),
    }
    (folder / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    (folder / "report.html").write_text(page(report))
    console.print(closing_table(report))
    console.print(f"report: {folder / 'report.html'} (and report.json)\nlogs:   {folder / 'logs'}", soft_wrap=True)
    if lost is not None:
        raise CommandError(lost)
    if kept:
        console.print(f"still up: `fraudit status --state {folder}`, `fraudit down --state {folder}`", soft_wrap=True)


def _lost(report: Mapping[str, Any]) -> str | None:
    """Say what did not arrive; None: all did."""
    stream, errors = report["stream"], report["api"]["errors"]
    if stream["sent"] == stream["stored"] and not errors:
        return None
    return f"not every transaction arrived: {stream}, {errors} errors of the API"


def _check_inputs() -> None:
    """Find what is wrong with the settings, the contract, the table or Java before anything is started."""
    from fraudit_dagster.java import find_java

    settings = load_settings()
    contract = load_contract(settings.contract)
    source = resolve_dataset(settings.dataset, user_file=USER_FILE)
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


class _Demo:
    """The stages, in order."""

    def __init__(self, folder: Path, display: Display, *, events: int) -> None:
        self.folder, self.display, self.events = folder, display, events
        self.logs = folder / "logs"
        self.run_id = str(uuid.uuid4())
        today = datetime.now(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
        self.start, self.end = today - timedelta(days=2), today

    def run(self) -> dict[str, Any]:
        """Run every stage and return the report, without the set-up's time."""
        used_again = self._used_again()
        self.display.note(f"used again: {'; '.join(used_again) or 'nothing'}. All else is made anew.")
        timings: dict[str, float] = {}
        with self.display.stage("embedded AWS, API") as stage:
            world.start(self.folder, only=SERVICES, log=self.logs / "up.log", watch=stage.step)
            os.environ.update(world.environment(self.folder))
        self._note_ports()
        timings["services"] = stage.seconds
        with self.display.stage("graph: train, judge, promote") as stage:
            self._graph(["bootstrap"], stage, once_done={STREAM_AFTER: start_stream})
        timings["graph"] = stage.seconds
        self._look_at_services()
        with self.display.stage(f"{self.events:,} transactions") as stage:
            traffic = self._traffic(stage)
            stream = self._drain(traffic.answered, stage)
        timings["traffic"] = stage.seconds
        with self.display.stage("daily tables") as stage:
            last = self.end - timedelta(days=1)
            self._graph(["daily", "--first", f"{self.start:%Y-%m-%d}", "--last", f"{last:%Y-%m-%d}"], stage)
            days = self._query(DAILY, {"first": self.start.date(), "last": last.date()})
            hours = self._query(HOURS, {"run_id": self.run_id})
        timings["daily"] = stage.seconds
        return {
            "ended_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
            "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}",
            "used_again": used_again,
            **self._models(),
            "api": {
                "requests": traffic.requests,
                "errors": sum(traffic.errors.values()),
                "p50_ms": round(traffic.p50_ms, 2),
                "p99_ms": round(traffic.p99_ms, 2),
                "latency_edges_ms": traffic.latency_edges_ms,
                "latency_counts": traffic.latency_counts,
            },
            "stream": {"sent": traffic.answered, **stream},
            "daily": [
                {"day": f"{day['day']}", "transactions": day["transactions"], "flagged": day["flagged"]} for day in days
            ],
            "hours": [{**hour, "hour": hour["hour"].isoformat()} for hour in hours],
            "timings_s": timings,
        }

    def _used_again(self) -> list[str]:
        """Say what earlier runs left that this one need not make again: never a result."""
        settings = load_settings()
        table = kept_table(settings.work_dir)
        source = resolve_dataset(settings.dataset, user_file=USER_FILE)
        if source.kind != "synthetic" or not table.is_file():
            return []
        made = datetime.fromtimestamp(table.stat().st_mtime, UTC)
        return [f"the synthetic table that the same code made at {made:%Y-%m-%d %H:%M} UTC"]

    def _note_ports(self) -> None:
        """Say where the API is, where it is not where it is looked for."""
        moved = {
            name: service
            for name, service in world.services(self.folder).items()
            if service["port"] != service["wanted_port"]
        }
        if api := moved.pop("api", None):
            others = f"; so are {len(moved)} of the embedded AWS" if moved else ""
            self.display.note(f"port {api['wanted_port']} is taken: api is at {api['url']}{others}")

    def _graph(
        self, words: list[str], stage: Stage, *, once_done: Mapping[str, Callable[[], object]] | None = None
    ) -> None:
        """Run a job of the graph in a process of its own, show its steps, and call what is to follow some of them."""
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
                    step = event["step"].replace("__", "/")
                    stage.step(f"{step}: {event['message']}" if event["message"] else step)
                    if once_done and event["event"] == "success" and event["step"] in once_done:
                        once_done[event["step"]]()
            finally:
                if child.poll() is None:
                    child.terminate()
                code = child.wait()
        if code:
            raise CommandError(f"the graph failed: {reason}\nlog: {log}")

    def _traffic(self, stage: Stage) -> TrafficReport:
        plan = Plan(
            events=self.events,
            seed=SEED,
            start=self.start,
            end=self.end - timedelta(milliseconds=1),
            run_id=self.run_id,
        )
        report = simulate(plan, watch=lambda tally: stage.step(f"{tally.requests:,} sent")).report
        if report.stopped_by is not None:
            raise CommandError(report.stopped_by)
        return report

    def _drain(self, sent: int, stage: Stage) -> dict[str, Any]:
        """Wait until every event is a row or in quarantine, the stream job dies, or the time is over."""
        deadline = time.monotonic() + DRAIN_TIMEOUT_S
        while True:
            (found,) = self._query(COUNTS, {"run_id": self.run_id})
            arrived = found["stored"] + found["quarantined"]
            if arrived >= sent or time.monotonic() > deadline:
                break
            stage.step(f"{sent:,} answered, {arrived:,} stored")
            self._look_at_services()
            time.sleep(0.5)
        return {
            "stored": found["stored"],
            "duplicates": found["duplicates"],
            "quarantined": found["quarantined"],
            "p95_delay_ms": round(float(found["p95_delay_ms"] or 0.0), 1),
        }

    def _look_at_services(self) -> None:
        with resources(load_settings(), "stream_job") as using:
            run = using.stream_job.newest_run()
        if run is None or run.state not in {RUNNING, *STARTING_STATES}:
            state, reason = (run.state, run.error) if run else ("missing", "")
            log = self.folder / "glue" / "runs" / (run.id if run else "") / "error.log"
            raise CommandError(f"the stream job is {state}: {reason}\nlog: {log}")

    def _query(self, statement: str, parameters: Mapping[str, Any]) -> list[dict[str, Any]]:
        with resources(load_settings(), "warehouse") as using:
            rows: list[dict[str, Any]] = using.warehouse.query(statement, parameters)
        return rows

    def _models(self) -> dict[str, Any]:
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
            "curves": {
                "precision_over_recall": evaluation.model_dump(mode="json")["precision_over_recall"],
                "cost": evaluation.model_dump(mode="json")["cost_curve"],
            },
        }

"""How long the AWS parts of the local world take to be healthy, when everything is warm.

Measured: ``localaws up`` of moto, Kinesis, SageMaker, Glue and PostgreSQL to its return, and each service as the status file has
it, in a state folder that was up before. Beside it a moto server alone: the least that any local AWS with moto takes.
"""

import json
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from rich.progress import Progress

from benchmarks import servers
from benchmarks.measure import interleaved
from benchmarks.report import Figure, Goal, Report, Table

SERVICES = ("moto", "kinesis", "sagemaker", "glue", "cloudwatch", "postgres")
COMMAND = Path(sys.executable).with_name("localaws")
GOAL_S = 10.0
OURS, PEER = "localaws up", "moto server alone"


def run(*, quick: bool, progress: Progress) -> Report:
    """Measure the start."""
    repetitions = 2 if quick else 7
    servers.BENCH_DIR.mkdir(parents=True, exist_ok=True)
    task = progress.add_task("Start: warm up", total=1 + 2 * repetitions)
    with tempfile.TemporaryDirectory(dir=servers.BENCH_DIR, prefix="start-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        contenders = {OURS: _up_and_down(folder / "state"), PEER: _moto(folder)}
        contenders[OURS]()
        progress.advance(task)
        found = interleaved(contenders, repetitions=repetitions, advance=lambda: progress.advance(task))
    whole = {who: found[who]["all"] for who in (OURS, PEER)}
    figures = [
        Figure(
            "all of it, to the return of the command",
            "s",
            whole,
            higher_is_better=False,
            compared=False,
            goal=Goal(f"healthy within {GOAL_S:g} s", whole[OURS].median <= GOAL_S),
        ),
        *(
            Figure(f"{service}, healthy after", "s", {OURS: found[OURS][service]}, higher_is_better=False)
            for service in SERVICES
        ),
    ]
    notes = ["Warm: the state folder was up before, so that PostgreSQL has its files and Python its compiled modules."]
    table = Table("start, warm", (OURS, PEER), figures, notes)
    return Report("startup", "Start of the local AWS", ("localaws", "moto"), [table])


def _up_and_down(state: Path) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        port = servers.free_port()
        began, started = datetime.now(UTC), time.perf_counter()
        try:
            servers.output([COMMAND, "up", "--state", state, "--only", ",".join(SERVICES), "--port-base", str(port)])
            elapsed_s = time.perf_counter() - started
            services = json.loads((state / "status.json").read_text())["services"]
        finally:
            servers.output([COMMAND, "down", "--state", state])
        since = {name: datetime.fromisoformat(services[name]["since"]) for name in SERVICES}
        return {"all": elapsed_s, **{name: (moment - began).total_seconds() for name, moment in since.items()}}

    return measure


def _moto(folder: Path) -> Callable[[], dict[str, float]]:
    def measure() -> dict[str, float]:
        started = time.perf_counter()
        with servers.moto(folder):
            return {"all": time.perf_counter() - started}

    return measure

"""Simulated customers, switched on in the Dagster UI: the job ``simulate_traffic`` and the sensor that keeps it going.

Belongs here: a run of the simulator as a run of the graph, and when there is one. Does not: what is sent (``jobs/simulator.py``).
Neither is part of the graph unless a setting asks for it: where people pay with cards, no switch may make up transactions.
"""

import secrets
from datetime import UTC, datetime, timedelta

import dagster as dg
from pydantic import Field

from assets.failures import hopeless
from fraudit_dagster.records import Part
from fraudit_dagster.simulation import Feedback, SimulationError
from jobs.simulator import TEST, Plan, carry_out
from resources.manifests import Manifests
from resources.prediction_api import PredictionApi
from resources.project import Project
from resources.records import RecordError, RecordIOManager
from resources.storage import Storage

RUN_S = 180.0
"""How long a run of the sensor sends: what is queued behind it waits no longer."""
LABEL_DELAY_SHARE = 0.25
"""Of a run's time, as the command has it: the median label comes while the run lasts."""
UNDER_WAY = [
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


class SimulatorConfig(dg.Config):
    """What to send, as options of ``fraudit simulate``."""

    events: int = Field(default=180, ge=1, description="Transactions to send.")
    rate: float = Field(default=1.0, ge=0.001, description="Transactions per second.")
    feedback: float = Field(default=0.1, ge=0, le=1, description="Share of them whose label is sent later.")


@dg.op(pool="simulator", tags={"dagster/compute_kind": "http"})
def send_transactions(
    context: dg.OpExecutionContext,
    config: SimulatorConfig,
    project: Project,
    io_manager: dg.ResourceParam[RecordIOManager],
    storage: Storage,
    prediction_api: PredictionApi,
) -> None:
    """Send rows of the test part to the prediction API at a rate, as transactions of the minutes before, and some of their labels.

    Raises:
        dagster.Failure: There is nothing to send, or the API takes nothing; single errors are counted.
    """
    end = datetime.now(UTC)
    span = timedelta(seconds=config.events / config.rate)
    plan = Plan(
        events=config.events,
        seed=secrets.randbits(32),
        start=end - span,
        end=end,
        feedback=Feedback(config.feedback, span * LABEL_DELAY_SHARE) if config.feedback else None,
        rate=config.rate,
    )
    with hopeless(RecordError, SimulationError):
        simulation = carry_out(
            plan,
            contract=project.contract,
            io_manager=io_manager,
            storage=storage,
            prediction_api=prediction_api,
        )
    report = simulation.report
    if report.stopped_by is not None:
        raise dg.Failure(description=report.stopped_by, allow_retries=False)
    for code, message in report.messages.items():
        context.log.warning("%s: %s", code, message)
    context.log.info("%s of %s transactions answered, %s labels", report.answered, report.requests, report.labels)
    context.add_output_metadata(
        {
            "run_id": simulation.run_id,
            "requests": report.requests,
            "answered": report.answered,
            "failed": report.failed,
            "labels": report.labels,
            "p50_ms": report.p50_ms,
            "p99_ms": report.p99_ms,
            "decisions": dict(report.decisions),
        }
    )


@dg.job(
    description="Simulated transactions for the prediction API, of the test part of the table; not of real people.",
    tags={"dagster/priority": "-1"},  # what is queued beside it goes first
)
def simulate_traffic() -> None:
    """Run the one step of the job."""
    send_transactions()


def simulated_traffic(rate: float) -> dg.SensorDefinition:
    """Return the sensor that keeps the job running, ``rate`` transactions a second, while it is switched on."""

    @dg.sensor(
        name="simulated_traffic",
        job=simulate_traffic,
        minimum_interval_seconds=15,
        default_status=dg.DefaultSensorStatus.STOPPED,
        description=f"Simulated customers: about {rate:g} transactions a second while this is on. A run sends for {RUN_S:g} s; "
        "the next one begins when it has ended.",
    )
    def sensor(
        context: dg.SensorEvaluationContext, io_manager: dg.ResourceParam[RecordIOManager], manifests: Manifests
    ) -> dg.RunRequest | dg.SkipReason:
        if manifests.current() is None:
            return dg.SkipReason("nothing serves yet: run the job bootstrap first")
        try:
            io_manager.load(TEST, Part)
        except RecordError as error:
            return dg.SkipReason(str(error))
        if context.instance.get_runs_count(dg.RunsFilter(job_name=simulate_traffic.name, statuses=UNDER_WAY)):
            return dg.SkipReason("a run is under way")
        config = {"events": max(1, round(rate * RUN_S)), "rate": rate}
        return dg.RunRequest(run_config={"ops": {send_transactions.name: {"config": config}}})

    return sensor

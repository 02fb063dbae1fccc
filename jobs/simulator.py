"""One run of the simulator: a plan, and sending what it asks for.

Belongs here: what the command and the job share. Does not: which requests a plan means (``fraudit_dagster/simulation.py``), sending
them (``resources/traffic.py``), when it is done (``jobs/simulated_traffic.py``).
"""

import uuid
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import dagster as dg

from fraudit_dagster.contract import Contract
from fraudit_dagster.records import Part
from fraudit_dagster.simulation import Drift, Feedback, Order, plan_events
from fraudit_dagster.traffic import TrafficReport
from resources.prediction_api import PredictionApi
from resources.records import RecordIOManager
from resources.storage import Storage

if TYPE_CHECKING:
    from resources.traffic import Watch

TEST = dg.AssetKey(["dataset", "test"])
FLAT_OUT_CONCURRENCY = 4
RATE_CONCURRENCY = 64
"""At a rate, requests under way grow with the API's latency: 1,280/s at 50 ms. An API that is slower than the rate is kept busy
by so many, and drowns in more."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run sends. The same plan on the same table is the same requests, byte for byte.

    Attributes:
        events: Transactions.
        seed: Of every draw.
        start: Time of the first transaction, with an offset.
        end: Time of the last one, with an offset.
        order: Of sending.
        feedback: What is said of the transactions later; None: nothing.
        drift: How the transactions change on the way; None: not at all.
        rate: Transactions per second; None: flat out.
        concurrency: Requests under way at most; None: 4 flat out, 64 at a rate.
        run_id: Of the events; None: one that follows from the plan and the table, so that other bodies never have the same ids.
    """

    events: int
    seed: int
    start: datetime
    end: datetime
    order: Order = "time"
    feedback: Feedback | None = None
    drift: Drift | None = None
    rate: float | None = None
    concurrency: int | None = None
    run_id: str | None = None


@dataclass(frozen=True, slots=True)
class Simulation:
    """A run that has ended.

    Attributes:
        run_id: In every event, and in the warehouse's column of that name.
        rows: Of the test part.
        plan: What was to be sent.
        report: What became of it.
    """

    run_id: str
    rows: int
    plan: Plan
    report: TrafficReport


def carry_out(
    plan: Plan,
    *,
    contract: Contract,
    io_manager: RecordIOManager,
    storage: Storage,
    prediction_api: PredictionApi,
    watch: "Watch | None" = None,
) -> Simulation:
    """Send rows of the test part, which no model has learnt from, and return what became of them.

    Args:
        plan: What to send.
        contract: Of the table.
        io_manager: Knows where the test part is.
        storage: Has it.
        prediction_api: Where to send.
        watch: Called with the counts so far, after each answer.

    Raises:
        RecordError: There is no test part yet.
        StorageError: S3 could not be reached.
        SimulationError: The part allows no traffic.
    """
    from assets.scoring import read_part
    from resources import traffic

    part = io_manager.load(TEST, Part)
    with TemporaryDirectory(prefix="fraudit-simulate-") as folder:
        table = read_part(part, storage, Path(folder))
    run_id = plan.run_id or str(_run_id(plan, part.raw_sha256))
    events = plan_events(
        table,
        contract,
        run_id=run_id,
        seed=plan.seed,
        events=plan.events,
        start=plan.start,
        end=plan.end,
        order=plan.order,
        feedback=plan.feedback,
        drift=plan.drift,
    )
    concurrency = plan.concurrency or (RATE_CONCURRENCY if plan.rate else FLAT_OUT_CONCURRENCY)
    report = traffic.send(prediction_api, events, concurrency=concurrency, rate=plan.rate, watch=watch)
    return Simulation(run_id, len(table), plan, report)


def _run_id(plan: Plan, raw_sha256: str) -> uuid.UUID:
    what: list[object] = [raw_sha256, plan.seed, plan.events, plan.order, plan.start.isoformat(), plan.end.isoformat()]
    if plan.drift is not None:
        what.append(plan.drift)
    return uuid.uuid5(uuid.NAMESPACE_URL, "/".join(map(str, what)))

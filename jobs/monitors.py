"""A sensor for each part that runs outside Dagster: it looks every half minute, shows what it found, and has dead things repaired.

Belongs here: what follows from a look. Does not: the look itself (``resources/watch.py``), verdicts, incidents and back-off
(``fraudit_dagster/monitoring.py``, ``incidents.py``, ``repairs.py``), repairing (``jobs/repair.py``).

A part that is dead is a finding. An exception is a bug: Dagster records it with the tick, the cursor stays, the next tick goes on, and
the heartbeats that are missing meanwhile are noticed by others: the asset's freshness policy, and an alarm in CloudWatch.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from assets import external
from fraudit_dagster.incidents import Component, Memory, Message, advance, gave_up
from fraudit_dagster.monitoring import Finding, Verdict
from fraudit_dagster.repairs import Step, next_step, seen_running
from jobs.repair import repair_stream_job
from resources.alerts import AlertError, Alerts
from resources.cloudwatch import CloudWatchError
from resources.watch import JobFinding, Watch

INTERVAL_S = 30
DAEMON = "daemon"
"""The component whose heartbeat says that Dagster's daemon still evaluates sensors."""


def _monitor(
    name: str, asset: dg.AssetSpec, look: Callable[[Watch], Finding], *, job_name: str | None = None
) -> dg.SensorDefinition:
    @dg.sensor(
        name=name,
        job_name=job_name,
        minimum_interval_seconds=INTERVAL_S,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=f"Looks at {'/'.join(asset.key.path)}: checks, heartbeats, alerts.{' Has it repaired.' if job_name else ''}",
    )
    def monitor(context: dg.SensorEvaluationContext, watch: Watch) -> dg.SensorResult:
        return tick(context, watch, asset.key, look(watch), now=datetime.now(UTC))

    return monitor


def tick(
    context: dg.SensorEvaluationContext, watch: Watch, asset_key: dg.AssetKey, finding: Finding, *, now: datetime
) -> dg.SensorResult:
    """Do what follows from a look: show it, tell people, put heartbeats, request a repair."""
    name = "/".join(asset_key.path)
    component = Component(name, f"{watch.alerts.dagster_url}/assets/{name}")
    memory = Memory.read(context.cursor)
    messages: list[Message] = []
    requests: list[dg.RunRequest] = []
    if isinstance(finding, JobFinding):
        memory, requests, messages = _repair(memory, finding, component, now=now)
    memory = advance(memory, finding.signals, component=component, now=now).with_untold(messages)
    events: list[Any] = []
    if memory.must_show(finding.signals, now=now):
        events, memory = _shown(asset_key, finding), memory.with_shown(finding.signals, now=now)
    _beat(context, watch, [name, DAEMON] if finding.is_healthy else [DAEMON])
    memory = memory.model_copy(update={"untold": _told(context, watch.alerts, memory.untold)})
    return dg.SensorResult(asset_events=events, run_requests=requests, cursor=memory.written())


def _repair(
    memory: Memory, finding: JobFinding, component: Component, *, now: datetime
) -> tuple[Memory, list[dg.RunRequest], list[Message]]:
    repairs, wish, running = memory.repairs, finding.wish, finding.signals[0]
    if not finding.is_dead or wish is None:
        repairs = seen_running(repairs) if running.verdict is Verdict.GOOD else repairs
        return memory.model_copy(update={"repairs": repairs}), [], []
    repairs, step = next_step(repairs, wished_at=wish.since, now=now)
    memory = memory.model_copy(update={"repairs": repairs})
    if step is Step.GIVE_UP:
        return memory, [], [gave_up(component, running, repairs, now=now)]
    if step is not Step.START:
        return memory, [], []
    dead = finding.run.id if finding.run else "none"
    run_key = f"{wish.since.isoformat()}|{dead}|{repairs.count}"
    return memory, [dg.RunRequest(run_key=run_key, tags={"fraudit/dead_run": dead})], []


def _shown(asset_key: dg.AssetKey, finding: Finding) -> list[Any]:
    """Return the events of a finding: each check's, and a heartbeat where all is well; else an observation, which is none."""
    checks = [
        dg.AssetCheckEvaluation(
            asset_key=asset_key,
            check_name=str(result.check_name),
            passed=result.passed,
            severity=result.severity,
            description=result.description,
            metadata=result.metadata,
        )
        for result in external.results(asset_key, finding.signals)
    ]
    says = {signal.name: signal.says for signal in finding.signals}
    if finding.is_healthy:
        tags = {"dagster/data_version": finding.version}
        return [*checks, dg.AssetMaterialization(asset_key, metadata=says, tags=tags)]
    return [*checks, dg.AssetObservation(asset_key, metadata=says)]


def _beat(context: dg.SensorEvaluationContext, watch: Watch, components: Sequence[str]) -> None:
    try:
        watch.cloudwatch.beat(components)
    except CloudWatchError as error:
        context.log.warning("%s", error)


def _told(context: dg.SensorEvaluationContext, alerts: Alerts, untold: Sequence[Message]) -> tuple[Message, ...]:
    """Tell the messages in turn and return those that are still untold, because the topic could not be reached."""
    for number, message in enumerate(untold):
        try:
            has_topic = alerts.tell(message.subject, message.text)
        except AlertError as error:
            context.log.warning("%d messages are told later: %s", len(untold) - number, error)
            return tuple(untold[number:])
        if not has_topic:
            context.log.warning("%s (no operations topic is set: OPERATIONS_TOPIC_ARN)", message.subject)
    return ()


MONITORS = [
    _monitor("watch_api", external.PREDICT, lambda watch: watch.api()),
    _monitor("watch_stream", external.TRANSACTIONS, lambda watch: watch.stream()),
    _monitor("watch_job", external.JOB, lambda watch: watch.job(), job_name=repair_stream_job.name),
    _monitor("watch_table", external.PREDICTIONS, lambda watch: watch.table()),
]

"""How runs are started: as Dagster does it by itself, and noticed when their process is gone.

Belongs here: whether a run still has a process. Does not: what follows from it (``run_monitoring`` and ``run_retries`` in ``dagster.yaml``).
Named in ``dagster.yaml``, and loaded by the webserver, the daemon and the code server alike.
"""

import time
from typing import Any

import dagster as dg
from dagster._core.errors import DagsterUserCodeUnreachableError
from dagster._core.launcher import CheckRunHealthResult, WorkerStatus
from dagster._grpc.types import CanCancelExecutionRequest, CanCancelExecutionResult
from dagster._serdes import deserialize_value
from dagster._serdes.config_class import ConfigurableClassData

ANSWER_TIMEOUT_S = 10
LONGEST_SILENCE_S = 300
"""How long a code server may not answer before its runs count as gone: a restart takes one or two minutes on Fargate."""


class WatchedRunLauncher(dg.DefaultRunLauncher):
    """Runs are processes of the code server, which is asked whether it still has them.

    Dagster's own launcher cannot tell: a run whose container was stopped would be "started" for ever, and with it the place that it
    takes in the queue and in its pool.
    """

    def __init__(self, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(inst_data)
        self._silent_since: dict[str, float] = {}

    @property
    def supports_check_run_worker_health(self) -> bool:
        """Yes: `check_run_worker_health` is what this class adds."""
        return True

    def check_run_worker_health(self, run: dg.DagsterRun) -> CheckRunHealthResult:
        """Ask the code server that started a run whether its process is there.

        A server that does not answer may be restarting, or be busy: only after ``LONGEST_SILENCE_S`` are its runs taken for gone.
        """
        launcher: Any = self  # the method has no types
        client = launcher._get_grpc_client_for_termination(run.run_id)  # noqa: SLF001 - its own, of the class above
        if client is None:  # it has ended in the meantime, or is a process of somebody else: `fraudit graph`
            return CheckRunHealthResult(WorkerStatus.SUCCESS)
        try:
            answer = client.can_cancel_execution(CanCancelExecutionRequest(run_id=run.run_id), timeout=ANSWER_TIMEOUT_S)
        except DagsterUserCodeUnreachableError:
            silent_s = time.monotonic() - self._silent_since.setdefault(run.run_id, time.monotonic())
            if silent_s < LONGEST_SILENCE_S:
                return CheckRunHealthResult(WorkerStatus.RUNNING)
            return _gone(f"the code server has not answered for {silent_s:.0f} s")
        self._silent_since.pop(run.run_id, None)
        if deserialize_value(answer, CanCancelExecutionResult).can_cancel:
            return CheckRunHealthResult(WorkerStatus.RUNNING)
        return _gone("the code server has no process of this run: it was restarted, or the process was killed")


def _gone(why: str) -> CheckRunHealthResult:
    return CheckRunHealthResult(WorkerStatus.FAILED, why)

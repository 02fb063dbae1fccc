"""The job ``repair_stream_job``: the stream job runs again, if it is to.

Belongs here: doing it, as a run that the UI shows. Does not: when it is done, and how often (``jobs/monitors.py``).
"""

import dagster as dg

from resources.stream_job import StreamJob


@dg.op(pool="stream_job", tags={"dagster/compute_kind": "glue"})
def start_again(context: dg.OpExecutionContext, stream_job: StreamJob) -> None:
    """Start the stream job as ``fraudit stream start`` does, unless it was stopped on purpose in the meantime."""
    run_id = stream_job.repair()
    if run_id is None:
        context.log.info("the stream job is stopped on purpose: it stays so")
    else:
        context.log.info("run %s of the stream job is under way", run_id)
    context.add_output_metadata({"run_id": run_id or "none"})


@dg.job(description="Starts the stream job where it died; its monitor asks for it.")
def repair_stream_job() -> None:
    """Run the one step of the job."""
    start_again()

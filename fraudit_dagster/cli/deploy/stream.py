"""``fraudit deploy stream``: the stream job's script, wheel and environment in the stream bucket, and the job restarted on them.

Belongs here: which files these are, bringing the bucket to them, and when the job is restarted. Does not: how the environment is made
(``stream_environment.py``), nor the job itself (``infra/terraform/modules/glue``, ``infra/local/resources.yaml``).

The checkpoint is in another folder, and nothing here touches it: the job goes on where it stopped.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.checksums import CHECKSUMS, as_file, digests, read_sums
from fraudit_dagster.cli.deploy.stream_environment import build_environment
from fraudit_dagster.cli.deploy.wheels import build_wheel
from fraudit_dagster.settings import PROJECT_DIR
from resources.glue import ENDED
from resources.storage import Storage
from resources.stream_job import StreamJob

GLUE = PROJECT_DIR / "glue"
FOLDER = "glue"
"""In the stream bucket; the job names the files in it."""
SCRIPT, WHEEL, ENVIRONMENT = "glue_job.py", "fraudit_stream-py3-none-any.whl", "environment.tar.gz"
NEEDS_ENVIRONMENT = "--python-virtual-env"
"""The job's argument. One without it, such as the local world's, runs on the packages that are there."""


def code() -> dict[str, bytes]:
    """Return the job's script and wheel by name: the same bytes from the same files.

    Raises:
        CommandError: The wheel could not be built.
    """
    return {SCRIPT: (GLUE / SCRIPT).read_bytes(), WHEEL: build_wheel(GLUE)[1]}


def changes(storage: Storage, job: StreamJob) -> Iterator[Change]:
    """Yield what differs between the bucket and this checkout, and the restart that this asks for.

    The job is restarted where it runs; one that is stopped, or is being stopped on purpose, stays so.

    Raises:
        CommandError: The wheel or the environment could not be built.
        StorageError: S3 refused, or could not be reached.
        GlueError: The job does not exist, did not stop, or Glue could not be reached.
        WishError: What is kept as the operator's wish is none.
    """
    wanted = code()
    if NEEDS_ENVIRONMENT in job.glue.default_arguments():
        wanted[ENVIRONMENT] = build_environment()
    prefix = f"s3://{storage.stream_bucket}/{FOLDER}"
    sums = digests(wanted)
    there = {found.uri.removeprefix(f"{prefix}/") for found in storage.objects(f"{prefix}/")}
    before = read_sums(storage, prefix)
    for name, body in wanted.items():
        if name not in there or before.get(name) != sums[name]:
            known = f"sha256 {before.get(name, 'unknown')[:12]}" if name in there else None
            upload = partial(_upload, storage, f"{prefix}/{name}", body)
            yield Change(f"{prefix}/{name}", known, f"sha256 {sums[name][:12]}", upload)
    if before == sums and set(wanted) <= there:
        return
    if (run_id := _running(job)) is not None:
        what = f"Glue job {job.glue.job_name}"
        yield Change(what, f"run {run_id} on the code before", "a run on this code", partial(_restart, job))
    # Last, once the job runs on the others: what an interrupted step left undone is done by the next.
    uri = f"{prefix}/{CHECKSUMS}"
    yield Change(uri, "older" if before else None, "of these files", partial(storage.write, uri, as_file(sums)))


def _running(job: StreamJob) -> str | None:
    """Return the id of the run under way, unless there is none or it is to stop."""
    run, wish = job.newest_run(), job.wish()
    if run is None or run.state in ENDED or run.state == "STOPPING" or (wish is not None and wish.state == "stopped"):
        return None
    return run.id


def _restart(job: StreamJob) -> str:
    """Let the batch under way end, and start the job from its checkpoint."""
    if _running(job) is None:
        return "it was stopped meanwhile, and stays so"
    return f"run {job.restart()}"


def _upload(storage: Storage, uri: str, body: bytes) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, "body")
        path.write_bytes(body)
        storage.upload(path, uri)  # in parts: an environment is 100 MB

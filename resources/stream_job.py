"""The stream job and what the operator wants of it: it is to run, or stopped on purpose.

Belongs here: starting, stopping and repairing the job, and keeping the wish where sensors and commands read it, on AWS and here alike.
Does not: Glue's calls (``resources/glue.py``); when a repair is due (``fraudit_dagster/repairs.py``).

The wish is an object in S3. It is written before Glue is asked, so that no monitor undoes a stop under way; only ``fraudit stream`` and
what else calls ``start``, ``stop`` and ``restart`` writes it. A run that is stopped in the console of Glue is not stopped on purpose.
"""

from datetime import UTC, datetime
from typing import Literal

import dagster as dg
from pydantic import Field, ValidationError

from fraudit_dagster.monitoring import Run, Wish
from resources.glue import Glue
from resources.storage import Storage, StorageError

WISH_KEY = "stream/wish.json"


class WishError(RuntimeError):
    """What is kept as the operator's wish is none; the message says how it is made one."""


class StreamJob(dg.ConfigurableResource):
    """The streaming job, as it is and as it is wished."""

    glue: dg.ResourceDependency[Glue]
    storage: dg.ResourceDependency[Storage]
    arguments: dict[str, str] = Field(description="Of each run, beside the job's defaults.")

    @property
    def wish_uri(self) -> str:
        """Of the object that keeps the wish."""
        return f"s3://{self.storage.stream_bucket}/{WISH_KEY}"

    def wish(self) -> Wish | None:
        """Return what is wished, or None where nobody has said yet.

        Raises:
            WishError: What is there is none.
            StorageError: S3 could not be reached.
        """
        try:
            body = self.storage.read(self.wish_uri)
        except StorageError as error:
            if error.code == "NoSuchKey":
                return None
            raise
        try:
            return Wish.model_validate_json(body)
        except ValidationError as error:
            raise WishError(f"{self.wish_uri} is no wish: `fraudit stream start` or `stop` writes it anew") from error

    def newest_run(self) -> Run | None:
        """Return the newest run, or None where the job never ran.

        Raises:
            GlueError: The job does not exist, or Glue could not be reached.
        """
        answer = self.glue.latest_run()
        return Run.of(answer) if answer else None

    def start(self) -> str:
        """Wish that the job runs, start it where it does not, and return the id of its run.

        Raises:
            StorageError: The wish could not be kept; nothing was started.
            GlueError: The job could not be started.
        """
        self._keep("running")
        return self.glue.start(self.arguments)

    def restart(self) -> str:
        """Wish that the job runs, stop what is under way, start it, and return the id of its run.

        Raises:
            StorageError: The wish could not be kept; nothing was stopped.
            GlueError: The job could not be stopped or started.
        """
        self._keep("running")
        return self.glue.restart(self.arguments)

    def stop(self) -> None:
        """Wish that the job is stopped, stop it, and wait until it has.

        Raises:
            StorageError: The wish could not be kept; nothing was stopped.
            GlueError: The job could not be stopped.
        """
        self._keep("stopped")
        self.glue.stop()

    def repair(self) -> str | None:
        """Start the job where it is to run, and return the id of its run; None where it is stopped on purpose by now.

        Raises:
            WishError: What is kept as the wish is none.
            StorageError: The wish could not be read.
            GlueError: The job could not be started.
        """
        if not self._is_to_run():
            return None
        run_id = self.glue.start(self.arguments)
        if not self._is_to_run():  # somebody was stopping it just then
            self.glue.stop()
            return None
        return run_id

    def _is_to_run(self) -> bool:
        wish = self.wish()
        return wish is not None and wish.state == "running"

    def _keep(self, state: Literal["running", "stopped"]) -> None:
        wish = Wish(state=state, since=datetime.now(UTC))
        self.storage.write(self.wish_uri, wish.model_dump_json().encode(), content_type="application/json")

"""What Glue keeps: ``glue.json`` with definitions, tags and runs, and the folders of the runs.

Belongs here: reading, writing and pruning of both. Does not: what is in them (``jobs``, ``runs``).

The file is written beside its place and then moved there, so it is whole or not there. One that is neither is set aside as
``glue.json.broken`` and named in the log: the service then starts empty. History is kept as on AWS, for 90 days (and 1,000 runs of
each job at most); the folders of the newest 20 runs of each job are kept, with their logs.
"""

import logging
from collections import defaultdict
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson

from localaws.glue.runs import Run

KEPT_FOLDERS = 20
KEPT_RUNS = 1_000
KEPT_FOR = timedelta(days=90)

_TIMES = ("CreatedOn", "LastModifiedOn", "StartedOn", "CompletedOn")
_JOB_NEEDS = {"Name", "Command", "ExecutionProperty", "MaxRetries", "CreatedOn"}
_RUN_NEEDS = {"Id", "JobName", "JobRunState", "StartedOn", "Attempt", "Arguments"}
_log = logging.getLogger(__name__)


class Known(NamedTuple):
    """All that is kept: definitions and tags by the job's name, runs by their id and in the order of their start."""

    jobs: dict[str, dict[str, Any]]
    tags: dict[str, dict[str, str]]
    runs: dict[str, Run]


class Records:
    """The folder of Glue.

    Args:
        folder: Made where it is not there.

    Raises:
        OSError: The folder cannot be made or read.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "glue.json"
        self._draft = folder / "glue.json.new"
        self.runs_folder = folder / "runs"
        self.runs_folder.mkdir(parents=True, exist_ok=True)
        self._draft.unlink(missing_ok=True)

    def load(self) -> Known:
        """Read what is kept; a file that is not whole is set aside."""
        try:
            content = orjson.loads(self._path.read_bytes())
            return Known(
                {str(name): _restored(job, _JOB_NEEDS) for name, job in content["jobs"].items()},
                {str(name): dict(tags) for name, tags in content.get("tags", {}).items()},
                {str(record["Id"]): Run(_restored(record, _RUN_NEEDS)) for record in content["runs"]},
            )
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            aside = self._path.with_name("glue.json.broken")
            _log.error("%s is not whole (%r): set aside as %s, Glue starts empty", self._path, error, aside.name)
            self._path.replace(aside)
        return Known({}, {}, {})

    def save(self, known: Known) -> None:
        """Replace what is kept.

        Raises:
            OSError: It could not be written; the old file stays.
        """
        content = {**known._asdict(), "runs": [run.record for run in known.runs.values()]}
        try:
            self._draft.write_bytes(orjson.dumps(content, option=orjson.OPT_INDENT_2))
            self._draft.replace(self._path)
        except OSError:
            self._draft.unlink(missing_ok=True)
            raise

    def folder(self, run_id: str) -> Path:
        """Return where a run's script, packages and logs are."""
        return self.runs_folder / run_id

    def old_folders(self, runs: dict[str, Run]) -> list[Path]:
        """Return the folders to remove: of each job all but its newest, and so of the runs that nothing is known of."""
        folders = {folder.name: folder for folder in self.runs_folder.iterdir()}
        unknown = sorted(set(folders) - set(runs), key=lambda name: folders[name].stat().st_mtime, reverse=True)
        counts: dict[str | None, int] = defaultdict(int)
        old = []
        for run_id in [*(run_id for run_id in reversed(runs) if run_id in folders), *unknown]:
            run = runs.get(run_id)
            owner = None if run is None else run.job_name
            counts[owner] += 1
            if counts[owner] > KEPT_FOLDERS and (run is None or run.has_ended):
                old.append(folders[run_id])
        return old


def history(runs: dict[str, Run], now: datetime) -> dict[str, Run]:
    """Return the runs that are still listed: those that have not ended, and of each job the newest that are not too old."""
    counts: dict[str, int] = defaultdict(int)
    kept = []
    for run in reversed(runs.values()):
        counts[run.job_name] += 1
        is_recent = counts[run.job_name] <= KEPT_RUNS and now - run.record["StartedOn"] < KEPT_FOR
        if is_recent or not run.has_ended:
            kept.append(run)
    return {run.run_id: run for run in reversed(kept)}


def _restored(record: Mapping[str, Any], needed: set[str]) -> dict[str, Any]:
    """Return a job's or run's record with its times.

    Raises:
        KeyError: A member that this service itself reads is missing.
        ValueError: A time is none.
    """
    if missing := needed - set(record):
        raise KeyError(*sorted(missing))
    return {
        key: datetime.fromisoformat(value).astimezone(UTC) if key in _TIMES else value for key, value in record.items()
    }

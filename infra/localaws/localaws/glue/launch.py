"""How a run's process comes about: script and packages from S3, its arguments, its environment.

Belongs here: what is done before the script runs, and reading why it failed. Does not: a run's states (``service``), the virtual
environments (``environments``).
"""

import importlib.util
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from localaws import processes
from localaws.glue.environments import MAX_UNPACKED_BYTES, Environments
from localaws.glue.jobs import PYTHON_SHELL, job_id
from localaws.glue.runs import Run
from localaws.glue.source import LaunchError, Source

if TYPE_CHECKING:
    from collections.abc import Iterable

RUN_MARK = "LOCALAWS_GLUE_RUN"
OUTPUT_LOG = "output.log"
ERROR_LOG = "error.log"
LOG_TAIL_BYTES = 65_536

CONSUMED = frozenset(
    {
        "--additional-python-modules",
        "--auto-scale-within-microbatch",
        "--class",
        "--conf",
        "--continuous-log-conversionPattern",
        "--continuous-log-logGroup",
        "--continuous-log-logStreamPrefix",
        "--customer-driver-env-vars",
        "--customer-executor-env-vars",
        "--datalake-formats",
        "--disable-proxy-v2",
        "--enable-auto-scaling",
        "--enable-continuous-cloudwatch-log",
        "--enable-continuous-log-filter",
        "--enable-glue-datacatalog",
        "--enable-job-insights",
        "--enable-lakeformation-fine-grained-access",
        "--enable-metrics",
        "--enable-observability-metrics",
        "--enable-rename-algorithm-v2",
        "--enable-s3-parquet-optimized-committer",
        "--enable-spark-ui",
        "--executor-cores",
        "--extra-files",
        "--extra-jars",
        "--extra-py-files",
        "--job-language",
        "--python-modules-installer-option",
        "--python-virtual-env",
        "--python-virtual-env-storage-prefix",
        "--python-virtual-env-version",
        "--scriptLocation",
        "--spark-event-logs-path",
        "--use-postgres-driver",
        "--user-jars-first",
        "--write-shuffle-files-to-s3",
        "--write-shuffle-spills-to-s3",
    }
)
"""Parameters ("Using job parameters in AWS Glue jobs") that Glue's launcher of Spark takes for itself.

``--TempDir`` and ``--job-bookmark-*`` are handed on: ``getResolvedOptions`` reads them from the script's arguments. A Python shell job
gets all.
"""

WITHOUT_EFFECT = ("--additional-python-modules", "--python-virtual-env-storage-prefix", "--extra-jars", "--extra-files")
"""Parameters by which AWS would bring something that is not brought here; the run's error log says so."""

_OF_PYTHON = frozenset({"PYTHONPATH", "PYTHONHOME", "PYTHONUSERBASE", "VIRTUAL_ENV"})


@dataclass(frozen=True)
class Launch:
    """A process that is ready to be started."""

    command: list[str | Path]
    environment: dict[str, str]
    folder: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start it; call it from the main thread.

        Raises:
            OSError: It cannot be started.
        """
        return processes.spawn(
            self.command,
            env=self.environment,
            cwd=self.folder,
            log_path=self.folder / OUTPUT_LOG,
            error_log_path=self.folder / ERROR_LOG,
        )


def prepare(run: Run, job: Mapping[str, Any], folder: Path, environments: Environments) -> Launch:
    """Bring what a run needs from S3. Blocks.

    Args:
        run: The run.
        job: Its job's definition.
        folder: The run's folder; made where it is not there.
        environments: The virtual environments that are unpacked already.

    Raises:
        LaunchError: Something is not there, or is not what its name says.
        OSError: The folder cannot be written.
    """
    arguments = {
        **job.get("DefaultArguments", {}),
        **run.record["Arguments"],
        **job.get("NonOverridableArguments", {}),
    }
    source = Source()
    script = source.download(arguments.get("--scriptLocation") or job["Command"]["ScriptLocation"], folder)
    _note_what_is_missing(arguments, folder)
    uris = [uri.strip() for uri in arguments.get("--extra-py-files", "").split(",") if uri.strip()]
    packages = [_unpacked(source.download(uri, folder / "packages")) for uri in uris]
    archive = arguments.get("--python-virtual-env")
    is_shell = job["Command"].get("Name") == PYTHON_SHELL
    python = environments.python(source, archive, folder) if archive and not is_shell else None
    command: list[str | Path] = [python or Path(sys.executable), script, *_script_arguments(run, job, arguments)]
    return Launch(command, _environment(run, packages, python), folder)


def end_remains(process: subprocess.Popen[bytes], run_id: str) -> None:
    """End what a script left behind: its JVM, and workers that have left its process group.

    Raises:
        TimeoutError: Some cannot be killed.
    """
    processes.end(process, grace_s=0)
    processes.kill_marked(RUN_MARK, run_id)


def error_of(folder: Path, code: int) -> str:
    """Return the exception that ended a script: the line after its last traceback, else how it ended."""
    try:
        with (folder / ERROR_LOG).open("rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - LOG_TAIL_BYTES))
            lines = log.read().decode("utf-8", "replace").splitlines()
    except FileNotFoundError:  # the script may have removed its folder
        lines = []
    is_traceback = False
    found = ""
    for line in lines:
        if line.startswith("Traceback (most recent call last)"):
            is_traceback = True
        elif is_traceback and re.match(r"[A-Za-z_][\w.]*(:|$)", line):
            found, is_traceback = line, False
    return found or (f"the script was ended by signal {-code}" if code < 0 else f"SystemExit: {code}")


def _script_arguments(run: Run, job: Mapping[str, Any], arguments: Mapping[str, str]) -> list[str]:
    """Return a script's arguments as Glue gives them: ``--key value``, or the key alone where its value is empty."""
    is_shell = job["Command"].get("Name") == PYTHON_SHELL
    pairs = {
        "--JOB_NAME": run.job_name,
        "--JOB_ID": job_id(job),
        "--JOB_RUN_ID": run.run_id,
        **{key: value for key, value in arguments.items() if is_shell or key not in CONSUMED},
    }
    return [part for key, value in pairs.items() for part in (key, value) if part]


def _note_what_is_missing(arguments: Mapping[str, str], folder: Path) -> None:
    names = [name for name in WITHOUT_EFFECT if arguments.get(name)]
    if names:
        with (folder / ERROR_LOG).open("a", encoding="utf-8") as log:
            log.write(
                f"localaws: {', '.join(names)} has no effect here: bring Python by --python-virtual-env or --extra-py-files\n"
            )


def _environment(run: Run, packages: "Iterable[Path]", python: Path | None) -> dict[str, str]:
    """Return a script's environment; with a virtual environment of its own, it sees nothing of this service's packages."""
    settings = dict(os.environ)
    path = list(packages)
    if python is None:
        python = Path(sys.executable)
        inherited = settings.get("PYTHONPATH")
    else:
        inherited = None
        settings = {name: value for name, value in settings.items() if name not in _OF_PYTHON}
        root = python.parent.parent
        settings |= {
            "VIRTUAL_ENV": str(root),
            "PATH": os.pathsep.join([str(python.parent), settings.get("PATH", os.defpath)]),
            "PYTHONNOUSERSITE": "1",
        }
        spark = _spark_home()
        if spark is not None and not any(root.glob("lib/python*/site-packages/pyspark")):
            settings["SPARK_HOME"] = str(spark)
            path += sorted((spark / "python" / "lib").glob("*.zip"))
    return {
        **settings,
        "PYTHONPATH": os.pathsep.join(filter(None, [*map(str, path), inherited])),
        "PYTHONUNBUFFERED": "1",
        "PYSPARK_PYTHON": str(python),
        "PYSPARK_DRIVER_PYTHON": str(python),
        RUN_MARK: run.run_id,
    }


def _spark_home() -> Path | None:
    """Return the Spark of this machine, which Glue gives to every run: a virtual environment for Glue does not bring its own."""
    spec = importlib.util.find_spec("pyspark")
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def _unpacked(package: Path) -> Path:
    """Return what to put on PYTHONPATH for a package: archives are unpacked, since code may open files beside its own."""
    match package.suffix:
        case ".py":
            return package.parent
        case ".whl" | ".zip":
            folder = package.parent / package.stem
            try:
                with zipfile.ZipFile(package) as archive:
                    if sum(member.file_size for member in archive.infolist()) > MAX_UNPACKED_BYTES:
                        raise LaunchError(
                            f"{package.name} of --extra-py-files is more than {MAX_UNPACKED_BYTES} bytes, unpacked"
                        )
                    archive.extractall(folder)
            except zipfile.BadZipFile as error:
                raise LaunchError(f"{package.name} of --extra-py-files is no zip archive: {error}") from error
            return folder
    raise LaunchError(f"{package.name} of --extra-py-files is neither .py, .zip nor .whl")

"""The stream job's environment for AWS Glue: made on any machine, the same bytes each time, and a run really uses it."""

import io
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from dataclasses import replace
from pathlib import Path

import boto3
import pytest

from fraudit_dagster.cli.deploy.stream_environment import GLUE, LOCK, Machine, build_environment
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR
from scripts.lock import GLUE_REQUIREMENTS, file_hash
from scripts.lock import LOCK as ALL
from tests.conftest import unique
from tests.localaws_core.glue_cloud import ENDED, await_state

SMALL = ("jmespath", "orjson", "psycopg2-binary")
"""Two packages with compiled libraries and one with a command, in place of 100 MB."""
SCRIPT = """
import importlib.util, sys
import orjson, psycopg2
assert all(module.__file__.startswith(sys.prefix) for module in (orjson, psycopg2))
assert importlib.util.find_spec("boto3") is None
assert "%d.%d" % sys.version_info[:2] == "{python}", sys.version
"""


def pins(lock: Path) -> dict[str, str]:
    return dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", lock.read_text(), re.MULTILINE))


@pytest.fixture(scope="module")
def lock(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The lines of the project's lock for three packages: of every Python and platform."""
    path = tmp_path_factory.mktemp("lock") / "requirements.lock"
    entries = re.findall(r"^[a-z0-9].*\\\n(?:    --hash.*\n)+", ALL.read_text(), re.MULTILINE)
    path.write_text("".join(entry for entry in entries if entry.split("==")[0] in SMALL))
    return path


@pytest.fixture(scope="module")
def built(lock: Path) -> bytes:
    return build_environment(lock)


def members(archive: bytes) -> list[tarfile.TarInfo]:
    with tarfile.open(fileobj=io.BytesIO(archive)) as content:
        return content.getmembers()


def python_of_glue() -> str | None:
    """Python 3.13 of this machine, from PATH or pyenv; None where there is none."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    for candidate in (shutil.which("python3.13"), *map(str, home.glob("versions/3.13.*/bin/python3.13"))):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True, check=False).returncode == 0:
            return candidate
    return None


def test_the_lock_is_in_step_and_of_the_projects_versions() -> None:
    text = LOCK.read_text()
    assert text.splitlines()[0] == f"# inputs sha256:{file_hash(GLUE_REQUIREMENTS)}", "run `make lock`"
    assert "://" not in text
    of_all = dict(re.findall(r"^([a-z0-9-]+)==([^ ;]+)", ALL.read_text(), re.MULTILINE))
    shared = {name: version for name, version in pins(LOCK).items() if name != "numpy"}  # one for each Python
    assert {name: of_all[name] for name in shared} == shared, "run `make lock`"


def test_it_holds_what_the_job_asks_for_but_sparks_own() -> None:
    project = tomllib.loads((PROJECT_DIR / "glue" / "pyproject.toml").read_text())["project"]
    asked = {re.split(r"[<>=]", wanted)[0] for wanted in project["dependencies"]}
    assert asked - {"pyspark"} <= set(pins(LOCK))
    assert "pyspark" not in pins(LOCK)


def test_it_is_the_same_bytes_twice_and_nothing_in_it_is_of_this_machine(
    lock: Path, built: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # where uv would find another Python
    assert build_environment(lock) == built
    found = members(built)
    assert [member.name for member in found] == sorted(member.name for member in found)
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname) for member in found} == {
        (0, 0, 0, "", "")
    }
    links = {member.name: member.linkname for member in found if member.issym()}
    assert links == {
        "bin/python": "python3.13",
        "bin/python3": "python3.13",
        "bin/python3.13": "/usr/bin/python3.13",
        "lib64": "lib",
    }
    libraries = [member.name for member in found if ".cpython-" in member.name]
    assert libraries
    assert all(".cpython-313-x86_64-" in name for name in libraries)
    names = {member.name for member in found}
    with tarfile.open(fileobj=io.BytesIO(built)) as content:
        for record in (name for name in names if name.endswith("/RECORD")):
            file = content.extractfile(record)
            assert file is not None
            recorded = {line.split(",")[0] for line in file.read().decode().splitlines()}
            assert {f"lib/python3.13/site-packages/{name}" for name in recorded} <= names


def test_a_library_for_a_newer_glibc_is_refused(lock: Path) -> None:
    with pytest.raises(CommandError, match=r"asks for glibc 2\.\d+, and that of .* is 2\.1"):
        build_environment(lock, machine=replace(GLUE, glibc=1))


def test_a_package_with_another_hash_is_refused(lock: Path, tmp_path: Path) -> None:
    other = tmp_path / "requirements.lock"
    other.write_text(re.sub(r"sha256:[0-9a-f]{8}", "sha256:00000000", lock.read_text()))
    with pytest.raises(CommandError, match="cannot be had"):
        build_environment(other)


def test_a_run_of_glue_uses_it(lock: Path, local_cloud: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in local_cloud.items():
        monkeypatch.setenv(name, value)
    # Where there is no Python of Glue's version, the same code makes one for the Python that is here.
    python = python_of_glue()
    version = "3.13" if python else ".".join(map(str, sys.version_info[:2]))
    machine = Machine(version, GLUE.platform, GLUE.glibc, python or os.path.realpath(sys.executable))
    bucket, name = unique("environments"), unique("job")
    s3 = boto3.client("s3")
    s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket=bucket, Key="environment.tar.gz", Body=build_environment(lock, machine=machine))
    s3.put_object(Bucket=bucket, Key="job.py", Body=SCRIPT.replace("{python}", version))
    glue = boto3.client("glue")
    glue.create_job(
        Name=name,
        Role="role",
        Command={"Name": "gluestreaming", "ScriptLocation": f"s3://{bucket}/job.py"},
        DefaultArguments={"--python-virtual-env": f"s3://{bucket}/environment.tar.gz"},
    )
    run = await_state(glue, name, glue.start_job_run(JobName=name)["JobRunId"], ENDED)
    assert run["JobRunState"] == "SUCCEEDED", run.get("ErrorMessage")

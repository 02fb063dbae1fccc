"""A run with ``--python-virtual-env`` uses that environment's Python and packages, and nothing of the service's."""

import io
import json
import os
import sys
import tarfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from localaws.glue.environments import Environments
from localaws.glue.source import LaunchError, Source

from .glue_cloud import BUCKET, ENDED, await_state, log_of, put_script, s3_at

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_glue.type_defs import JobRunTypeDef
    from mypy_boto3_s3 import S3Client

SCRIPT = """
import importlib.util, json, os, sys
import only_here, shipped
print(json.dumps({
    "value": only_here.VALUE,
    "prefix": sys.prefix,
    "is_of_spark": os.environ["PYSPARK_PYTHON"] == os.environ["PYSPARK_DRIVER_PYTHON"] == sys.executable,
    "has_boto3": importlib.util.find_spec("boto3") is not None,
    "pyspark": importlib.util.find_spec("pyspark").origin,
    "home": os.environ["SPARK_HOME"],
}))
"""


@pytest.fixture(scope="module")
def moto_url(serve_module: Callable[..., str]) -> str:
    return serve_module("moto.server", "-H", "127.0.0.1", port_option="-p", health="/moto-api/")


@pytest.fixture(scope="module")
def state_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("glue-state")


@pytest.fixture(scope="module")
def glue_url(serve_module: Callable[..., str], moto_url: str, state_dir: Path) -> str:
    service_packages = os.pathsep.join(path for path in sys.path if path.endswith("site-packages"))
    return serve_module(
        "localaws.glue", "--state", str(state_dir), AWS_ENDPOINT_URL=moto_url, PYTHONPATH=service_packages
    )


@pytest.fixture
def glue(glue_url: str) -> "GlueClient":
    return boto3.client("glue", endpoint_url=glue_url)


@pytest.fixture
def s3(moto_url: str) -> "S3Client":
    return s3_at(moto_url)


def packed(folder: Path, value: str) -> bytes:
    """Return a virtual environment, packed as venv-pack does."""
    venv.create(folder, symlinks=True, with_pip=False)
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "only_here.py").write_text(f"VALUE = {value!r}")
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        content.add(folder, ".")
    return archive.getvalue()


def run_with(glue: "GlueClient", command: Any, archive: str) -> "JobRunTypeDef":
    name = command["ScriptLocation"].split("/")[3]
    if name not in {job["Name"] for job in glue.get_jobs()["Jobs"]}:
        glue.create_job(Name=name, Role="role", Command=command)
    arguments = {"--python-virtual-env": f"s3://{BUCKET}/{archive}", "--extra-py-files": f"s3://{BUCKET}/shipped.py"}
    return await_state(glue, name, glue.start_job_run(JobName=name, Arguments=arguments)["JobRunId"], ENDED)


def test_a_run_uses_the_environment_alone_and_it_is_unpacked_once_for_each_version(
    glue: "GlueClient", s3: "S3Client", state_dir: Path, tmp_path: Path
) -> None:
    s3.put_object(Bucket=BUCKET, Key="shipped.py", Body=b"")
    command = put_script(s3, "isolated", SCRIPT)
    s3.put_object(Bucket=BUCKET, Key="venv.tar.gz", Body=packed(tmp_path / "one", "first"))
    folder = state_dir / "glue" / "venvs"
    unpacked_at: set[tuple[str, int]] = set()
    for value in ("first", "first", "second"):
        if value == "second":
            s3.put_object(Bucket=BUCKET, Key="venv.tar.gz", Body=packed(tmp_path / "two", "second"))
        run = run_with(glue, command, "venv.tar.gz")
        assert run["JobRunState"] == "SUCCEEDED", run
        seen = json.loads(log_of(state_dir, run["Id"]))
        assert seen["value"] == value
        assert Path(seen["prefix"]).parent == folder
        assert (seen["is_of_spark"], seen["has_boto3"]) == (True, False)
        assert seen["pyspark"].endswith("pyspark.zip/pyspark/__init__.py")
        assert (Path(seen["home"]) / "bin" / "spark-submit").exists()
        unpacked_at.add((seen["prefix"], Path(seen["prefix"]).stat().st_ctime_ns))
    assert len(unpacked_at) == 2
    assert len(list(folder.iterdir())) == 2


def tar_of(*members: tuple[str, str | bytes]) -> bytes:
    """Return an archive of files (bytes) and symbolic links (text)."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w:gz") as content:
        for name, what in members:
            member = tarfile.TarInfo(name)
            if isinstance(what, str):
                member.type, member.linkname = tarfile.SYMTYPE, what
                content.addfile(member)
            else:
                member.size, member.mode = len(what), 0o755
                content.addfile(member, io.BytesIO(what))
    return archive.getvalue()


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (None, "404"),
        (b"text", "not an archive that can be unpacked"),
        (tar_of(("venv/bin/python", b"")), "no bin/python at its root"),
        (tar_of(("bin/python", "/no/such/python")), "leads to /no/such/python"),
    ],
    ids=["not there", "no archive", "one folder too deep", "no interpreter"],
)
def test_an_environment_that_cannot_be_used_fails_the_run_and_says_what_to_do(
    glue: "GlueClient", s3: "S3Client", body: bytes | None, said: str
) -> None:
    key = "wrong.tar.gz" if body is not None else "nowhere.tar.gz"
    s3.put_object(Bucket=BUCKET, Key="shipped.py", Body=b"")
    if body is not None:
        s3.put_object(Bucket=BUCKET, Key=key, Body=body)
    run = run_with(glue, put_script(s3, "unusable", "print('never')"), key)
    assert run["JobRunState"] == "FAILED"
    assert run["ErrorMessage"].startswith("LAUNCH ERROR | ")
    assert said in run["ErrorMessage"]
    assert key in run["ErrorMessage"]


class OneArchive(Source):
    """S3 with one object."""

    def __init__(self, body: bytes) -> None:
        self._body = body

    def etag(self, uri: str) -> str:
        return uri

    def download(self, uri: str, folder: Path) -> Path:
        folder.mkdir(parents=True)
        path = folder / uri.rpartition("/")[2]
        path.write_bytes(self._body)
        return path


@pytest.fixture
def environments(tmp_path: Path) -> Environments:
    (tmp_path / "runs" / "jr_1").mkdir(parents=True)
    return Environments(tmp_path / "venvs", tmp_path / "runs", max_bytes=100_000)


def take(environments: Environments, tmp_path: Path, body: bytes, run: str = "jr_1") -> Path:
    return environments.python(OneArchive(body), f"s3://b/{run}.tar.gz", tmp_path / "runs" / run)


@pytest.mark.parametrize(
    "members",
    [
        [("../evil", b"x")],
        [("/tmp/evil", b"x")],  # noqa: S108 - it must not come to be
        [("lib", "/etc"), ("lib/evil", b"x")],
        [("lib64", "../.."), ("lib64/evil", b"x")],
        [("bin/python", "/etc"), ("bin/python/evil", b"x")],
        [("bin/python/../../evil", "/bin/sh")],
    ],
    ids=["above", "absolute", "by a link", "by a relative link", "by the interpreter", "as the interpreter"],
)
def test_nothing_of_an_archive_lands_outside_of_its_folder(
    environments: Environments, tmp_path: Path, members: list[tuple[str, str | bytes]]
) -> None:
    with pytest.raises(LaunchError, match=r"jr_1\.tar\.gz"):
        take(environments, tmp_path, tar_of(*members))
    assert not [path for path in [*tmp_path.rglob("evil"), Path("/etc/evil"), Path("/tmp/evil")] if path.exists()]  # noqa: S108
    assert list((tmp_path / "venvs").iterdir()) == []


@pytest.mark.parametrize("target", ["/bin/sh", "python3"])
def test_the_interpreter_may_be_a_link(environments: Environments, tmp_path: Path, target: str) -> None:
    assert take(environments, tmp_path, tar_of(("bin/python", target), ("bin/python3", "/bin/sh"))).samefile("/bin/sh")


def test_an_archive_that_is_large_unpacked_is_refused(environments: Environments, tmp_path: Path) -> None:
    with pytest.raises(LaunchError, match="more than 100000 bytes"):
        take(environments, tmp_path, tar_of(("bin/python", b"x"), ("big", bytes(100_000))))


@pytest.mark.parametrize("cut", [20, -20_000])
def test_an_archive_that_was_cut_is_refused(environments: Environments, tmp_path: Path, cut: int) -> None:
    with pytest.raises(LaunchError, match="is not an archive that can be unpacked"):
        take(environments, tmp_path, tar_of(("bin/python", os.urandom(50_000)))[:cut])


def test_an_environment_goes_with_the_last_run_that_had_it(environments: Environments, tmp_path: Path) -> None:
    (tmp_path / "runs" / "jr_2").mkdir()
    kept, gone = (take(environments, tmp_path, tar_of(("bin/python", "/bin/sh")), run) for run in ("jr_1", "jr_2"))
    (tmp_path / "venvs" / "half.part").mkdir()
    (tmp_path / "runs" / "jr_2" / "venv").unlink()
    environments.prune()
    assert (kept.exists(), gone.exists()) == (True, False)
    assert len(list((tmp_path / "venvs").iterdir())) == 1

"""The zip for Lambda: small, made of the API alone, the same bytes each time, and at work on every Python it may meet."""

import importlib.util
import json
import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from scripts import package
from tests.api.conftest import World

LIMIT_BYTES = 5 * 10**6
RUNTIME = ("boto3", "botocore", "s3transfer", "jmespath", "dateutil", "six", "urllib3")
"""What the Lambda runtime has besides the standard library."""
PROGRAM = Path(__file__).with_name("lambda_program.py")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("package") / "api.zip"
    package.build(target)
    return target


@pytest.fixture(scope="module")
def runtime(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the packages of the Lambda runtime and nothing else."""
    folder = tmp_path_factory.mktemp("runtime")
    for name in RUNTIME:
        spec = importlib.util.find_spec(name)
        assert spec is not None
        assert spec.origin is not None
        origin = Path(spec.origin)
        source = origin.parent if spec.submodule_search_locations else origin
        (folder / source.name).symlink_to(source)
    return folder


def python(version: str) -> str:
    """An interpreter of this version, from PATH, pyenv or uv; without one the test is skipped, and says so."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    candidates = [
        shutil.which(f"python{version}"),
        *map(str, home.glob(f"versions/{version}.*/bin/python")),
        *map(str, Path.home().glob(f".local/share/uv/python/cpython-{version}.*/bin/python")),
    ]
    for candidate in filter(None, candidates):
        question = [candidate, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
        answer = subprocess.run(question, capture_output=True, text=True, check=False)
        if answer.stdout.strip() == version:
            return candidate
    pytest.skip(f"there is no Python {version} on this machine, so the package was not tried on it")


def ask(method: str, path: str, *, body: object = None) -> dict[str, Any]:
    """An event as API Gateway sends it once the authorizer has let a caller in."""
    return {
        "resource": path,
        "path": path,
        "httpMethod": method,
        "headers": {"content-type": "application/json"},
        "multiValueHeaders": {},
        "queryStringParameters": None,
        "multiValueQueryStringParameters": None,
        "pathParameters": None,
        "stageVariables": None,
        "requestContext": {
            "resourcePath": path,
            "httpMethod": method,
            "requestId": "request-1",
            "authorizer": {"principalId": "ab12cd34"},
            "identity": {"sourceIp": "198.18.0.1"},
        },
        "body": None if body is None else json.dumps(body),
        "isBase64Encoded": False,
    }


def test_it_holds_the_api_and_nothing_else(
    built: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    names = zipfile.ZipFile(built).namelist()
    modules = {f"chalicelib/{path.relative_to(package.API / 'chalicelib')}" for path in _sources()}
    assert set(names) == {"app.py", "chalice/__init__.py", "chalice/app.py", *modules}
    assert len(names) == len(set(names))
    record_testsuite_property("zip_bytes", built.stat().st_size)
    assert built.stat().st_size < LIMIT_BYTES


def _sources() -> list[Path]:
    return [path for path in (package.API / "chalicelib").rglob("*") if path.is_file() and path.suffix != ".pyc"]


def test_it_is_the_same_bytes_whatever_the_times_and_leavings_of_its_files(built: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(package.API, tmp_path / "api"))
    for path in other.rglob("*.py"):
        os.utime(path, (1e9, 1e9))
        path.chmod(0o600)
    (other / "chalicelib" / "__pycache__").mkdir(exist_ok=True)
    (other / "chalicelib" / "__pycache__" / "stale.pyc").write_bytes(b"x")
    package.build(tmp_path / "again.zip", api=other)
    assert (tmp_path / "again.zip").read_bytes() == built.read_bytes()


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
def test_it_answers_on_every_python_of_lambda(
    version: str,
    built: Path,
    runtime: Path,
    world: World,
    body: Callable[..., dict[str, Any]],
    tmp_path: Path,
    record_testsuite_property: Callable[[str, object], None],
) -> None:
    zipfile.ZipFile(built).extractall(tmp_path)
    asked = body()
    events = [ask("POST", "/predict", body=asked), ask("GET", "/health"), ask("POST", "/predict", body={})]
    done = subprocess.run(
        [python(version), "-W", "error", "-B", PROGRAM],
        cwd=tmp_path,
        env={**world.environment, "PYTHONPATH": str(runtime)},
        input=json.dumps(events),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert [answer["statusCode"] for answer in result["answers"]] == [200, 200, 400]
    answer, health, refusal = (json.loads(answer["body"]) for answer in result["answers"])
    assert answer["transaction_id"] == asked["metadata"]["transaction_id"]
    assert health["status"] == "ok"
    assert refusal["error"]["request_id"] == "request-1"
    # A cold start pays for what is imported before the first request: nothing that is large.
    assert not {name.partition(".")[0] for name in result["modules"]} & {
        *RUNTIME,
        "asyncio",
        "numpy",
        "pandas",
        "dagster",
    }
    for name in ("import_s", "answer_s"):
        record_testsuite_property(f"{name}_{version}", round(result[name], 3))

"""The OpenAPI document: in step with the code, true of the running API, and with examples that work."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from scripts import openapi
from tests.api.conftest import KEY, World

HERE = Path(__file__).parent
ERROR_SCHEMA = Path(__file__).parents[2] / "fraudit_dagster" / "schemas" / "error.v1.json"
DOCUMENT: dict[str, Any] = json.loads(openapi.DOCUMENT.read_text())
SENT_BODIES = {
    f"{path} {name}": (path, name)
    for path, methods in DOCUMENT["paths"].items()
    for name in methods.get("post", {})
    .get("requestBody", {})
    .get("content", {})
    .get("application/json", {})
    .get("examples", {})
}


def served(world: World) -> dict[str, Any]:
    document: dict[str, Any] = world.api.get("/openapi.json").raise_for_status().json()
    return document


def test_the_committed_document_is_not_stale() -> None:
    assert openapi.DOCUMENT.read_text() == openapi.text(), "run: python -m scripts.openapi"


def test_every_route_is_documented() -> None:
    from app import app

    routes = {(path, method.lower()) for path, methods in app.routes.items() for method in methods}
    assert routes == {(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods}
    keyless = {path for path, methods in app.routes.items() for entry in methods.values() if entry.authorizer is None}
    assert keyless == {
        path for path, methods in DOCUMENT["paths"].items() for entry in methods.values() if entry.get("security") == []
    }


def test_errors_have_the_one_form() -> None:
    ours = json.loads(ERROR_SCHEMA.read_text())["properties"]["error"]["properties"]
    assert DOCUMENT["components"]["schemas"]["Error"]["properties"]["error"]["properties"].keys() == ours.keys()
    described = DOCUMENT["components"]["responses"].values()
    assert {json.dumps(response["content"]) for response in described} == {
        '{"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}}'
    }


def test_a_running_api_documents_the_inputs_that_it_serves(world: World) -> None:
    by_name, csv = served(world)["components"]["schemas"]["Transaction"]["properties"]["data"]["oneOf"]
    assert by_name["required"] == ["Time", "V1", "V2", "Amount"]
    assert by_name["properties"]["Amount"]["exclusiveMinimum"] == -1
    assert "Time, V1, V2, Amount" in csv["description"]


@pytest.mark.parametrize(("path", "name"), SENT_BODIES.values(), ids=SENT_BODIES)
def test_every_example_works(world: World, path: str, name: str) -> None:
    document = served(world)
    operation = document["paths"][path]["post"]
    example = operation["requestBody"]["content"]["application/json"]["examples"][name]["value"]
    response = world.api.post(path, json=example, headers={"x-api-key": KEY})
    (success,) = (status for status in operation["responses"] if status < "300")
    assert str(response.status_code) == success
    answer = operation["responses"][success]["content"]["application/json"]["schema"]
    jsonschema.validate(response.json(), {**answer, "components": document["components"]})
    assert "error" not in json.dumps(response.json())


def test_schemathesis_finds_nothing(world: World, tmp_path: Path) -> None:
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")),
        *(
            "run",
            f"{world.api.base_url}/openapi.json",
            "--url",
            str(world.api.base_url),
            "--header",
            f"x-api-key: {KEY}",
        ),
        *("--phases", "examples,coverage,fuzzing", "--generation-deterministic", "--max-examples", "10", "--no-color"),
    ]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "PYTHONPATH": str(HERE)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
    assert "Operations:       5 selected / 5 total" in run.stdout, "schemathesis leaves out the document's own route"

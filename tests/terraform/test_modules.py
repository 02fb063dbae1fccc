"""The real Terraform takes the modules: their form, their schema, a plan in which nothing is known before its time; and their own tests."""

import json
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from scripts.terraform import MODULES, TerraformError, terraform

NOTEBOOK = 'notebook={present=true,instance_type="ml.t3.medium",volume_gb=10}'
"""What production has not, and development has."""
MISTAKES = {
    "an argument that there is not": (
        'resource "aws_sns_topic" "a" {\n  nome = "x"\n}',
        'An argument named "nome" is not expected here',
    ),
    "an argument that is missing": (
        'resource "aws_kinesis_stream" "b" {}',
        'The argument "name" is required',
    ),
    "a block that is missing": (
        'resource "aws_glue_job" "c" {\n  name     = "x"\n  role_arn = "y"\n}',
        'At least 1 "command" blocks are required',
    ),
    "a value of another type": (
        'resource "aws_s3_bucket" "d" {\n  bucket = ["x"]\n}',
        'Inappropriate value for attribute "bucket": string required',
    ),
    "a value that AWS decides": (
        'resource "aws_sns_topic" "e" {\n  owner = "x"\n}',
        'Can\'t configure a value for "owner"',
    ),
    "a type that there is not": (
        'resource "aws_kinesis_river" "f" {}',
        'does not support resource type "aws_kinesis_river"',
    ),
    "a resource that there is not": (
        'output "arn" {\n  value = aws_sns_topic.nobody.arn\n}',
        'managed resource "aws_sns_topic" "nobody" has not been declared',
    ),
    "an attribute that there is not": (
        'resource "aws_sns_topic" "g" {}\noutput "name" {\n  value = aws_sns_topic.g.nome\n}',
        'This object has no argument, nested block, or exported attribute named "nome"',
    ),
}
"""What only the provider's schema can find: what is written, and what Terraform says of it."""


@pytest.fixture(scope="module")
def schema(root: Path, provider: Mapping[str, str]) -> dict[str, Any]:
    """The schema of the stand-in, as Terraform has it."""
    answer = json.loads(terraform(root, provider, "providers", "schema", "-json"))
    found: dict[str, Any] = answer["provider_schemas"]["registry.terraform.io/hashicorp/aws"]
    return found


@pytest.fixture(scope="module")
def said(root: Path, provider: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> str:
    """What Terraform says of all mistakes at once."""
    folder = tmp_path_factory.mktemp("mistakes")
    (folder / "versions.tf").write_text((root / "modules" / "stream" / "versions.tf").read_text())
    for number, (written, _) in enumerate(MISTAKES.values()):
        (folder / f"mistake_{number}.tf").write_text(written)
    terraform(folder, provider, "init", "-input=false", "-no-color")
    with pytest.raises(TerraformError) as error:
        terraform(folder, provider, "validate", "-no-color", "-json")
    _, _, answer = str(error.value).partition(": ")
    return "\n".join(f"{found['summary']}: {found['detail']}" for found in json.loads(answer)["diagnostics"])


def test_the_form_is_terraforms_own(provider: Mapping[str, str]) -> None:
    command = ["terraform", "fmt", "-check", "-recursive", "-diff", str(MODULES)]
    done = subprocess.run(command, env=provider, capture_output=True, text=True, check=False)
    assert done.stdout == "", "run `make tf.fmt`"
    assert done.returncode == 0, done.stderr


def test_the_root_is_valid(root: Path, provider: Mapping[str, str]) -> None:
    assert json.loads(terraform(root, provider, "validate", "-json"))["diagnostics"] == []


def test_what_holds_the_state_is_valid(root: Path, provider: Mapping[str, str]) -> None:
    terraform(root / "bootstrap", provider, "init", "-input=false", "-no-color")
    assert json.loads(terraform(root / "bootstrap", provider, "validate", "-json"))["diagnostics"] == []


def test_nothing_depends_on_what_aws_has_not_decided(root: Path, provider: Mapping[str, str]) -> None:
    everything = ["-var-file=prod.tfvars", "-var", NOTEBOOK]
    planned = terraform(root, provider, "plan", *everything, "-input=false", "-no-color")
    assert "(known after apply)" in planned
    assert " 0 to change, 0 to destroy." in planned


def test_the_modules_own_tests_pass(root: Path, provider: Mapping[str, str]) -> None:
    said = terraform(root, provider, "test", "-no-color")
    assert "Success!" in said
    assert "Success! 0 passed" not in said


@pytest.mark.parametrize("mistake", MISTAKES)
def test_the_schema_finds(mistake: str, said: str) -> None:
    _, expected = MISTAKES[mistake]
    assert expected in said


def test_an_argument_is_required_optional_or_decided_by_aws(schema: dict[str, Any]) -> None:
    database = schema["resource_schemas"]["aws_db_instance"]["block"]["attributes"]
    assert database["instance_class"] == {"type": "string", "description_kind": "plain", "required": True}
    assert database["publicly_accessible"] == {"type": "bool", "description_kind": "plain", "optional": True}
    assert database["port"] == {"type": "number", "description_kind": "plain", "optional": True, "computed": True}
    assert database["endpoint"] == {"type": "string", "description_kind": "plain", "computed": True}


def test_a_block_says_how_often_it_may_be_written(schema: dict[str, Any]) -> None:
    job = schema["resource_schemas"]["aws_glue_job"]["block"]["block_types"]
    assert (job["command"]["nesting_mode"], job["command"]["min_items"], job["command"]["max_items"]) == ("list", 1, 1)
    assert "min_items" not in job["execution_property"]


def test_an_attribute_that_is_written_like_a_block_is_none(schema: dict[str, Any]) -> None:
    group = schema["resource_schemas"]["aws_security_group"]["block"]
    assert "ingress" not in group["block_types"]
    kind, (shape, members) = group["attributes"]["ingress"]["type"]
    assert (kind, shape, members["from_port"], members["cidr_blocks"]) == (
        "set",
        "object",
        "number",
        ["list", "string"],
    )

"""Secrets are JSON objects, read and replaced; a wrong one is named and never shown."""

from collections.abc import Callable
from typing import Any

import pytest

from resources.secrets import Secrets, SecretsError
from tests.conftest import unique
from tests.resources.conftest import REGION


def test_a_document_is_read_and_replaced(boto: Callable[[str], Any]) -> None:
    name = unique("secret")
    boto("secretsmanager").create_secret(Name=name, SecretString='{"keys": []}')
    secrets = Secrets(region=REGION)
    assert secrets.read(name) == {"keys": []}
    secrets.replace(name, {"keys": [1]})
    assert secrets.read(name) == {"keys": [1]}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"SecretString": "hunter2"}, "is not JSON"),
        ({"SecretString": '["hunter2"]'}, "is no JSON object"),
        ({"SecretBinary": b"hunter2"}, "is binary, not JSON"),
    ],
)
def test_what_is_no_json_object_is_said_and_not_shown(
    boto: Callable[[str], Any], value: dict[str, Any], message: str
) -> None:
    name = unique("secret")
    boto("secretsmanager").create_secret(Name=name, **value)
    with pytest.raises(SecretsError, match=f"the secret {name} {message}") as caught:
        Secrets(region=REGION).read(name)
    assert "hunter2" not in str(caught.value)


def test_a_secret_that_is_not_there_is_named() -> None:
    with pytest.raises(SecretsError, match="cannot read the secret fraudit/none") as caught:
        Secrets(region=REGION).read("fraudit/none")
    assert caught.value.code == "ResourceNotFoundException"
    with pytest.raises(SecretsError, match="cannot replace the secret fraudit/none"):
        Secrets(region=REGION).replace("fraudit/none", {})


@pytest.mark.usefixtures("nobody_answers")
def test_a_secrets_manager_that_does_not_answer_is_said() -> None:
    with pytest.raises(SecretsError, match="Could not connect") as caught:
        Secrets(region=REGION).read("fraudit/any")
    assert caught.value.code == "Unreachable"

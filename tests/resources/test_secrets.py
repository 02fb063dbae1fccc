"""Secrets are JSON objects, read and changed; a wrong one is named and never shown."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from resources.secrets import Secrets, SecretsError
from tests.conftest import unique
from tests.resources.conftest import REGION


@pytest.fixture
def name(boto: Callable[[str], Any]) -> str:
    """A secret with an empty list."""
    name = unique("secret")
    boto("secretsmanager").create_secret(Name=name, SecretString='{"keys": []}')
    return name


def adding(item: object) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda document: {"keys": [*document["keys"], item]}


def test_a_document_is_read_and_changed(name: str) -> None:
    secrets = Secrets(region=REGION)
    assert secrets.read(name) == {"keys": []}
    assert secrets.change(name, adding(1)) == {"keys": [1]}
    assert secrets.change(name, adding(2)) == {"keys": [1, 2]}
    assert secrets.read(name) == {"keys": [1, 2]}


def test_what_changes_nothing_is_not_written(name: str, boto: Callable[[str], Any]) -> None:
    Secrets(region=REGION).change(name, dict)
    assert len(boto("secretsmanager").list_secret_version_ids(SecretId=name, IncludeDeprecated=True)["Versions"]) == 1


def test_of_several_who_change_it_at_once_none_is_lost(name: str) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda i: Secrets(region=REGION).change(name, adding(i)), range(6)))
    assert sorted(Secrets(region=REGION).read(name)["keys"]) == list(range(6))


def test_a_change_is_made_anew_of_what_somebody_else_wrote_first(name: str) -> None:
    seen = []

    def late(document: dict[str, Any]) -> dict[str, Any]:
        seen.append(document)
        if len(seen) == 1:
            Secrets(region=REGION).change(name, adding("theirs"))
        return adding("ours")(document)

    assert Secrets(region=REGION).change(name, late) == {"keys": ["theirs", "ours"]}
    assert seen == [{"keys": []}, {"keys": ["theirs"]}]


def test_who_is_never_first_is_told(name: str) -> None:
    def always_late(document: dict[str, Any]) -> dict[str, Any]:
        Secrets(region=REGION).change(name, adding("theirs"))
        return adding("ours")(document)

    with pytest.raises(SecretsError, match="others change it all the time") as caught:
        Secrets(region=REGION).change(name, always_late)
    assert caught.value.code == "Conflict"
    assert "ours" not in Secrets(region=REGION).read(name)["keys"]


def test_what_a_change_raises_is_passed_on_and_nothing_is_written(name: str) -> None:
    with pytest.raises(KeyError):
        Secrets(region=REGION).change(name, lambda document: {"keys": document["none"]})
    assert Secrets(region=REGION).read(name) == {"keys": []}


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
    with pytest.raises(SecretsError, match="cannot read the secret fraudit/none"):
        Secrets(region=REGION).change("fraudit/none", dict)


@pytest.mark.usefixtures("nobody_answers")
def test_a_secrets_manager_that_does_not_answer_is_said() -> None:
    with pytest.raises(SecretsError, match="Could not connect") as caught:
        Secrets(region=REGION).read("fraudit/any")
    assert caught.value.code == "Unreachable"

"""``fraudit keys``: several at once, shown without the key, revoked for good; the API takes exactly the active ones."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from app import authorize
from chalicelib.keys import KeyRing
from chalicelib.settings import Settings as ApiSettings

from fraudit_dagster.api_keys import FORGOTTEN_AFTER_S, FORGOTTEN_ALONE_S, ApiKeyError, id_of
from fraudit_dagster.cli import keys, operate
from fraudit_dagster.settings import load_settings
from resources.secrets import Secrets
from tests.operate.conftest import REGION, Deployment, fraudit, said


@pytest.fixture
def ring(deployment: Deployment, boto: Callable[[str], Any]) -> KeyRing:
    """What the API checks a key with, reading the secret at every request."""
    return KeyRing(boto("secretsmanager"), secret_name=deployment.secret, max_age_s=-1, stale_s=600)


def test_the_api_takes_every_key_that_was_made_and_not_revoked(ring: KeyRing) -> None:
    shop, app = said("keys", "create", "--label", "shop"), said("keys", "create", "--label", "app")
    assert [ring.identify(key) for key in (shop, app)] == [id_of(shop), id_of(app)]
    said("keys", "revoke", id_of(shop))
    assert [ring.identify(key) for key in (shop, app)] == [None, id_of(app)]


def test_keys_are_listed_by_id_and_the_key_is_nowhere(deployment: Deployment, boto: Callable[[str], Any]) -> None:
    key = said("keys", "create", "--label", "the [red] shop")
    other = said("keys", "create", "--label", "old app")
    said("keys", "revoke", id_of(other))
    active, revoked = json.loads(said("keys", "list", "--json"))
    assert (active["key_id"], active["label"], active["revoked_at"]) == (id_of(key), "the [red] shop", None)
    assert (revoked["key_id"], revoked["label"]) == (id_of(other), "old app")
    assert revoked["created_at"] <= revoked["revoked_at"]
    table = said("keys", "list")
    assert "the [red] shop" in table
    stored = boto("secretsmanager").get_secret_value(SecretId=deployment.secret, VersionStage="AWSCURRENT")
    for text in (table, said("keys", "list", "--json"), stored["SecretString"]):
        assert id_of(key) in text
        assert key.split("_", 2)[2] not in text


def test_revoking_may_be_repeated_and_says_when_it_holds(deployment: Deployment) -> None:  # noqa: ARG001 - it is there
    key = said("keys", "create", "--label", "shop")
    first = said("keys", "revoke", id_of(key))
    assert (
        first
        == f"{id_of(key)} is revoked: the API refuses it within 120 s (660 s where it cannot reach Secrets Manager)"
    )
    assert said("keys", "revoke", id_of(key)) == first


def test_what_is_said_of_the_api_is_what_its_settings_say() -> None:
    settings = ApiSettings(stream_name="", aws_region="", stage="", model_bucket="", stream_bucket="")
    assert settings.keys_max_age_s + authorize.config.ttl_seconds == FORGOTTEN_AFTER_S
    assert settings.keys_stale_s + authorize.config.ttl_seconds == FORGOTTEN_ALONE_S


def test_an_unknown_key_is_refused_with_those_that_are_known(deployment: Deployment) -> None:  # noqa: ARG001
    key = said("keys", "create", "--label", "shop")
    done = fraudit("keys", "revoke", "00000000")
    assert isinstance(done.exception, ApiKeyError)
    assert f"{id_of(key)} (shop)" in str(done.exception)


def test_two_people_who_make_keys_at_once_both_have_one(ring: KeyRing) -> None:
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(keys.create, ["one", "two"]))
    assert [ring.identify(key) for key in made] == [id_of(key) for key in made]


def test_prepare_does_not_bring_a_revoked_key_back(deployment: Deployment, ring: KeyRing) -> None:
    key, settings = said("keys", "create", "--label", "shop"), load_settings()
    secrets = Secrets(region=REGION)
    assert operate.make_known(key, name=deployment.secret, secrets=secrets) == f"{id_of(key)} is known"
    said("keys", "revoke", id_of(key))
    assert "was revoked" in operate.make_known(key, name=settings.api_keys_secret, secrets=secrets)
    assert ring.identify(key) is None

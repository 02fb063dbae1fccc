"""API keys: read once in a while, and for a bounded time from memory while Secrets Manager is away."""

import hashlib
import json
from collections.abc import Callable, Iterator
from typing import Any, cast

import pytest
from app import app, authorize
from chalice.app import AuthRequest
from chalicelib.keys import KeyRing, KeysUnavailableError

KEY, SALT = "fraudit_0a0b0c0d_x_y-z", bytes(range(16))


def secret(key: str = KEY) -> str:
    entry = {"id": "0a0b0c0d", "salt": SALT.hex(), "sha256": hashlib.sha256(SALT + key.encode()).hexdigest()}
    return json.dumps({"keys": [entry]})


@pytest.fixture
def secrets(aws: Callable[[str], Any]) -> Iterator[Any]:
    client = aws("secretsmanager")
    client.create_secret(Name="keys", SecretString=secret())
    yield client
    client.delete_secret(SecretId="keys", ForceDeleteWithoutRecovery=True)


def test_a_revoked_key_is_refused_once_the_keys_are_old(secrets: Any) -> None:
    now_s = 0.0
    ring = KeyRing(secrets, secret_name="keys", max_age_s=60, stale_s=600, clock=lambda: now_s)
    assert ring.identify(KEY) == "0a0b0c0d"
    assert ring.identify(KEY + "x") is None
    assert ring.identify("") is None
    secrets.put_secret_value(SecretId="keys", SecretString='{"keys": []}')
    now_s = 60
    assert ring.identify(KEY) == "0a0b0c0d"
    now_s = 61
    assert ring.identify(KEY) is None


@pytest.mark.parametrize("broken", ["{", "{}", '{"keys": [{"id": "a", "salt": "zz", "sha256": ""}]}'])
def test_a_broken_secret_counts_as_away(secrets: Any, broken: str) -> None:
    now_s = 0.0
    ring = KeyRing(secrets, secret_name="keys", max_age_s=60, stale_s=600, clock=lambda: now_s)
    ring.identify(KEY)
    secrets.put_secret_value(SecretId="keys", SecretString=broken)
    now_s = 600
    assert ring.identify(KEY) == "0a0b0c0d"
    now_s = 601
    with pytest.raises(KeysUnavailableError, match="'keys'"):
        ring.identify(KEY)


def test_while_one_thread_reads_the_keys_the_others_go_on_with_those_read_last(secrets: Any) -> None:
    now_s, others = 0.0, []

    class Slow:
        def get_secret_value(self, **names: str) -> Any:
            if now_s:  # in the middle of the second read
                others.append(ring.identify(KEY))
            return secrets.get_secret_value(**names)

    ring = KeyRing(cast("Any", Slow()), secret_name="keys", max_age_s=60, stale_s=600, clock=lambda: now_s)
    assert ring.identify(KEY) == "0a0b0c0d"
    now_s = 61
    assert ring.identify(KEY) == "0a0b0c0d"
    assert others == ["0a0b0c0d"]


def test_a_secrets_manager_that_fails_is_not_asked_at_every_request(secrets: Any) -> None:
    now_s, reads = 0.0, []

    class Counting:
        def get_secret_value(self, **names: str) -> Any:
            reads.append(now_s)
            return secrets.get_secret_value(**names)

    ring = KeyRing(cast("Any", Counting()), secret_name="keys", max_age_s=60, stale_s=600, clock=lambda: now_s)
    ring.identify(KEY)
    secrets.put_secret_value(SecretId="keys", SecretString="{")
    for now_s in (61.0, 62.0, 62.9, 63.1, 64.0):  # noqa: B007 - the clock reads it
        assert ring.identify(KEY) == "0a0b0c0d"
    assert reads == [0, 61, 63.1]


@pytest.mark.parametrize(
    "key", [KEY.upper(), f" {KEY}", f"{KEY} ", KEY[:-1], "fraudit_0a0b0c0d_", "_", "\u20ac", "\ud800"]
)
def test_a_key_is_the_whole_text_and_no_other(secrets: Any, key: str) -> None:
    assert KeyRing(secrets, secret_name="keys", max_age_s=60, stale_s=600).identify(key) is None


def test_no_secret_no_entrance(aws: Callable[[str], Any]) -> None:
    ring = KeyRing(aws("secretsmanager"), secret_name="nothing", max_age_s=60, stale_s=600)
    with pytest.raises(KeysUnavailableError, match="'nothing'"):
        ring.identify(KEY)


def test_every_route_asks_for_a_key_but_health_and_the_document() -> None:
    routes = {
        (path, method): entry.authorizer for path, methods in app.routes.items() for method, entry in methods.items()
    }
    assert {route for route, authorizer in routes.items() if authorizer is None} == {
        ("/health", "GET"),
        ("/openapi.json", "GET"),
    }
    assert {authorizer for authorizer in routes.values() if authorizer} == {authorize}
    assert authorize.config.header == "x-api-key"


def test_the_policy_covers_every_route_since_api_gateway_keeps_it(
    monkeypatch: pytest.MonkeyPatch, secrets: Any
) -> None:
    class Callers:
        keys = KeyRing(secrets, secret_name="keys", max_age_s=60, stale_s=600)

    monkeypatch.setattr("app.service", Callers)
    arn = "arn:aws:execute-api:eu-west-1:000000000000:abc/api/POST/predict"
    request = AuthRequest("TOKEN", KEY, arn)
    allowed = authorize.func(request).to_dict(request)["policyDocument"]["Statement"][0]["Resource"]
    assert allowed == ["arn:aws:execute-api:eu-west-1:000000000000:abc/api/*/*"]
    wrong = AuthRequest("TOKEN", "wrong", arn)
    assert authorize.func(wrong).to_dict(wrong)["policyDocument"]["Statement"][0]["Resource"] == []

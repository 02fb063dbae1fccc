"""Keys are known by salted hashes, once each."""

import hashlib
from datetime import UTC, datetime

import pytest

from fraudit_dagster.api_keys import KEY_PATTERN, ApiKeyError, new_key, with_key

NOW = datetime(2026, 11, 23, tzinfo=UTC)


def test_a_key_is_kept_as_a_salted_hash_only() -> None:
    key = new_key()
    (entry,) = with_key({"keys": []}, key, label="shop", now=NOW)["keys"]
    assert KEY_PATTERN.fullmatch(key)
    assert entry["id"] == key.split("_")[1]
    assert entry["sha256"] == hashlib.sha256(bytes.fromhex(entry["salt"]) + key.encode()).hexdigest()
    assert key not in str(entry)


def test_a_known_key_changes_nothing_and_others_stay() -> None:
    first, second = new_key(), new_key()
    document = with_key({"keys": []}, first, label="a", now=NOW)
    assert with_key(document, first, label="b", now=NOW) == document
    assert [entry["label"] for entry in with_key(document, second, label="b", now=NOW)["keys"]] == ["a", "b"]


def test_another_text_is_refused() -> None:
    with pytest.raises(ApiKeyError, match="fraudit keys create"):
        with_key({"keys": []}, "hunter2", label="x", now=NOW)

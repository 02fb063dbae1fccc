"""Keys are known by salted hashes, once each; of a revoked one nothing is left that could be checked."""

import hashlib
from datetime import UTC, datetime

import pytest

from fraudit_dagster.api_keys import (
    KEY_PATTERN,
    REVOKED_LIMIT,
    ApiKeyError,
    KeyEntry,
    entries,
    id_of,
    new_key,
    with_key,
    without_key,
)

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


@pytest.mark.parametrize("label", ["", "  ", "a\nb", "\x1b[31m", "x" * 101])
def test_a_label_is_one_line_that_can_be_read(label: str) -> None:
    with pytest.raises(ApiKeyError, match="1 to 100 printable"):
        with_key({"keys": []}, new_key(), label=label, now=NOW)


def test_two_keys_never_share_an_id_since_the_api_finds_them_by_it() -> None:
    first = new_key()
    other = f"fraudit_{id_of(first)}_{'x' * 43}"
    document = with_key({"keys": []}, first, label="a", now=NOW)
    with pytest.raises(ApiKeyError, match="is taken"):
        with_key(document, other, label="b", now=NOW)
    with pytest.raises(ApiKeyError, match="is taken"):
        with_key(without_key(document, id_of(first), now=NOW), first, label="a", now=NOW)


def test_a_key_is_revoked_once_and_only_its_name_stays() -> None:
    first, second = new_key(), new_key()
    document = with_key(with_key({"keys": []}, first, label="a", now=NOW), second, label="b", now=NOW)
    revoked = without_key(document, id_of(first), now=NOW)
    assert [entry["id"] for entry in revoked["keys"]] == [id_of(second)]
    assert revoked["revoked"] == [
        {"id": id_of(first), "label": "a", "created_at": NOW.isoformat(), "revoked_at": NOW.isoformat()}
    ]
    assert without_key(revoked, id_of(first), now=NOW) == revoked
    assert entries(revoked) == [
        KeyEntry(id_of(second), "b", NOW.isoformat(), None),
        KeyEntry(id_of(first), "a", NOW.isoformat(), NOW.isoformat()),
    ]


def test_a_key_that_is_not_there_is_refused_with_those_that_are() -> None:
    key = new_key()
    document = with_key({"keys": []}, key, label="shop", now=NOW)
    with pytest.raises(ApiKeyError, match=rf"no key 'ffffffff'.*{id_of(key)} \(shop\)"):
        without_key(document, "ffffffff", now=NOW)
    with pytest.raises(ApiKeyError, match="active ones are: none"):
        without_key({"keys": []}, "ffffffff", now=NOW)


def test_revoked_keys_are_remembered_as_far_as_the_secret_has_room() -> None:
    document: dict[str, object] = {"keys": []}
    for number in range(REVOKED_LIMIT + 1):
        key = f"fraudit_{number:08x}_{'k' * 43}"
        document = without_key(with_key(document, key, label="x", now=NOW), id_of(key), now=NOW)
    assert [entry.key_id for entry in entries(document)] == [f"{number:08x}" for number in range(1, REVOKED_LIMIT + 1)]

"""What proves the infrastructure is pinned: the stand-in's packages, checkov, and the provider's schema."""

from pathlib import Path

import pytest

from scripts.lock import SCHEMA_LOCK, SCHEMA_REQUIREMENTS, TERRAFORM_LOCK, TERRAFORM_REQUIREMENTS, file_hash

LOCKS = {TERRAFORM_REQUIREMENTS: TERRAFORM_LOCK, SCHEMA_REQUIREMENTS: SCHEMA_LOCK}


@pytest.mark.parametrize("asked", LOCKS, ids=lambda path: path.name)
def test_a_lock_is_in_step_with_what_is_asked_for(asked: Path) -> None:
    assert LOCKS[asked].read_text().splitlines()[0] == f"# inputs sha256:{file_hash(asked)}", "run `make lock`"


@pytest.mark.parametrize("lock", LOCKS.values(), ids=lambda path: path.name)
def test_a_lock_has_hashes_and_no_hosts(lock: Path) -> None:
    text = lock.read_text()
    pins = [line for line in text.splitlines() if "==" in line]
    assert pins
    assert all(line.endswith("\\") for line in pins), "each pin has hashes"
    assert "://" not in text


def test_of_the_schema_nothing_else_is_brought() -> None:
    (asked,) = (line for line in SCHEMA_REQUIREMENTS.read_text().splitlines() if not line.startswith("#"))
    assert [line for line in SCHEMA_LOCK.read_text().splitlines() if "==" in line] == [f"{asked} \\"]

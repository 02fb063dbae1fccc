"""Terraform and the stand-in for its provider: once for the tests of a file."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from scripts.terraform import MODULES, copy_modules, plan, stand_in, terraform, what_is_missing
from tests.terraform.plans import Plan

STAGES = ("dev", "prod")


@pytest.fixture(scope="module")
def provider() -> Iterator[Mapping[str, str]]:
    """The stand-in, as close to the true provider as it gets: what AWS decides is unknown until the apply."""
    _skip_without_terraform()
    with stand_in() as environment:
        yield environment


@pytest.fixture(scope="module")
def root(provider: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the modules, initialised."""
    copied = copy_modules(tmp_path_factory.mktemp("root"))
    terraform(copied, provider, "init", "-input=false", "-no-color")
    return copied


@pytest.fixture(scope="module")
def plans(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Plan]:
    """The plan of each stage, with the values that AWS would decide foreseen."""
    _skip_without_terraform()
    copied = copy_modules(tmp_path_factory.mktemp("plans"))
    with stand_in(MODULES, foresees=True) as environment:
        terraform(copied, environment, "init", "-input=false", "-no-color")
        return {stage: plan(copied, environment, f"{stage}.tfvars") for stage in STAGES}


def _skip_without_terraform() -> None:
    if missing := what_is_missing():
        pytest.skip(f"the infrastructure is not proven: {missing}")

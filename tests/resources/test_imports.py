"""Definitions load fast: what is heavy is imported where it is used."""

import json
import pkgutil
import subprocess
import sys

import resources
from resources import sagemaker

HEAVY = {"boto3", "great_expectations", "matplotlib", "pandas", "pyspark", "sagemaker", "sklearn", "xgboost"}
INSIDE_FUNCTIONS_ONLY = {"resources.limited"}
"""Modules of ours that say themselves that they are heavy."""


def test_resources_and_definitions_load_nothing_heavy() -> None:
    ours = {
        module.name
        for package in (resources, sagemaker)
        for module in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")
    }
    assert ours > INSIDE_FUNCTIONS_ONLY
    names = [*sorted(ours - INSIDE_FUNCTIONS_ONLY), "fraudit_dagster.definitions"]
    program = f"import importlib, json, sys\n[importlib.import_module(name) for name in {names}]\nprint(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    loaded = set(json.loads(done.stdout.splitlines()[-1]))
    assert loaded & HEAVY == set()
    assert "fraudit_dagster.definitions" in loaded

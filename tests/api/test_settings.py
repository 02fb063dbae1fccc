"""The environment of the API, and that its configuration names all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chalicelib.settings import BATCH, FEEDBACK, SINGLE, Settings, SettingsError

CONFIG = Path(__file__).parents[2] / "api" / ".chalice" / "config.json"


def test_every_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"stream_name, stage, stream_bucket$"):
        Settings.from_environment({"aws_region": "eu-west-1", "model_bucket": "m", "stage": ""})


def test_the_server_does_not_start_without_its_settings() -> None:
    command = [sys.executable, str(CONFIG.parents[1] / "server.py")]
    ended = subprocess.run(command, env={"stage": "dev"}, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert ended.stderr.startswith("cannot serve: set these variables")
    assert ended.stderr.rstrip().endswith("stream_name, aws_region, model_bucket, stream_bucket")


def test_the_shipped_configuration_is_complete() -> None:
    variables = json.loads(CONFIG.read_text())["stages"]["dev"]["environment_variables"]
    settings = Settings.from_environment(variables)
    assert settings.api_keys_secret == "fraudit/api-keys"
    assert settings.alerts_topic_arn is None
    assert settings.contract == "creditcard"


def test_a_request_never_waits_as_long_as_those_who_wait_for_it() -> None:
    lambda_s = json.loads(CONFIG.read_text())["lambda_timeout"]
    api_gateway_s = 29
    assert SINGLE.worst_case_s == 4.0
    assert FEEDBACK.worst_case_s < SINGLE.worst_case_s < BATCH.worst_case_s < lambda_s < api_gateway_s


def test_a_batch_fits_what_carries_it() -> None:
    settings = Settings("s", "eu-west-1", "dev", "m", "s")
    lambda_bytes = 6 * 10**6
    assert settings.max_batch_bytes * 1.1 < lambda_bytes, "quotes are escaped on the way"
    assert settings.max_batch_transactions * 1_500 < settings.max_batch_bytes

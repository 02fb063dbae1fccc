"""The environment of the API, and that its configuration names all of it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from chalicelib.settings import Settings, SettingsError

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

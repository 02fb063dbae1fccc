"""The environment of the API, and that its configuration names all of it."""

import json
from pathlib import Path

import pytest
from chalicelib.settings import Settings, SettingsError

CONFIG = Path(__file__).parents[2] / "api" / ".chalice" / "config.json"


def test_every_missing_variable_is_named() -> None:
    with pytest.raises(SettingsError, match=r"stream_name, stage, stream_bucket$"):
        Settings.from_environment({"aws_region": "eu-west-1", "model_bucket": "m", "stage": ""})


def test_the_shipped_configuration_is_complete() -> None:
    variables = json.loads(CONFIG.read_text())["stages"]["dev"]["environment_variables"]
    settings = Settings.from_environment(variables)
    assert settings.api_keys_secret == "fraudit/api-keys"
    assert settings.alerts_topic_arn is None

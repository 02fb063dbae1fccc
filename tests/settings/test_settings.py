"""Settings come from the environment, and every wrong variable is named at once."""

from pathlib import Path

import pytest

from fraudit_dagster.settings import PROJECT_DIR, Settings, SettingsError, load_settings


@pytest.fixture(autouse=True)
def empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for field, info in Settings.model_fields.items():
        for name in {field.upper(), info.alias or ""} - {""}:
            monkeypatch.delenv(name, raising=False)


def test_nothing_need_be_set() -> None:
    settings = load_settings(env_file=None)
    assert settings.data_bucket == "fraud-detection-data-bucket-eu-west-1"
    assert settings.model_bucket == "fraud-detection-models-eu-west-1"
    assert settings.kinesis_stream_name == "fraud-predictions-stream"


def test_buckets_follow_the_region_and_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("MODEL_BUCKET", "models-of-ours")
    settings = load_settings(env_file=None)
    assert settings.stream_bucket == "fraud-detection-stream-bucket-us-east-1"
    assert settings.model_bucket == "models-of-ours"


def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FRAUDIT_DATASET", "")
    monkeypatch.setenv("POSTGRES_PORT", "")
    settings = load_settings(env_file=None)
    assert settings.dataset is None
    assert settings.postgres_port == 5432


def test_every_wrong_variable_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PORT", "many")
    monkeypatch.setenv("FRAUDIT_STAGE", "Dev!")
    monkeypatch.setenv("MODEL_BUCKET", "A_b")
    with pytest.raises(SettingsError) as caught:
        load_settings(env_file=None)
    lines = str(caught.value).splitlines()
    assert len(lines) == 3
    assert {line.split(":")[0] for line in lines} == {"POSTGRES_PORT", "FRAUDIT_STAGE", "MODEL_BUCKET"}
    assert "(it is 'many')" in str(caught.value)


def test_password_and_secret_exclude_each_other_and_no_value_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POSTGRES_PASSWORD", "hunter2")
    monkeypatch.setenv("POSTGRES_SECRET_ARN", "arn:aws:secretsmanager:eu-west-1:000000000000:secret:x")
    with pytest.raises(SettingsError, match="POSTGRES_PASSWORD or POSTGRES_SECRET_ARN, not both") as caught:
        load_settings(env_file=None)
    assert "hunter2" not in str(caught.value)


def test_the_process_wins_over_the_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env_file = tmp_path / ".env"
    env_file.write_text("FRAUDIT_STAGE=fromfile\nPOSTGRES_DB=fromfile\n")
    monkeypatch.setenv("FRAUDIT_STAGE", "fromprocess")
    settings = load_settings(env_file=env_file)
    monkeypatch.delenv("POSTGRES_DB")
    assert (settings.stage, settings.postgres_db) == ("fromprocess", "fromfile")


def test_the_example_names_every_setting_and_loads() -> None:
    text = (PROJECT_DIR / ".env.example").read_text()
    named = {line.lstrip("# ").split("=")[0] for line in text.splitlines() if "=" in line}
    wanted = {info.alias or field.upper() for field, info in Settings.model_fields.items()}
    assert wanted <= named

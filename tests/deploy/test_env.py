"""``fraudit deploy env``: the outputs of the infrastructure, in the files that others read."""

import json
import stat
from pathlib import Path

import pytest
from dotenv import dotenv_values

from fraudit_dagster.cli.deploy import environment
from fraudit_dagster.cli.deploy.changes import run
from fraudit_dagster.cli.deploy.outputs import Outputs, read_outputs
from fraudit_dagster.cli.errors import CommandError
from tests.deploy.conftest import Checkout, outputs


def synced(checkout: Checkout, *, dry_run: bool = False) -> int:
    said = Outputs.model_validate(outputs())
    return run(environment.changes(said, project=checkout.folder), dry_run=dry_run)


def test_without_terraform_it_says_what_to_install(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(CommandError, match="no terraform on the PATH: install"):
        read_outputs(project=checkout.folder)


def test_where_it_is_not_initialised_it_says_so(checkout: Checkout) -> None:
    with pytest.raises(CommandError, match=r"make tf.init.*Backend initialization required"):
        read_outputs(project=checkout.folder)


def test_where_nothing_was_applied_it_says_so(checkout: Checkout) -> None:
    checkout.applied({})
    with pytest.raises(CommandError, match=r"nothing was applied yet.*make tf.apply"):
        read_outputs(project=checkout.folder)


@pytest.mark.parametrize("name", ["settings", "function_names", "repository_url", "api_environment"])
def test_a_missing_output_is_named(checkout: Checkout, name: str) -> None:
    said = outputs()
    del said[name]
    checkout.applied(said)
    with pytest.raises(CommandError, match=f"missing or of another form: {name};"):
        read_outputs(project=checkout.folder)


def test_a_missing_setting_is_named(checkout: Checkout) -> None:
    said = outputs()
    del said["settings"]["CHALICE_API_URL"]
    checkout.applied(said)
    with pytest.raises(CommandError, match=r"settings\.CHALICE_API_URL"):
        read_outputs(project=checkout.folder)


def test_the_outputs_are_what_terraform_says(checkout: Checkout) -> None:
    checkout.applied(outputs())
    said = read_outputs(project=checkout.folder)
    assert said.stage == "dev"
    assert said.function_names.authorize == "ml-inference-api-dev-authorize"
    assert checkout.calls() == ["output -json -no-color"]


def test_the_outputs_that_are_read_are_those_of_the_modules(checkout: Checkout) -> None:
    text = (checkout.terraform / "outputs.tf").read_text()
    assert [name for name in Outputs.model_fields if f'output "{name}"' not in text] == []


def test_a_dry_run_shows_each_line_and_writes_nothing(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    before = (checkout.folder / "api" / ".chalice" / "config.json").read_bytes()
    assert synced(checkout, dry_run=True)
    shown = capsys.readouterr().out
    assert "+ .env: .env.example, mode 0600\n" in shown
    assert "~ .env POSTGRES_HOST: 127.0.0.1 -> fraudit-dev.example.rds.amazonaws.com\n" in shown
    assert "+ .env MODEL_BUCKET: fraud-detection-models-eu-west-1-123456789012\n" in shown
    assert "~ config.json dev.iam_role_arn: arn:aws:iam::000000000000:role/fraud-detection-api -> " in shown
    assert not (checkout.folder / ".env").exists()
    assert (checkout.folder / "api" / ".chalice" / "config.json").read_bytes() == before


def test_both_files_say_what_the_outputs_say_and_the_second_time_nothing_changes(
    checkout: Checkout, capsys: pytest.CaptureFixture[str]
) -> None:
    synced(checkout)
    written = dotenv_values(checkout.folder / ".env")
    said = outputs()
    assert {name: written[name] for name in said["settings"]} == said["settings"]
    assert written["POSTGRES_SECRET_ARN"] == said["owner_secret_arn"]
    assert stat.S_IMODE((checkout.folder / ".env").stat().st_mode) == 0o600
    config = json.loads((checkout.folder / "api" / ".chalice" / "config.json").read_text())
    assert config["stages"]["dev"]["iam_role_arn"] == said["lambda_exec_role_arn"]
    assert config["stages"]["dev"]["environment_variables"].items() >= said["api_environment"].items()
    capsys.readouterr()
    assert synced(checkout) == 0
    assert capsys.readouterr().out == "nothing to change\n"


def test_every_other_line_stays(checkout: Checkout) -> None:
    file = checkout.folder / ".env"
    mine = "# my own\nOTHER='a b'  # why\n\nAWS_REGION=us-east-1\nexport UNRELATED=1\n# MODEL_BUCKET=\nlast=1"
    file.write_text(mine)
    file.chmod(0o600)
    synced(checkout)
    lines = file.read_text().splitlines()
    assert [line for line in mine.splitlines() if line not in lines] == ["AWS_REGION=us-east-1"]
    assert lines[:5] == ["# my own", "OTHER='a b'  # why", "", "AWS_REGION=eu-west-1", "export UNRELATED=1"]
    assert lines[lines.index("# MODEL_BUCKET=") + 1].startswith("MODEL_BUCKET=fraud-detection-models")


@pytest.mark.parametrize("value", ["plain", "a b", "#no comment", "it's", 'a "b"', "back\\slash", ""])
def test_a_value_is_read_as_it_was_written(value: str, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text(environment.with_value("A=1\nB=2\n", "A", value))
    assert environment.values(file) == {"A": value, "B": "2"}


def test_a_file_that_others_may_read_becomes_private(checkout: Checkout, capsys: pytest.CaptureFixture[str]) -> None:
    synced(checkout)
    (checkout.folder / ".env").chmod(0o644)
    assert synced(checkout) == 1
    assert "~ mode of .env: 0644 -> 0600" in capsys.readouterr().out
    assert stat.S_IMODE((checkout.folder / ".env").stat().st_mode) == 0o600


def test_a_password_beside_the_secret_is_refused_before_anything_changes(checkout: Checkout) -> None:
    (checkout.folder / ".env").write_text("POSTGRES_PASSWORD=secret\n")
    with pytest.raises(CommandError, match="remove POSTGRES_PASSWORD from"):
        synced(checkout)
    assert (checkout.folder / ".env").read_text() == "POSTGRES_PASSWORD=secret\n"


def test_another_stage_gets_an_entry_of_its_own(checkout: Checkout) -> None:
    said = outputs()
    said["settings"]["FRAUDIT_STAGE"] = "prod"
    run(environment.changes(Outputs.model_validate(said), project=checkout.folder), dry_run=False)
    stages = json.loads((checkout.folder / "api" / ".chalice" / "config.json").read_text())["stages"]
    assert stages["prod"]["iam_role_arn"] == said["lambda_exec_role_arn"]
    assert stages["dev"]["iam_role_arn"] == "arn:aws:iam::000000000000:role/fraud-detection-api"

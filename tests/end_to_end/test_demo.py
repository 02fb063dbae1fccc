"""One transaction goes all the way: the demo as a user runs it, and the world that it leaves up."""

import json
import os
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import httpx
import psycopg2
import pytest

from fraudit_dagster.cli import world
from fraudit_dagster.contract import load_contract
from fraudit_dagster.manifest import check_manifest
from fraudit_dagster.settings import PROJECT_DIR
from scripts.permissions import PERMISSIONS, Needs, read_trail
from tests.docs import commands
from tests.end_to_end.conftest import API_PORT, COMMAND_TIMEOUT_S, EVENTS, FRAUDIT, Demo, clean_environment, fraudit

STORED_WITHIN_S = 60.0


def aws(demo: Demo, service: str) -> Any:
    import boto3

    return boto3.client(
        service,  # type: ignore[call-overload]
        endpoint_url=demo.environment["AWS_ENDPOINT_URL"],
        region_name="eu-west-1",
        aws_access_key_id="local",
        aws_secret_access_key="local",
    )


@pytest.fixture(scope="module")
def manifest(demo: Demo) -> dict[str, Any]:
    answer = aws(demo, "s3").get_object(Bucket="fraud-detection-models-eu-west-1", Key="serving/manifest.json")
    document: dict[str, Any] = json.loads(answer["Body"].read())
    return document


def ask(demo: Demo, body: dict[str, Any], *, key: str | None = None) -> tuple[int, dict[str, Any]]:
    key = demo.environment["FRAUDIT_API_KEY"] if key is None else key
    answer = httpx.post(
        f"{demo.environment['CHALICE_API_URL']}/predict", json=body, headers={"x-api-key": key}, timeout=20
    )
    document: dict[str, Any] = answer.json()
    return answer.status_code, document


def test_every_transaction_that_was_sent_is_one_row(demo: Demo) -> None:
    stream = demo.report["stream"]
    assert demo.report["api"] == {**demo.report["api"], "requests": EVENTS, "errors": 0}
    assert (stream["sent"], stream["stored"], stream["duplicates"], stream["quarantined"]) == (EVENTS, EVENTS, 0, 0)


def test_both_models_know_a_fraud(demo: Demo) -> None:
    models = demo.report["models"]
    assert models["xgboost"]["roc_auc"] > 0.9
    assert models["random_cut_forest"]["roc_auc"] > 0.85
    assert demo.report["policy"]["expected_cost"] < demo.report["policy"]["cost_without_model"]


def test_the_days_add_up_to_what_was_sent(demo: Demo) -> None:
    assert sum(day["transactions"] for day in demo.report["daily"]) == EVENTS
    assert len(demo.report["daily"]) == 2


def test_the_report_says_where_the_time_went_and_the_table_is_printed(demo: Demo) -> None:
    timings = demo.report["timings_s"]
    assert {"setup", "graph", "traffic", "total"} <= set(timings)
    assert timings["total"] >= timings["graph"] > 0
    assert f"{EVENTS} stored" in demo.printed
    assert f"report: {demo.state / 'report.html'}" in demo.printed
    assert (demo.state / "report.html").read_text().count("<svg") == 4
    assert demo.report["dataset"] == {**demo.report["dataset"], "rows": 12_000, "frauds": 240, "synthetic": False}


def test_what_serves_is_a_valid_manifest_and_answers_its_golden_rows(demo: Demo, manifest: dict[str, Any]) -> None:
    check_manifest(manifest)
    metadata = {
        "timestamp": "2026-11-23T10:00:00Z",
        "user_id": "u1",
        "source": "Web",
        "device_info": {"device_type": "phone", "os_version": "1", "app_version": "1"},
        "ip_address": "198.18.0.1",
        "geo": {"country": "NL", "region": "NH", "city": "Amsterdam", "latitude": 52.4, "longitude": 4.9},
    }
    for row in manifest["golden"]:
        status, answer = ask(demo, {"metadata": metadata, "data": row["data"]})
        assert status == 200
        assert answer["fraud_classifier"]["pred_proba"] == pytest.approx(row["pred_proba"], abs=1e-6)
        assert answer["anomaly_detector"]["score"] == pytest.approx(row["score"], abs=1e-6)
        flagged = answer["decision"] != "approve"
        assert flagged == bool(answer["reasons"])


def test_nobody_gets_in_without_a_key(demo: Demo) -> None:
    assert ask(demo, {}, key="")[0] == 401
    status, answer = ask(demo, {}, key="fraudit_00000000_" + "A" * 43)
    assert status in {401, 403}, answer


def test_a_wrong_field_is_named(demo: Demo) -> None:
    inputs = dict.fromkeys(load_contract().inputs, 0.5) | {"V7": "much"}
    status, answer = ask(demo, {"metadata": {}, "data": inputs})
    assert status == 400
    assert answer["error"]["field"]


def test_the_graph_runs_by_the_command_and_says_what_it_does_for_programs(demo: Demo) -> None:
    day = demo.report["daily"][0]["day"]
    done = fraudit("graph", "daily", "--first", day, "--last", day, "--json", variables=demo.environment)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, done.stderr
    finished = {event["step"] for event in events if event["event"] == "success"}
    assert {"analytics__daily_fraud_summary", "analytics__archive"} <= finished


def test_simulated_traffic_is_stored_once_and_so_are_its_labels(demo: Demo) -> None:
    words = ("simulate", "--events", "200", "--rate", "100", "--feedback", "1", "--json")
    done = fraudit(*words, variables=demo.environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    report = found["report"]
    assert (report["answered"], report["errors"], report["label_errors"]) == (200, {}, {})
    assert report["labels"] + report["labels_to_come"] == 200
    deadline = time.monotonic() + STORED_WITHIN_S
    while (counts := stored(demo, found["run_id"])) != (200, report["labels"]) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert counts == (200, report["labels"])


def stored(demo: Demo, run_id: str) -> tuple[int, ...]:
    """How many transactions of a run the warehouse has, and how many labels of these."""
    names = {"host": "HOST", "port": "PORT", "dbname": "DB", "user": "USER", "password": "PASSWORD"}
    where = " ".join(f"{name}={demo.environment[f'POSTGRES_{suffix}']}" for name, suffix in names.items())
    with closing(psycopg2.connect(where)) as connection, connection.cursor() as cursor:
        cursor.execute(
            "select count(distinct p.transaction_id), count(l.transaction_id) from fraud.fraud_predictions p "
            "left join fraud.fraud_labels l using (transaction_id) where p.run_id = %s",
            (run_id,),
        )
        counts: tuple[int, ...] = cursor.fetchone() or ()
    return counts


def test_a_port_that_is_taken_gives_another_and_is_said(demo: Demo) -> None:
    assert f"port {API_PORT} is taken: api is at" in demo.printed
    assert not demo.environment["CHALICE_API_URL"].endswith(f":{API_PORT}")


def test_every_service_says_where_it_lives(demo: Demo) -> None:
    status = json.loads(fraudit("status", "--state", demo.state, "--json").stdout)
    assert {"moto", "kinesis", "sagemaker", "glue", "postgres", "api"} <= set(status["services"])
    assert all(service["status"] in {"healthy", "done"} for service in status["services"].values())


def test_the_topic_that_the_api_tells_of_blocks_is_there(demo: Demo) -> None:
    topic = f"arn:aws:sns:eu-west-1:{world.LOCAL_ACCOUNT}:fraud-alerts"
    assert topic in [known["TopicArn"] for known in aws(demo, "sns").list_topics()["Topics"]]
    assert "alert_failed" not in (demo.state / "logs" / "api.log").read_text()


@pytest.mark.parametrize("page", commands.RUN_IN_THE_DEMO)
def test_the_commands_of_a_page_do_what_it_says(demo: Demo, page: str, tmp_path: Path) -> None:
    (tmp_path / "fraudit_dagster").symlink_to(PROJECT_DIR / "fraudit_dagster")
    variables = {"PATH": f"{FRAUDIT.parent}{os.pathsep}{os.environ['PATH']}", "FRAUDIT_STATE_DIR": str(demo.state)}
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", commands.script(PROJECT_DIR / page)],
        cwd=tmp_path,
        env={**clean_environment(), **demo.environment, **variables},
        capture_output=True,
        text=True,
        timeout=COMMAND_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert '"error"' not in done.stdout, "an answer of the API"


def test_nothing_was_needed_of_aws_that_is_not_on_the_list(demo: Demo) -> None:
    """Of the world so far; `make permissions` makes the list (docs/decisions/0019-recorded-permissions.md)."""
    listed: Needs = json.loads(PERMISSIONS.read_text())
    by_command = [listed["operator"], listed["dagster"]]  # the graph runs by the command in a demo
    listed["operator"] = {
        action: [resource for needs in by_command for resource in needs.get(action, [])]
        for action in {action for needs in by_command for action in needs}
    }
    recorded = read_trail(demo.trail.iterdir())
    assert set(recorded) >= {"api", "glue", "operator", "prepare", "sagemaker"}
    beyond = [
        f"{component}: {action} on {resource}"
        for component, actions in recorded.items()
        for action, resources in actions.items()
        for resource in resources
        if resource not in listed[component].get(action, [])
    ]
    assert beyond == []

"""What the plan of each stage would make is secure, and holds what the parts need; the defects of public samples would be found."""

import json
from pathlib import Path

import pytest
import yaml
from app import _ANSWERS_OF_CHALICE, app
from fraudit_stream.events import Reason
from gateway import GATEWAY_RESPONSES, RETRY_AFTER_S

from fraudit_dagster.settings import PROJECT_DIR
from scripts.permissions import PERMISSIONS, Needs
from tests.terraform.checkov import failures
from tests.terraform.conftest import STAGES
from tests.terraform.defects import DEFECTS, INVARIANTS, Invariant
from tests.terraform.plans import Plan, all_of, containers_of, outputs_of
from tests.terraform.policies import ROLES, Statement, missing, statements_of, unused, wildcards
from tests.terraform.reasons import BEYOND, NOT_FOLLOWED, UNNAMED

RECORDED: Needs = json.loads(PERMISSIONS.read_text())
NEEDS: Needs = {component: RECORDED[component] for component in ROLES}
METRICS = json.loads((PROJECT_DIR / "fraudit_dagster" / "schemas" / "metrics.v1.json").read_text())["metrics"]
LOCAL = yaml.safe_load((PROJECT_DIR / "infra" / "local" / "resources.yaml").read_text())
MOST_SKIPPED = 15


def without(action: str, statement: Statement) -> list[str]:
    """The actions of a statement, but for one."""
    return [name for name in statement.listed("Action") if name != action]


@pytest.mark.parametrize("stage", STAGES)
@pytest.mark.parametrize("holds", INVARIANTS, ids=lambda holds: holds.__name__)
def test_it_holds(holds: Invariant, stage: str, plans: dict[str, Plan]) -> None:
    assert holds(plans[stage]) == []


@pytest.mark.parametrize("defect", DEFECTS)
def test_a_defect_is_found(defect: str, plans: dict[str, Plan]) -> None:
    finds, bring_about = DEFECTS[defect]
    plan = json.loads(json.dumps(plans["dev"]))
    bring_about(plan)
    assert finds(plan) != []


def test_every_invariant_finds_a_defect() -> None:
    assert {finds for finds, _ in DEFECTS.values()} == set(INVARIANTS)


def test_production_stays(plans: dict[str, Plan]) -> None:
    (database,) = all_of(plans["prod"], "aws_db_instance")
    assert database["deletion_protection"]
    assert database["multi_az"]
    assert not database["skip_final_snapshot"]


@pytest.mark.parametrize("stage", STAGES)
def test_what_goes_into_the_settings_is_an_output(stage: str, plans: dict[str, Plan]) -> None:
    named = {"kinesis_stream_name", "lambda_exec_role_arn", "rds_postgres_endpoint", "rds_postgres_port"}
    outputs = outputs_of(plans[stage])
    assert named <= set(outputs)
    assert all(outputs[name] for name in named)


def test_the_gateway_answers_as_the_local_one(plans: dict[str, Plan]) -> None:
    answered = {}
    for response in all_of(plans["dev"], "aws_api_gateway_gateway_response"):
        error = json.loads(response["response_templates"]["application/json"])["error"]
        answered[response["response_type"]] = (int(response["status_code"]), error["code"], error["message"])
    expected = {name: answer for name, answer in GATEWAY_RESPONSES.items() if name != "REQUEST_TIMEOUT"}  # AWS hangs up
    assert answered == expected
    throttled = next(
        it for it in all_of(plans["dev"], "aws_api_gateway_gateway_response") if it["status_code"] == "429"
    )
    assert throttled["response_parameters"] == {"gatewayresponse.header.Retry-After": f"'{RETRY_AFTER_S}'"}


def test_another_method_is_refused_as_the_api_refuses_it(plans: dict[str, Plan]) -> None:
    refusals = all_of(plans["dev"], "aws_api_gateway_integration_response")
    assert len(refusals) == len(app.routes)
    for refusal in refusals:
        error = json.loads(refusal["response_templates"]["application/json"])["error"]
        assert refusal["status_code"] == "405"
        assert (error["code"], error["message"]) == _ANSWERS_OF_CHALICE[405]
        assert refusal["response_parameters"]["method.response.header.Allow"] in ("'GET'", "'POST'")


def test_the_routes_are_those_of_the_api(plans: dict[str, Plan]) -> None:
    resources = {it["id"]: it for it in all_of(plans["dev"], "aws_api_gateway_resource")}

    def path(resource_id: str) -> str:
        resource = resources.get(resource_id)
        return "" if resource is None else f"{path(resource['parent_id'])}/{resource['path_part']}"

    there = {
        (path(it["resource_id"]), it["http_method"]): it["authorization"] == "CUSTOM"
        for it in all_of(plans["dev"], "aws_api_gateway_method")
        if it["http_method"] != "ANY"
    }
    here = {
        (route, method): entry.authorizer is not None
        for route, methods in app.routes.items()
        for method, entry in methods.items()
    }
    assert there == here


def test_the_function_is_as_chalice_has_it(plans: dict[str, Plan]) -> None:
    config = json.loads((PROJECT_DIR / "api" / ".chalice" / "config.json").read_text())
    function = next(it for it in all_of(plans["dev"], "aws_lambda_function") if it["handler"] == "app.app")
    assert function["memory_size"] == config["lambda_memory_size"]
    assert function["timeout"] == config["lambda_timeout"]
    assert set(function.first("environment")["variables"]) == set(config["stages"]["dev"]["environment_variables"])


def test_every_metric_has_an_alarm(plans: dict[str, Plan]) -> None:
    watched = {alarm["metric_name"] for alarm in all_of(plans["prod"], "aws_cloudwatch_metric_alarm")}
    assert {metric["name"] for metric in METRICS} - watched == set()


def test_an_alarm_has_the_dimensions_of_its_metric(plans: dict[str, Plan]) -> None:
    dimensions = {metric["name"]: {"stage", *metric["dimensions"]} for metric in METRICS}
    for alarm in all_of(plans["prod"], "aws_cloudwatch_metric_alarm"):
        if alarm["namespace"] == "fraudit":
            assert set(alarm["dimensions"]) == dimensions[alarm["metric_name"]], f"{alarm.address} can never fire"


def test_a_missing_heartbeat_is_an_alarm_for_each_part_that_has_one_here(plans: dict[str, Plan]) -> None:
    here = {
        dimension["Value"]
        for entry in LOCAL
        if entry["action"] == "put_metric_alarm" and entry["params"]["MetricName"] == "Heartbeat"
        for dimension in entry["params"]["Dimensions"]
        if dimension["Name"] == "component"
    }
    there = {
        alarm["dimensions"]["component"]
        for alarm in all_of(plans["dev"], "aws_cloudwatch_metric_alarm")
        if alarm["metric_name"] == "Heartbeat"
    }
    assert there == here


def test_an_alarm_asks_for_the_dimensions_that_its_metric_has(plans: dict[str, Plan]) -> None:
    dimensions = {metric["name"]: {"stage", *metric["dimensions"]} for metric in METRICS}
    ours = [alarm for alarm in all_of(plans["prod"], "aws_cloudwatch_metric_alarm") if alarm["namespace"] == "fraudit"]
    assert [alarm.address for alarm in ours if set(alarm["dimensions"]) != dimensions[alarm["metric_name"]]] == []
    asked = {alarm["dimensions"]["reason"] for alarm in ours if alarm["metric_name"] == "Quarantined"}
    assert asked == set(Reason)


def test_every_metric_is_on_the_page(plans: dict[str, Plan]) -> None:
    (page,) = all_of(plans["dev"], "aws_cloudwatch_dashboard")
    assert [metric["name"] for metric in METRICS if metric["name"] not in page["dashboard_body"]] == []


def test_the_function_is_told_what_chalice_would_tell_it(plans: dict[str, Plan]) -> None:
    stage = json.loads((PROJECT_DIR / "api" / ".chalice" / "config.json").read_text())["stages"]["dev"]
    for function in all_of(plans["dev"], "aws_lambda_function"):
        assert set(function.first("environment")["variables"]) == set(stage["environment_variables"])


def test_tasks_run_what_the_page_says_and_are_told_what_somebody_reads(plans: dict[str, Plan]) -> None:
    page = (PROJECT_DIR / "docs" / "containers.md").read_text()
    read = page + (PROJECT_DIR / ".env.example").read_text() + (PROJECT_DIR / "docs" / "deploy.md").read_text()
    for _, container in containers_of(plans["dev"]):
        command = container["command"]
        line = command[-1] if command[0] == "sh" else " ".join(command)
        assert f"`{line}`" in page or container["name"] in ("dashboard", "smoke")
        names = {entry["name"] for entry in (*container["environment"], *container["secrets"])}
        assert [name for name in names if name not in read and name != "STREAMLIT_SIGN_IN"] == []


@pytest.fixture(scope="module", params=STAGES)
def statements(request: pytest.FixtureRequest, plans: dict[str, Plan]) -> list[Statement]:
    """The statements of every policy of a stage's plan."""
    return statements_of(plans[request.param])


def test_every_component_has_a_role(statements: list[Statement]) -> None:
    assert {statement.role for statement in statements} >= set(ROLES.values())


def test_no_role_lacks_what_its_component_needs(statements: list[Statement]) -> None:
    assert missing(NEEDS, statements) == []


def test_no_role_allows_more(statements: list[Statement]) -> None:
    assert unused(NEEDS, statements, beyond=BEYOND) == []


@pytest.mark.parametrize("component", ROLES)
def test_each_permission_that_is_removed_is_missed(component: str, statements: list[Statement]) -> None:
    own = [statement for statement in statements if statement.role == ROLES[component]]
    for action in NEEDS[component]:
        fewer = [Statement(it.policy, it.role, {**it.body, "Action": without(action, it)}) for it in own]
        lacking = missing({component: NEEDS[component]}, fewer)
        assert lacking == [f"{component}: {action} on {resource}" for resource in NEEDS[component][action]]


@pytest.mark.parametrize("component", ROLES)
def test_a_permission_that_nobody_needs_is_found(component: str, statements: list[Statement]) -> None:
    body = {"Effect": "Allow", "Action": "s3:DeleteBucket", "Resource": "arn:aws:s3:::fraud-detection-models-1"}
    more = [*statements, Statement("extra", ROLES[component], body)]
    (found,) = set(unused(NEEDS, more, beyond=BEYOND)) - set(unused(NEEDS, statements, beyond=BEYOND))
    assert found.startswith(f"{component}: s3:DeleteBucket on ")


def test_a_wildcard_has_a_reason(statements: list[Statement]) -> None:
    found = {(statement.policy, statement.sid) for statement in statements if wildcards(statement)}
    assert found == set(UNNAMED)


def test_a_role_on_everything_is_found(statements: list[Statement]) -> None:
    allowed = [statement for statement in statements if statement.role and statement.is_allowed]
    assert allowed
    for statement in allowed:
        assert "Resource *" in wildcards(Statement("", statement.role, {**statement.body, "Resource": "*"}))


def test_checkov_finds_nothing_that_has_no_reason(plans: dict[str, Plan], tmp_path: Path) -> None:
    passed, failed = failures(plans["prod"], tmp_path)
    assert {check: places for check, places in failed.items() if check not in NOT_FOLLOWED} == {}
    assert set(NOT_FOLLOWED) == set(failed), "a reason that is no longer needed"
    assert len(NOT_FOLLOWED) <= MOST_SKIPPED
    assert passed > len(all_of(plans["prod"]))

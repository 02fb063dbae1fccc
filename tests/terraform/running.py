"""What must be true of every plan of what runs: networks, the stream job, the API, containers, alarms. Each function returns what is wrong.

Belongs here: who gets in, and defects of public samples that would come back unseen. Does not: what is kept (``at_rest.py``), policies
(``policies.py``), what the provider's schema finds.
"""

from typing import Any

from tests.terraform.plans import Plan, Resource, all_of, arguments_of, containers_of, is_key

ANYWHERE = {"0.0.0.0/0", "::/0"}
OPEN_PATHS = {"health", "openapi.json"}
"""Without a key; a load balancer and a person who looks for the form of a request have none."""
PERSONAL = ("identity.", "requestOverride", "$input", "header")
"""Of API Gateway's log: addresses, user agents, callers, bodies, headers with keys."""


def nobody_comes_in_from_anywhere(plan: Plan) -> list[str]:
    """No security group lets in the whole internet, in none of the three forms of a rule."""
    rules = [(it.address, it.values) for it in all_of(plan, "aws_vpc_security_group_ingress_rule")]
    rules += [(it.address, it.values) for it in all_of(plan, "aws_security_group_rule") if it["type"] == "ingress"]
    rules += [
        (it.address, rule)
        for it in all_of(plan, "aws_security_group", "aws_default_security_group")
        for rule in it["ingress"] or []
    ]
    return [f"{address}: open to {place}" for address, rule in rules for place in _places(rule) if place in ANYWHERE]


def nothing_has_a_public_address(plan: Plan) -> list[str]:
    """No subnet gives one, no machine or task asks for one, no load balancer listens outside."""
    found = [it.address for it in all_of(plan, "aws_subnet") if it["map_public_ip_on_launch"]]
    found += [it.address for it in all_of(plan, "aws_instance") if it["associate_public_ip_address"]]
    found += [
        it.address
        for it in all_of(plan, "aws_ecs_service")
        if it.first("network_configuration").get("assign_public_ip")
    ]
    return found + [it.address for it in all_of(plan, "aws_lb") if it["internal"] is not True]


def stream_job_is_one_that_streams(plan: Plan) -> list[str]:
    """``gluestreaming`` on Glue 6.0, one run, workers that grow by themselves, and no second way to say how many."""
    found = []
    for it in all_of(plan, "aws_glue_job"):
        values = {
            "command": it.first("command").get("name") == "gluestreaming",
            "glue_version": it["glue_version"] == "6.0",
            "execution_property": it.first("execution_property").get("max_concurrent_runs") == 1,
            "worker_type": bool(it["worker_type"] and it["number_of_workers"]),
            "connections": bool(it["connections"]),
            "maintenance_window": bool(it["maintenance_window"]),
            "--enable-auto-scaling": (it["default_arguments"] or {}).get("--enable-auto-scaling") == "true",
        }
        found += [f"{it.address}: {name}" for name, is_right in values.items() if not is_right]
    written = arguments_of(plan, "aws_glue_job")
    return found + [
        f"{address}: max_capacity beside workers" for address, names in written.items() if "max_capacity" in names
    ]


def api_asks_for_a_key(plan: Plan) -> list[str]:
    """Routes are named one by one; all but two ask for a key, or are answered by the gateway itself."""
    parts = {it["id"]: it["path_part"] for it in all_of(plan, "aws_api_gateway_resource")}
    found = [f"{part}: any path" for part in parts.values() if "{" in part]
    mocked = {_route(it) for it in all_of(plan, "aws_api_gateway_integration") if it["type"] == "MOCK"}
    return found + [
        f"{it.address}: no key"
        for it in all_of(plan, "aws_api_gateway_method")
        if it["authorization"] == "NONE" and parts[it["resource_id"]] not in OPEN_PATHS and _route(it) not in mocked
    ]


def api_is_throttled(plan: Plan) -> list[str]:
    """Every method of every stage has a rate, and no log has bodies."""
    settings = {
        it["stage_name"]: it for it in all_of(plan, "aws_api_gateway_method_settings") if it["method_path"] == "*/*"
    }
    found = []
    for stage in all_of(plan, "aws_api_gateway_stage"):
        of = settings[stage["stage_name"]].first("settings") if stage["stage_name"] in settings else {}
        if (of.get("throttling_rate_limit") or -1) <= 0 or (of.get("throttling_burst_limit") or -1) <= 0:
            found.append(f"{stage.address}: no rate")
        if of.get("data_trace_enabled") is not False:
            found.append(f"{stage.address}: bodies are logged")
    return found


def access_log_knows_nobody(plan: Plan) -> list[str]:
    """There is a log of requests, with nothing about a person in it."""
    found = []
    for stage in all_of(plan, "aws_api_gateway_stage"):
        form = stage.first("access_log_settings").get("format", "")
        found += [f"{stage.address}: no log"] if not form else []
        found += [f"{stage.address}: {personal}" for personal in PERSONAL if personal in form]
    return found


def functions_stay_outside_the_vpc(plan: Plan) -> list[str]:
    """All that the API asks is AWS's own; inside it would need a NAT for it, and start later."""
    return [it.address for it in all_of(plan, "aws_lambda_function") if it["vpc_config"]]


def callers_reach_what_went_live(plan: Plan) -> list[str]:
    """API Gateway may call the alias alone, and what is changed becomes a version that the alias can be moved to."""
    found = [it.address for it in all_of(plan, "aws_lambda_permission") if it["qualifier"] != "live"]
    return found + [it.address for it in all_of(plan, "aws_lambda_function") if it["publish"] is not True]


def notebook_has_no_root(plan: Plan) -> list[str]:
    """Nor a way to the internet beside the VPC's, nor the old metadata service."""
    metadata = "instance_metadata_service_configuration"
    return [
        it.address
        for it in all_of(plan, "aws_sagemaker_notebook_instance")
        if (it["root_access"], it["direct_internet_access"]) != ("Disabled", "Disabled")
        or it.first(metadata).get("minimum_instance_metadata_service_version") != "2"
        or not is_key(it["kms_key_id"])
    ]


def containers_are_confined(plan: Plan) -> list[str]:
    """A root that cannot be written, a user that is not root, a log."""
    return [
        f"{it.address}: {container['name']}"
        for it, container in containers_of(plan)
        if container.get("readonlyRootFilesystem") is not True
        or str(container.get("user", "0")).split(":")[0] in ("0", "root")
        or "logConfiguration" not in container
    ]


def logs_end(plan: Plan) -> list[str]:
    """Every log group says how long it is kept."""
    return [it.address for it in all_of(plan, "aws_cloudwatch_log_group") if not it["retention_in_days"]]


def alarms_reach_somebody(plan: Plan) -> list[str]:
    """Each alarm has an action, and says what missing data means; a missing heartbeat is the alarm itself."""
    found = [it.address for it in all_of(plan, "aws_cloudwatch_metric_alarm") if not it["alarm_actions"]]
    return found + [
        f"{it.address}: missing data is {it['treat_missing_data']}"
        for it in all_of(plan, "aws_cloudwatch_metric_alarm")
        if it["treat_missing_data"]
        not in (("breaching",) if it["metric_name"] == "Heartbeat" else ("breaching", "notBreaching", "ignore"))
    ]


INVARIANTS = (
    nobody_comes_in_from_anywhere,
    nothing_has_a_public_address,
    stream_job_is_one_that_streams,
    api_asks_for_a_key,
    api_is_throttled,
    access_log_knows_nobody,
    functions_stay_outside_the_vpc,
    callers_reach_what_went_live,
    notebook_has_no_root,
    containers_are_confined,
    logs_end,
    alarms_reach_somebody,
)


def _places(rule: dict[str, Any]) -> list[str]:
    lists = [rule.get(name) or [] for name in ("cidr_blocks", "ipv6_cidr_blocks")]
    return [place for places in lists for place in places] + [rule.get("cidr_ipv4") or "", rule.get("cidr_ipv6") or ""]


def _route(it: Resource) -> tuple[str, str]:
    return it["resource_id"], it["http_method"]

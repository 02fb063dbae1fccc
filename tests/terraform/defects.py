"""What public samples of such systems get wrong, each as a change of a plan, with the function that must find it.

Belongs here: how a defect is brought about. Does not: how it is found (``at_rest.py``, ``running.py``).
"""

import json
from collections.abc import Callable
from typing import Any

from tests.terraform import at_rest, running
from tests.terraform.plans import Plan, all_of

Invariant = Callable[[Plan], list[str]]
Change = Callable[[Plan], Any]


def values(plan: Plan, kind: str, **which: Any) -> dict[str, Any]:
    """The values of the first resource of a type, or of the first with such values."""
    return next(it.values for it in all_of(plan, kind) if which.items() <= it.values.items())


def setting(kind: str, **changed: Any) -> Change:
    """A change of the first resource of a type."""
    return lambda plan: values(plan, kind).update(changed)


def in_block(kind: str, block: str, **changed: Any) -> Change:
    """A change of the first block of the first resource of a type."""
    return lambda plan: values(plan, kind)[block][0].update(changed)


def without(kind: str) -> Change:
    """All resources of a type are gone."""

    def remove(plan: Plan) -> None:
        modules = [plan["planned_values"]["root_module"]]
        while modules:
            module = modules.pop()
            modules += module.get("child_modules", [])
            module["resources"] = [it for it in module.get("resources", []) if it["type"] != kind]

    return remove


def with_rule(folder: str) -> Change:
    """The data bucket expires a folder."""

    def add(plan: Plan) -> None:
        rules = values(plan, "aws_s3_bucket_lifecycle_configuration")["rule"]
        rule = next(rule for rule in rules if rule["expiration"])
        rules.append({**rule, "filter": [{"prefix": folder}]})

    return add


def with_argument(name: str, value: str) -> Change:
    """The stream job has one more argument."""
    return lambda plan: values(plan, "aws_glue_job")["default_arguments"].update({name: value})


def in_container(**changed: Any) -> Change:
    """The first container is another."""

    def change(plan: Plan) -> None:
        task = values(plan, "aws_ecs_task_definition")
        first, *others = json.loads(task["container_definitions"])
        task["container_definitions"] = json.dumps([{**first, **changed}, *others])

    return change


def with_capacity(plan: Plan) -> None:
    """The stream job says how much capacity it has, beside its workers."""
    job = next(
        it
        for it in plan["configuration"]["root_module"]["module_calls"]["glue"]["module"]["resources"]
        if it["type"] == "aws_glue_job"
    )
    job["expressions"]["max_capacity"] = {"constant_value": 2}


def with_variable(plan: Plan) -> None:
    """A variable has a password by default."""
    plan["configuration"]["root_module"]["variables"]["postgres_password"] = {"default": "postgres"}


SQL = "aws_db_instance"
ACCESS = "$context.identity.sourceIp"
INVARIANTS: tuple[Invariant, ...] = (*at_rest.INVARIANTS, *running.INVARIANTS)
DEFECTS: dict[str, tuple[Invariant, Change]] = {
    "a database with a public address": (at_rest.database_is_private, setting(SQL, publicly_accessible=True)),
    "a database that is not encrypted": (at_rest.database_is_private, setting(SQL, storage_encrypted=False)),
    "a database's password in the state": (at_rest.database_is_private, setting(SQL, password="postgres")),
    "a password that AWS does not keep": (at_rest.database_is_private, setting(SQL, manage_master_user_password=None)),
    "a database without backups": (at_rest.database_is_private, setting(SQL, backup_retention_period=0)),
    "connections without TLS": (at_rest.database_is_private, setting("aws_db_parameter_group", parameter=[])),
    "a database open to the internet": (
        running.nobody_comes_in_from_anywhere,
        setting("aws_vpc_security_group_ingress_rule", cidr_ipv4="0.0.0.0/0"),
    ),
    "a group open to the internet": (
        running.nobody_comes_in_from_anywhere,
        setting("aws_security_group", ingress=[{"cidr_blocks": ["0.0.0.0/0"], "ipv6_cidr_blocks": []}]),
    ),
    "a subnet that gives public addresses": (
        running.nothing_has_a_public_address,
        setting("aws_subnet", map_public_ip_on_launch=True),
    ),
    "a machine with a public address": (
        running.nothing_has_a_public_address,
        setting("aws_instance", associate_public_ip_address=True),
    ),
    "a task with a public address": (
        running.nothing_has_a_public_address,
        in_block("aws_ecs_service", "network_configuration", assign_public_ip=True),
    ),
    "a bucket that anybody may open": (at_rest.buckets_are_closed, without("aws_s3_bucket_public_access_block")),
    "a bucket without old versions": (at_rest.buckets_are_closed, without("aws_s3_bucket_versioning")),
    "a bucket without a key": (
        at_rest.buckets_are_closed,
        without("aws_s3_bucket_server_side_encryption_configuration"),
    ),
    "a bucket without TLS": (at_rest.buckets_are_closed, without("aws_s3_bucket_policy")),
    "a bucket's name without the account": (
        at_rest.bucket_names_are_ours_alone,
        setting("aws_s3_bucket", bucket="fraud-detection-data-bucket"),
    ),
    "training data that expires": (at_rest.training_data_and_archives_stay, with_rule("dataset/")),
    "archives that expire": (at_rest.training_data_and_archives_stay, with_rule("archive/2026/")),
    "a whole bucket that expires": (at_rest.training_data_and_archives_stay, with_rule("")),
    "a stream in the clear": (at_rest.stream_and_topics_are_encrypted, setting("aws_kinesis_stream", kms_key_id=None)),
    "a topic in the clear": (at_rest.stream_and_topics_are_encrypted, setting("aws_sns_topic", kms_master_key_id=None)),
    "a key that does not turn": (
        at_rest.stream_and_topics_are_encrypted,
        setting("aws_kms_key", enable_key_rotation=False),
    ),
    "a job that does not stream": (
        running.stream_job_is_one_that_streams,
        in_block("aws_glue_job", "command", name="glueetl"),
    ),
    "capacity beside workers": (running.stream_job_is_one_that_streams, with_capacity),
    "two runs of the job": (
        running.stream_job_is_one_that_streams,
        in_block("aws_glue_job", "execution_property", max_concurrent_runs=2),
    ),
    "a job outside the VPC": (running.stream_job_is_one_that_streams, setting("aws_glue_job", connections=[])),
    "a password among the job's arguments": (
        at_rest.job_arguments_are_places_and_names,
        with_argument("--postgres_password", "postgres"),
    ),
    "a checkpoint with two schemes": (
        at_rest.job_arguments_are_places_and_names,
        with_argument("--checkpoint_location", "s3a://s3://bucket/checkpoint"),
    ),
    "a password that is a default": (at_rest.no_state_has_a_password, with_variable),
    "a password in a secret's first version": (
        at_rest.no_state_has_a_password,
        setting("aws_secretsmanager_secret_version", secret_string='{"password": "postgres"}'),
    ),
    "a key in a function's environment": (
        at_rest.environments_have_no_secrets,
        lambda plan: values(plan, "aws_lambda_function")["environment"][0]["variables"].update(API_KEY="k-1"),
    ),
    "a password in a container's environment": (
        at_rest.environments_have_no_secrets,
        in_container(environment=[{"name": "POSTGRES_PASSWORD", "value": "postgres"}]),
    ),
    "a route without a key": (
        running.api_asks_for_a_key,
        lambda plan: values(plan, "aws_api_gateway_method", authorization="CUSTOM").update(authorization="NONE"),
    ),
    "a route for any path": (running.api_asks_for_a_key, setting("aws_api_gateway_resource", path_part="{proxy+}")),
    "a stage without a rate": (
        running.api_is_throttled,
        in_block("aws_api_gateway_method_settings", "settings", throttling_rate_limit=-1),
    ),
    "bodies in the log": (
        running.api_is_throttled,
        in_block("aws_api_gateway_method_settings", "settings", data_trace_enabled=True),
    ),
    "addresses in the log": (
        running.access_log_knows_nobody,
        in_block("aws_api_gateway_stage", "access_log_settings", format=ACCESS),
    ),
    "no log of requests": (running.access_log_knows_nobody, setting("aws_api_gateway_stage", access_log_settings=[])),
    "a function in the VPC": (
        running.functions_stay_outside_the_vpc,
        setting("aws_lambda_function", vpc_config=[{"subnet_ids": ["subnet-1"]}]),
    ),
    "callers of what is not live": (
        running.callers_reach_what_went_live,
        setting("aws_lambda_permission", qualifier=None),
    ),
    "code that is no version": (
        running.callers_reach_what_went_live,
        setting("aws_lambda_function", publish=False),
    ),
    "a notebook with root": (
        running.notebook_has_no_root,
        setting("aws_sagemaker_notebook_instance", root_access="Enabled"),
    ),
    "a container that is root": (running.containers_are_confined, in_container(user="root")),
    "a container that can be written": (running.containers_are_confined, in_container(readonlyRootFilesystem=False)),
    "a log that never ends": (running.logs_end, setting("aws_cloudwatch_log_group", retention_in_days=0)),
    "an alarm that nobody hears": (
        running.alarms_reach_somebody,
        setting("aws_cloudwatch_metric_alarm", alarm_actions=[]),
    ),
    "a heartbeat whose silence is well": (
        running.alarms_reach_somebody,
        lambda plan: values(plan, "aws_cloudwatch_metric_alarm", metric_name="Heartbeat").update(
            treat_missing_data="notBreaching"
        ),
    ),
}
"""By what is wrong: which function finds it, and how it is brought about."""

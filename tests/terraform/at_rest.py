"""What must be true of every plan of what is kept: buckets, keys, the database, secrets. Each function returns what is wrong.

Belongs here: data at rest and passwords. Does not: what runs (``running.py``), policies (``policies.py``).
"""

import json
import re
from typing import Any

from tests.terraform.plans import Plan, Resource, all_of, containers_of, is_key, variables_of

KEPT = ("landing/", "dataset/", "archive/")
"""Of the data bucket: what models were taught, and what they decided."""
SECRET = re.compile(r"password|secret|token|credential|api_?key", re.IGNORECASE)
REFERENCE = re.compile(r"^arn:aws:secretsmanager:|^fraudit/|^$|_arn$|_secret$", re.IGNORECASE)


def buckets_are_closed(plan: Plan) -> list[str]:
    """No public access, old versions kept, a key of ours, TLS only."""
    beside = (
        ("aws_s3_bucket_public_access_block", "blocks public access", _blocks_all),
        (
            "aws_s3_bucket_versioning",
            "keeps versions",
            lambda it: it.first("versioning_configuration")["status"] == "Enabled",
        ),
        ("aws_s3_bucket_server_side_encryption_configuration", "is encrypted by our key", _has_our_key),
        ("aws_s3_bucket_policy", "wants TLS", _wants_tls),
    )
    return [
        f"{bucket.address}: nothing says that it {what}"
        for bucket in all_of(plan, "aws_s3_bucket")
        for kind, what, holds in beside
        if not any(holds(it) for it in all_of(plan, kind) if it["bucket"] in (bucket["id"], bucket["bucket"]))
    ]


def training_data_and_archives_stay(plan: Plan) -> list[str]:
    """Nothing expires what cannot be made again."""
    return [
        f"{bucket.address}: {folder} expires by the rule {rule['id']}"
        for bucket in all_of(plan, "aws_s3_bucket_lifecycle_configuration")
        for rule in bucket["rule"]
        if rule["expiration"] and rule["status"] == "Enabled"
        for folder in KEPT
        if folder.startswith(_prefix(rule)) or _prefix(rule).startswith(folder)
    ]


def bucket_names_are_ours_alone(plan: Plan) -> list[str]:
    """A bucket's name is global: without the account in it, somebody else may have it, or take it."""
    return [
        f"{it.address}: {it['bucket']}"
        for it in all_of(plan, "aws_s3_bucket")
        if not re.search(r"-\d{12}$", it["bucket"])
    ]


def stream_and_topics_are_encrypted(plan: Plan) -> list[str]:
    """By a key of ours, which turns."""
    keys = {
        "aws_kinesis_stream": "kms_key_id",
        "aws_sns_topic": "kms_master_key_id",
        "aws_cloudwatch_log_group": "kms_key_id",
        "aws_secretsmanager_secret": "kms_key_id",
    }
    found = [f"{it.address}: no key" for kind, key in keys.items() for it in all_of(plan, kind) if not is_key(it[key])]
    return found + [
        f"{it.address}: does not turn" for it in all_of(plan, "aws_kms_key") if not it["enable_key_rotation"]
    ]


def database_is_private(plan: Plan) -> list[str]:
    """Not reachable from outside, encrypted, TLS forced, backups, a password that only AWS knows."""
    found = []
    for it in all_of(plan, "aws_db_instance"):
        wanted = {
            "publicly_accessible": False,
            "storage_encrypted": True,
            "manage_master_user_password": True,
            "password": None,
        }
        found += [f"{it.address}: {name} is {it[name]}" for name, value in wanted.items() if it[name] != value]
        if (it["backup_retention_period"] or 0) < 7:
            found.append(f"{it.address}: backups of fewer than 7 days")
        settings = [
            (parameter["name"], parameter["value"])
            for group in all_of(plan, "aws_db_parameter_group")
            if group["name"] == it["parameter_group_name"]
            for parameter in group["parameter"]
        ]
        if ("rds.force_ssl", "1") not in settings:
            found.append(f"{it.address}: takes connections without TLS")
    return found


def job_arguments_are_places_and_names(plan: Plan) -> list[str]:
    """No password in the arguments of a job, which everybody who may look at it reads; no address with two schemes."""
    arguments = [
        (it.address, name, str(value))
        for it in all_of(plan, "aws_glue_job")
        for name, value in {**(it["default_arguments"] or {}), **(it["non_overridable_arguments"] or {})}.items()
    ]
    found = [f"{address}: {name}" for address, name, value in arguments if value.count("://") > 1]
    return found + [
        f"{address}: {name}"
        for address, name, value in arguments
        if SECRET.search(name) and not REFERENCE.search(value)
    ]


def environments_have_no_secrets(plan: Plan) -> list[str]:
    """What a function or a container must not tell to who may describe it: at most the name of a secret is there."""
    values = [
        (it.address, it.first("environment").get("variables") or {}) for it in all_of(plan, "aws_lambda_function")
    ]
    values += [
        (
            f"{it.address} ({container['name']})",
            {entry["name"]: entry["value"] for entry in container.get("environment", [])},
        )
        for it, container in containers_of(plan)
    ]
    return [
        f"{address}: {name}"
        for address, variables in values
        for name, value in variables.items()
        if SECRET.search(name) and not REFERENCE.search(name) and not REFERENCE.search(str(value))
    ]


def no_state_has_a_password(plan: Plan) -> list[str]:
    """Secrets are made without a password in them, and no variable has one by default."""
    found = [
        it.address
        for it in all_of(plan, "aws_secretsmanager_secret_version", "aws_ssm_parameter")
        if "password" in str(it.values.get("secret_string") or it.values.get("value"))
    ]
    return found + [
        f"var.{name} has a default"
        for name, of in variables_of(plan)
        if re.search("password", name) and "default" in of
    ]


INVARIANTS = (
    buckets_are_closed,
    training_data_and_archives_stay,
    bucket_names_are_ours_alone,
    stream_and_topics_are_encrypted,
    database_is_private,
    job_arguments_are_places_and_names,
    environments_have_no_secrets,
    no_state_has_a_password,
)


def _blocks_all(it: Resource) -> bool:
    return all(
        it[f"{what}"]
        for what in ("block_public_acls", "block_public_policy", "ignore_public_acls", "restrict_public_buckets")
    )


def _has_our_key(it: Resource) -> bool:
    (default,) = it.first("rule")["apply_server_side_encryption_by_default"]
    return default["sse_algorithm"] == "aws:kms" and is_key(default["kms_master_key_id"])


def _wants_tls(it: Resource) -> bool:
    return any(
        statement["Effect"] == "Deny"
        and statement["Principal"] == "*"
        and statement["Action"] == "s3:*"
        and statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
        for statement in json.loads(it["policy"])["Statement"]
    )


def _prefix(rule: dict[str, Any]) -> str:
    return (rule["filter"] or [{}])[0].get("prefix") or rule.get("prefix") or ""

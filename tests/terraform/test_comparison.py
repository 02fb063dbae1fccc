"""The comparison of roles and needs finds what is missing, what is too much, and what has no name."""

import json
from typing import Any

import pytest

from scripts.permissions import Needs
from tests.terraform.policies import Beyond, Statement, missing, statements_of, unused, wildcards

STREAM = "arn:aws:kinesis:eu-west-1:123456789012:stream/events"
MODELS = "arn:aws:s3:::fraud-detection-models-eu-west-1-123456789012"
NEEDS: Needs = {
    "api": {
        "kinesis:PutRecords": ["arn:aws:kinesis:::stream/events"],
        "s3:GetObject": ["arn:aws:s3:::fraud-detection-models/serving/manifest.json"],
    }
}
ENOUGH: list[dict[str, Any]] = [
    {"Effect": "Allow", "Action": "kinesis:PutRecords", "Resource": STREAM},
    {"Effect": "Allow", "Action": ["s3:GetObject"], "Resource": [f"{MODELS}/serving/manifest.json"]},
]


def statements(*bodies: dict[str, Any]) -> list[Statement]:
    """Return the statements of the API's role in a plan."""
    values = {"role": "fraud-detection-api", "policy": json.dumps({"Statement": bodies})}
    policy = {"address": "module.api.aws_iam_role_policy.this", "type": "aws_iam_role_policy", "values": values}
    return statements_of({"planned_values": {"root_module": {"child_modules": [{"resources": [policy]}]}}})


def test_a_role_that_allows_what_is_needed_and_nothing_more_passes() -> None:
    assert missing(NEEDS, statements(*ENOUGH)) == []
    assert unused(NEEDS, statements(*ENOUGH), beyond=()) == []


def test_a_permission_that_was_removed_is_missing() -> None:
    assert missing(NEEDS, statements(ENOUGH[0])) == [
        "api: s3:GetObject on arn:aws:s3:::fraud-detection-models/serving/manifest.json"
    ]


def test_a_permission_on_another_resource_is_missing_and_too_much() -> None:
    other = {**ENOUGH[0], "Resource": STREAM.replace("events", "other")}
    assert missing(NEEDS, statements(other, ENOUGH[1])) == [
        "api: kinesis:PutRecords on arn:aws:kinesis:::stream/events"
    ]
    assert len(unused(NEEDS, statements(*ENOUGH, other), beyond=())) == 1


def test_what_is_denied_is_not_allowed() -> None:
    assert missing(NEEDS, statements({**ENOUGH[0], "Effect": "Deny"}, ENOUGH[1])) != []


@pytest.mark.parametrize(
    "extra",
    [
        {"Effect": "Allow", "Action": "kinesis:DeleteStream", "Resource": STREAM},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{MODELS}/*"},
        {"Effect": "Allow", "Action": "s3:GetObject", "Resource": f"{MODELS}/graph/*"},
    ],
    ids=["another action", "a wider resource", "another resource"],
)
def test_a_permission_that_nobody_needs_is_too_much(extra: dict[str, Any]) -> None:
    assert len(unused(NEEDS, statements(*ENOUGH, extra), beyond=())) == 1


def test_a_reason_lets_a_permission_be_and_is_not_kept_in_vain() -> None:
    key = {"Effect": "Allow", "Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:123456789012:key/1"}
    reasons = [Beyond("api", ("kms:Decrypt",), ("arn:aws:kms:::key/*",), "what it reads is encrypted")]
    assert unused(NEEDS, statements(*ENOUGH, key), beyond=reasons) == []
    assert unused(NEEDS, statements(*ENOUGH), beyond=reasons) == [
        "api: kms:Decrypt on arn:aws:kms:::key/* is explained, and not allowed"
    ]


@pytest.mark.parametrize(
    "allowed",
    [
        {"Action": "kms:Encrypt", "Resource": "arn:aws:kms:eu-west-1:123456789012:key/1"},
        {"Action": "kms:Decrypt", "Resource": "*"},
        {"Action": "kms:Decrypt", "Resource": "arn:aws:kms:eu-west-1:123456789012:alias/1"},
    ],
    ids=["another action", "everything", "another resource"],
)
def test_a_reason_explains_what_it_says_and_no_more(allowed: dict[str, Any]) -> None:
    reasons = [Beyond("api", ("kms:Decrypt",), ("arn:aws:kms:::key/*",), "what it reads is encrypted")]
    assert len(unused(NEEDS, statements(*ENOUGH, {"Effect": "Allow", **allowed}), beyond=reasons)) == 2


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"Action": "s3:*", "Resource": f"{MODELS}/serving/*"}, ["Action s3:*"]),
        ({"Action": "s3:GetObject", "Resource": "*"}, ["Resource *"]),
        ({"Action": "s3:GetObject", "Resource": f"{MODELS}/*"}, [f"Resource {MODELS}/*"]),
        ({"Action": "s3:GetObject", "Resource": "arn:aws:s3:::*"}, ["Resource arn:aws:s3:::*"]),
        (
            {"Action": "sns:Publish", "Resource": "arn:aws:sns:*:*:fraud-alerts"},
            ["Resource arn:aws:sns:*:*:fraud-alerts"],
        ),
        ({"Action": "x:Y", "Resource": "arn:aws:lambda:r:1:function:*"}, ["Resource arn:aws:lambda:r:1:function:*"]),
        ({"Action": "sqs:Send", "Resource": "q", "Principal": {"AWS": "*"}}, ["Principal *"]),
        ({"NotAction": "iam:*", "Resource": STREAM}, ["NotAction"]),
        ({"Action": "x:Y", "Resource": "arn:aws:sagemaker:r:1:endpoint/fraud-detection-xgb-*"}, []),
        ({"Action": "x:Y", "Resource": "arn:aws:logs:r:1:log-group:/aws/lambda/f:*"}, []),
        ({"Action": "s3:GetObject", "Resource": f"{MODELS}/graph/*"}, []),
    ],
    ids=lambda value: str(value) if isinstance(value, list) else "",
)
def test_a_wildcard_is_one_without_the_beginning_of_a_name(body: dict[str, Any], found: list[str]) -> None:
    assert wildcards(Statement("p", "", {"Effect": "Allow", **body})) == found


def test_a_wildcard_may_be_denied() -> None:
    assert wildcards(Statement("p", "", {"Effect": "Deny", "Action": "s3:*", "Resource": "*", "Principal": "*"})) == []

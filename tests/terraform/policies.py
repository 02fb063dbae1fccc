"""What the roles of a plan allow, next to what their components need."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from scripts.permissions import Needs, anywhere
from tests.terraform.plans import Plan, all_of

ROLES = {
    "api": "fraud-detection-api",
    "dagster": "fraud-detection-dagster",
    "dashboard": "fraud-detection-dashboard",
    "glue": "fraud-detection-glue",
    "notebook": "fraud-detection-notebook",
    "prepare": "fraud-detection-migrate",
    "sagemaker": "fraud-detection-sagemaker",
}
"""Names of the roles, by component of the local world."""


@dataclass(frozen=True)
class Beyond:
    """Why a role allows what its component was not seen to need.

    Attributes:
        component: Whose role it is.
        actions: That are allowed.
        resources: On which, without account and region (``anywhere``); ``*`` for a statement on everything.
        reason: Why.
    """

    component: str
    actions: tuple[str, ...]
    resources: tuple[str, ...]
    reason: str


@dataclass(frozen=True)
class Statement:
    """One statement of one policy.

    Attributes:
        policy: Address of the resource that holds it.
        role: Name of the role whose policy it is; empty for a policy of a key, a bucket, a topic.
        body: As IAM has it.
    """

    policy: str
    role: str
    body: Mapping[str, Any]

    @property
    def sid(self) -> str:
        """Its name within the policy."""
        return str(self.body.get("Sid", ""))

    @property
    def is_allowed(self) -> bool:
        """Whether it allows; else it denies."""
        return str(self.body["Effect"]) == "Allow"

    def listed(self, member: str) -> list[str]:
        """Return the texts of a member, of which there may be one without a list."""
        value = self.body.get(member, [])
        return [value] if isinstance(value, str) else list(value)


def statements_of(plan: Plan) -> list[Statement]:
    """Return the statements of every policy of a plan: of roles, keys, buckets, topics, and of who may assume a role."""
    found = []
    for resource in all_of(plan):
        for member, value in resource.values.items():
            if isinstance(value, str) and value.startswith("{") and '"Statement"' in value:
                role = resource["role"] if resource.kind == "aws_iam_role_policy" else ""
                bodies = json.loads(value)["Statement"]
                found += [
                    Statement(f"{resource.address}.{member}", role, body)
                    for body in (bodies if isinstance(bodies, list) else [bodies])
                ]
    return found


def wildcards(statement: Statement) -> list[str]:
    """Return what a statement allows that has no name: whole services, whole types of resources, everybody."""
    if not statement.is_allowed:
        return []
    found = [f"Action {action}" for action in statement.listed("Action") if "*" in action]
    found += [f"Resource {resource}" for resource in statement.listed("Resource") if not _is_named(resource)]
    found += [member for member in ("NotAction", "NotResource", "NotPrincipal") if member in statement.body]
    principal = statement.body.get("Principal")
    if principal == "*" or (isinstance(principal, dict) and "*" in str(principal.get("AWS", ""))):
        found.append("Principal *")
    return found


def _is_named(resource: str) -> bool:
    """Whether what comes before a wildcard in an ARN has at least the beginning of a name."""
    if "*" not in resource:
        return True
    parts = resource.split(":", 5)
    if len(parts) < 6 or "*" in "".join(parts[:5]):  # arn:partition:service:region:account:resource
        return False
    before, _, _ = parts[5].partition("*")
    if before.endswith(("/", ":")):
        return before.count("/") + before.count(":") > 1  # else it is all of a bucket, or all of a kind
    return bool(before)


def missing(needs: Needs, statements: list[Statement]) -> list[str]:
    """Return what components need and their roles do not allow."""
    return [
        f"{component}: {action} on {resource}"
        for component, actions in needs.items()
        for action, resources in actions.items()
        for resource in resources
        if not _allows(_of(component, statements), action, resource)
    ]


def unused(needs: Needs, statements: list[Statement], *, beyond: Sequence[Beyond]) -> list[str]:
    """Return what roles allow and their components do not need, and what ``beyond`` explains in vain.

    Args:
        needs: Of the components.
        statements: Of the plan.
        beyond: What roles allow besides, and why.
    """
    explained = set[tuple[str, str, str]]()
    found = []
    for component in ROLES:
        reasons = [reason for reason in beyond if reason.component == component]
        for statement in _of(component, statements):
            for action in statement.listed("Action"):
                known = needs.get(component, {}).get(action, [])
                for resource in map(anywhere, statement.listed("Resource")):
                    if any(_covers(wanted, resource) for wanted in known):
                        continue
                    why = {
                        (component, action, allowed)
                        for reason in reasons
                        if action in reason.actions
                        for allowed in reason.resources
                        if allowed == resource or (allowed != "*" and fnmatchcase(resource, allowed))
                    }
                    explained |= why
                    if not why:
                        found.append(f"{component}: {action} on {resource} ({statement.policy}, {statement.sid})")
    all_reasons = {(it.component, action, on) for it in beyond for action in it.actions for on in it.resources}
    in_vain = sorted(all_reasons - explained)
    return found + [f"{component}: {action} on {on} is explained, and not allowed" for component, action, on in in_vain]


def _of(component: str, statements: list[Statement]) -> list[Statement]:
    return [statement for statement in statements if statement.role == ROLES[component] and statement.is_allowed]


def _allows(statements: list[Statement], action: str, resource: str) -> bool:
    return any(
        action in statement.listed("Action")
        and any(resource == "*" or _covers(anywhere(allowed), resource) for allowed in statement.listed("Resource"))
        for statement in statements
    )


def _covers(pattern: str, resource: str) -> bool:
    return pattern == "*" or fnmatchcase(resource, pattern)

"""Which endpoints nobody needs any more: they cost money by the hour.

Belongs here: the decision, on values alone. Does not: deleting (``jobs/clean_up.py``).
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

KEPT_MANIFESTS = 2
"""Manifests whose endpoints stay: the one that serves and the one before it, so that a rollback is a matter of one write."""
MANIFEST_MAX_AGE = timedelta(seconds=30)
"""How old a copy of the manifest the API may go by."""
SUPERSEDED_AFTER = timedelta(hours=1)
"""A candidate this old with a newer one beside it is no longer on its way to anything."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """An endpoint and what the registry says of its model.

    Attributes:
        name: Of the endpoint.
        algorithm: Of its model; versions count within an algorithm.
        version: Of its model.
        approval: ``Approved``, ``Rejected`` or ``PendingManualApproval``.
        created_at: When the endpoint was made.
    """

    name: str
    algorithm: str
    version: int
    approval: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Retirement:
    """An endpoint that may go, and why; ``superseded``: the registry should say so of its model as well."""

    name: str
    reason: str
    superseded: bool = False


def due(
    deployed: Sequence[Deployed],
    *,
    serving: Collection[str],
    kept: Collection[str],
    served: Collection[str],
    switched_at: datetime | None,
    now: datetime,
) -> list[Retirement]:
    """Return the endpoints that may be deleted now.

    Args:
        deployed: Every endpoint of this deployment.
        serving: Names in the manifest that serves.
        kept: Names in the last ``KEPT_MANIFESTS`` manifests.
        served: Names in any manifest that has served.
        switched_at: When the manifest was last switched; None where nothing serves.
        now: The time.
    """
    newest: dict[str, int] = {}
    for endpoint in deployed:
        newest[endpoint.algorithm] = max(newest.get(endpoint.algorithm, 0), endpoint.version)
    asked_by_nobody = switched_at is None or now - switched_at > 2 * MANIFEST_MAX_AGE
    found = []
    for endpoint in deployed:
        if endpoint.name in {*serving, *kept}:
            continue
        if endpoint.name in served:
            if asked_by_nobody:
                found.append(Retirement(endpoint.name, f"no manifest of the last {KEPT_MANIFESTS} names it"))
        elif endpoint.approval == "Rejected":
            found.append(Retirement(endpoint.name, "its model is rejected"))
        elif endpoint.version < newest[endpoint.algorithm] and now - endpoint.created_at > SUPERSEDED_AFTER:
            reason = f"version {newest[endpoint.algorithm]} came before it served"
            found.append(Retirement(endpoint.name, reason, superseded=True))
    return found

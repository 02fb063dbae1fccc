"""What the control plane knows: one JSON file for each resource, read back at the next start.

Belongs here: keeping, naming and listing records. Does not: what a record means (the modules beside this one).
"""

import json
from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from localaws.wire import ACCOUNT_ID, AwsError

Record = dict[str, Any]

DATETIME_KEY = "$datetime"
DEFAULT_PAGE = 10


class Kind(StrEnum):
    """Kinds of resources, as they read in an ARN."""

    TRAINING_JOB = "training-job"
    MODEL = "model"
    ENDPOINT_CONFIG = "endpoint-config"
    ENDPOINT = "endpoint"
    MODEL_PACKAGE_GROUP = "model-package-group"
    MODEL_PACKAGE = "model-package"


class Records:
    """All records of one account and region, in memory and in files."""

    def __init__(self, folder: Path, *, region: str) -> None:
        self.region = region
        self._folder = folder
        self._records: dict[Kind, dict[str, Record]] = {kind: {} for kind in Kind}
        for kind in Kind:
            for path in sorted((folder / kind).glob("*.json")):
                content = json.loads(path.read_bytes(), object_hook=_restore)
                self._records[kind][content["name"]] = content["record"]

    def arn(self, kind: Kind, name: str) -> str:
        """Return the ARN of a resource."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT_ID}:{kind}/{name}"

    def find(self, kind: Kind, name: str) -> Record | None:
        """Return a resource's record, or None where there is none."""
        return self._records[kind].get(name)

    def all(self, kind: Kind) -> list[Record]:
        """Return all records of a kind."""
        return list(self._records[kind].values())

    def put(self, kind: Kind, name: str, record: Record) -> None:
        """Keep a record, replacing the one before it."""
        self._records[kind][name] = record
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(".draft")
        draft.write_text(json.dumps({"name": name, "record": record}, default=_plain))
        draft.replace(path)

    def update(self, kind: Kind, name: str, **changes: Any) -> None:
        """Change members of a record that is there."""
        self.put(kind, name, {**self._records[kind][name], **changes})

    def remove(self, kind: Kind, name: str) -> None:
        """Forget a record that is there."""
        del self._records[kind][name]
        self._path(kind, name).unlink()

    def _path(self, kind: Kind, name: str) -> Path:
        return self._folder / kind / f"{quote(name, safe='')}.json"


def page(
    records: Iterable[Record], params: Record, *, name: str, status: str, order: str = "Descending"
) -> tuple[list[Record], str | None]:
    """Answer a List action: filter, sort and cut.

    Args:
        records: All records of the kind.
        params: The request, with any of ``NameContains``, ``StatusEquals``, ``CreationTimeAfter``, ``CreationTimeBefore``,
            ``SortBy``, ``SortOrder``, ``MaxResults``, ``NextToken``.
        name: Member that holds a record's name.
        status: Member that holds its status.
        order: Order where the request names none.

    Returns:
        The records of this page, and the token of the next one or None.

    Raises:
        AwsError: ``ValidationException`` for a token that is not of this service.
    """
    after, before = params.get("CreationTimeAfter"), params.get("CreationTimeBefore")
    found = [
        record
        for record in records
        if params.get("NameContains", "").lower() in record[name].lower()
        and params.get("StatusEquals") in {None, record[status]}
        and (after is None or record["CreationTime"] > after)
        and (before is None or record["CreationTime"] < before)
    ]
    key = {"Name": name, "Status": status}.get(params.get("SortBy", ""), "CreationTime")
    found.sort(
        key=lambda record: (record[key], record["CreationTime"]), reverse=params.get("SortOrder", order) == "Descending"
    )
    token = params.get("NextToken", "0")
    if not token.isdecimal():
        raise AwsError("ValidationException", f"NextToken {token!r} is not valid")
    end = int(token) + params.get("MaxResults", DEFAULT_PAGE)
    return found[int(token) : end], str(end) if end < len(found) else None


def pick(record: Record, *members: str) -> Record:
    """Return the named members of a record that are there."""
    return {member: record[member] for member in members if member in record}


def _plain(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {DATETIME_KEY: value.isoformat()}
    raise TypeError(f"a record holds a {type(value).__name__}, which JSON cannot")


def _restore(value: Record) -> Any:
    return datetime.fromisoformat(value[DATETIME_KEY]) if DATETIME_KEY in value else value

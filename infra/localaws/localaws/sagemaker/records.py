"""What the control plane knows: one JSON file for each resource, read back at the next start.

Belongs here: keeping, naming and listing records. Does not: what a record means (the modules beside this one).
A file is written beside its place and then moved there, so it is whole or not there; one that is neither is set aside.
"""

import json
import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any
from urllib.parse import quote

from localaws.wire import ACCOUNT_ID, AwsError

Record = dict[str, Any]

DATETIME_KEY = "$datetime"
DEFAULT_PAGE = 10
DRAFT_SUFFIX = ".draft"
BROKEN_SUFFIX = ".broken"

_log = logging.getLogger(__name__)


class Kind(StrEnum):
    """Kinds of resources, as they read in an ARN; and the tags of all, by ARN."""

    TRAINING_JOB = "training-job"
    MODEL = "model"
    ENDPOINT_CONFIG = "endpoint-config"
    ENDPOINT = "endpoint"
    MODEL_PACKAGE_GROUP = "model-package-group"
    MODEL_PACKAGE = "model-package"
    TAGS = "tags"


_NEEDED = {
    Kind.TRAINING_JOB: {"TrainingJobName", "TrainingJobStatus", "CreationTime", "SecondaryStatusTransitions"},
    Kind.MODEL: {"ModelName", "CreationTime", "PrimaryContainer"},
    Kind.ENDPOINT_CONFIG: {"EndpointConfigName", "CreationTime", "ProductionVariants"},
    Kind.ENDPOINT: {"EndpointName", "EndpointStatus", "CreationTime", "ProductionVariants"},
    Kind.MODEL_PACKAGE_GROUP: {"Described", "LastVersion", "Tokens"},
    Kind.MODEL_PACKAGE: {"ModelPackageName", "ModelPackageGroupName", "ModelApprovalStatus", "CreationTime"},
    Kind.TAGS: set(),
}
"""Members that this service itself reads: a record without them is not whole."""


class Records:
    """All records of one account and region, in memory and in files.

    Args:
        folder: Where the files are. One that cannot be read is renamed to ``*.broken`` and named in the log.
        region: AWS region, for ARNs.
    """

    def __init__(self, folder: Path, *, region: str) -> None:
        self.region = region
        self._folder = folder
        self._records: dict[Kind, dict[str, Record]] = {kind: {} for kind in Kind}
        for kind in Kind:
            for draft in (folder / kind).glob(f"*{DRAFT_SUFFIX}"):
                draft.unlink()
            for path in sorted((folder / kind).glob("*.json")):
                try:
                    content = json.loads(path.read_bytes(), object_hook=_restore)
                    name, record = str(content["name"]), dict(content["record"])
                    _check(record, kind)
                except (ValueError, KeyError, TypeError) as error:
                    _log.error("%s is not a whole record (%s); it is set aside as %s", path, error, BROKEN_SUFFIX)
                    path.replace(path.with_suffix(BROKEN_SUFFIX))
                else:
                    self._records[kind][name] = record

    def arn(self, kind: Kind, name: str) -> str:
        """Return the ARN of a resource."""
        return f"arn:aws:sagemaker:{self.region}:{ACCOUNT_ID}:{kind}/{name}"

    def find(self, kind: Kind, name: str) -> Record | None:
        """Return a resource's record, or None where there is none."""
        return self._records[kind].get(name)

    def exists(self, arn: str) -> bool:
        """Say whether a resource exists."""
        kind, _, name = arn.removeprefix(self.arn(Kind.MODEL, "").removesuffix("model/")).partition("/")
        if kind not in set(Kind) - {Kind.TAGS}:
            return False
        return (arn if kind == Kind.MODEL_PACKAGE else name) in self._records[Kind(kind)]

    def all(self, kind: Kind) -> list[Record]:
        """Return all records of a kind."""
        return list(self._records[kind].values())

    def put(self, kind: Kind, name: str, record: Record) -> None:
        """Keep a record, replacing the one before it.

        Raises:
            AwsError: ``InternalFailure`` where the file cannot be written; the record is as it was before.
        """
        try:
            self._write(kind, name, record)
        except OSError as error:
            raise AwsError(
                "InternalFailure", f"the record of {kind} {name} cannot be written: {error}", status=500
            ) from error
        self._records[kind][name] = record

    def update(self, kind: Kind, name: str, **changes: Any) -> None:
        """Change members of a record that is there.

        Raises:
            AwsError: As `put`.
        """
        self.put(kind, name, {**self._records[kind][name], **changes})

    def note(self, kind: Kind, name: str, **changes: Any) -> None:
        """Change members of a record that is there, for the service itself rather than for a caller.

        Where the file cannot be written, the change is known until the service ends, and the log says so.
        """
        record = self._records[kind][name] = {**self._records[kind][name], **changes}
        try:
            self._write(kind, name, record)
        except OSError as error:
            _log.error("the record of %s %s cannot be written: %s", kind, name, error)

    def remove(self, kind: Kind, name: str) -> None:
        """Forget a record that is there."""
        self._path(kind, name).unlink(missing_ok=True)
        del self._records[kind][name]

    def _write(self, kind: Kind, name: str, record: Record) -> None:
        path = self._path(kind, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_suffix(DRAFT_SUFFIX)
        try:
            draft.write_text(json.dumps({"name": name, "record": record}, default=_plain))
            draft.replace(path)
        except OSError:
            draft.unlink(missing_ok=True)
            raise

    def _path(self, kind: Kind, name: str) -> Path:
        return self._folder / kind / f"{quote(name, safe='')}.json"


def utc_now() -> datetime:
    """Return the time, to the millisecond as a client sees it: so it can ask for what is after what it saw."""
    moment = datetime.now(UTC)
    return moment.replace(microsecond=moment.microsecond // 1000 * 1000)


def _check(record: Record, kind: Kind) -> None:
    missing = _NEEDED[kind] - record.keys()
    if missing:
        raise ValueError(f"{', '.join(sorted(missing))} missing")


def page(
    records: Iterable[Record], params: Record, *, name: str, status: str | None = None, order: str = "Descending"
) -> tuple[list[Record], str | None]:
    """Answer a List action: filter, sort and cut.

    Args:
        records: All records of the kind.
        params: The request, with any of ``NameContains``, ``StatusEquals``, ``CreationTimeAfter``, ``CreationTimeBefore``,
            ``LastModifiedTimeAfter``, ``LastModifiedTimeBefore``, ``SortBy``, ``SortOrder``, ``MaxResults``, ``NextToken``.
        name: Member that holds a record's name.
        status: Member that holds its status, where it has one.
        order: Order where the request names none.

    Returns:
        The records of this page, and the token of the next one or None.

    Raises:
        AwsError: ``ValidationException`` for a token that is not of this service.
    """
    found = [record for record in records if _matches(record, params, name=name, status=status)]
    key = {"Name": name, "Status": status}.get(params.get("SortBy", "")) or "CreationTime"
    found.sort(key=lambda record: (record[key], record["CreationTime"]))
    if params.get("SortOrder", order) == "Descending":
        found.reverse()
    token = params.get("NextToken", "0")
    if not (token.isascii() and token.isdecimal()):
        raise AwsError("ValidationException", f"NextToken {token!r} is not valid")
    end = int(token) + params.get("MaxResults", DEFAULT_PAGE)
    return found[int(token) : end], str(end) if end < len(found) else None


def _matches(record: Record, params: Record, *, name: str, status: str | None) -> bool:
    if params.get("NameContains", "").lower() not in record[name].lower():
        return False
    if status is not None and params.get("StatusEquals", record[status]) != record[status]:
        return False
    return all(
        (f"{moment}After" not in params or record[moment] > params[f"{moment}After"])
        and (f"{moment}Before" not in params or record[moment] < params[f"{moment}Before"])
        for moment in ("CreationTime", "LastModifiedTime")
    )


def pick(record: Record, *members: str) -> Record:
    """Return the named members of a record that are there."""
    return {member: record[member] for member in members if member in record}


def _plain(value: object) -> dict[str, str]:
    if isinstance(value, datetime):
        return {DATETIME_KEY: value.isoformat()}
    raise TypeError(f"a record holds a {type(value).__name__}, which JSON cannot")


def _restore(value: Record) -> Any:
    return datetime.fromisoformat(value[DATETIME_KEY]) if DATETIME_KEY in value else value

"""Tags of every resource, by its ARN.

Belongs here: AddTags, ListTags, DeleteTags, and the tags that a resource is created with. Does not: the resources.
"""

from collections.abc import Mapping, Sequence

from localaws.sagemaker.records import Kind, Record, Records
from localaws.wire import Action, AwsError

MAX_TAGS = 50
PAGE = 50
RESERVED = "aws:"


class Tags:
    """The tags of all resources."""

    def __init__(self, records: Records) -> None:
        self._records = records

    def actions(self) -> dict[str, Action]:
        """Return the handlers by the name of their action."""
        return {"AddTags": self.add, "ListTags": self.list, "DeleteTags": self.delete}

    def create(self, arn: str, given: Sequence[Mapping[str, str]]) -> None:
        """Keep the tags that a new resource comes with; those of an earlier resource of its name are forgotten.

        Call it before the resource is made, so that wrong tags refuse it.

        Raises:
            AwsError: ``ValidationException`` for too many tags, a key that is there twice, or one that AWS reserves.
        """
        tags = _merged({}, given)
        if tags or self._records.find(Kind.TAGS, arn) is not None:
            self._records.put(Kind.TAGS, arn, tags)

    def forget(self, arn: str) -> None:
        """Forget the tags of a resource that was deleted."""
        if self._records.find(Kind.TAGS, arn) is not None:
            self._records.remove(Kind.TAGS, arn)

    def add(self, params: Record) -> Record:
        """Add tags, or give those that are there another value."""
        tags = _merged(self._of(params["ResourceArn"]), params["Tags"])
        self._records.put(Kind.TAGS, params["ResourceArn"], tags)
        return {"Tags": _listed(tags)}

    def list(self, params: Record) -> Record:
        """List a resource's tags, in the order of their keys."""
        tags = _listed(self._of(params["ResourceArn"]))
        token = params.get("NextToken", "0")
        if not (token.isascii() and token.isdecimal()):
            raise AwsError("ValidationException", f"NextToken {token!r} is not valid")
        end = int(token) + params.get("MaxResults", PAGE)
        return {"Tags": tags[int(token) : end], "NextToken": str(end) if end < len(tags) else None}

    def delete(self, params: Record) -> Record:
        """Remove tags; a key that is not there is no error."""
        tags = self._of(params["ResourceArn"])
        left = {key: value for key, value in tags.items() if key not in params["TagKeys"]}
        if left != tags:
            self._records.put(Kind.TAGS, params["ResourceArn"], left)
        return {}

    def _of(self, arn: str) -> Record:
        if not self._records.exists(arn):
            raise AwsError("ValidationException", f"Could not find resource {arn}.")
        return self._records.find(Kind.TAGS, arn) or {}


def _merged(tags: Mapping[str, str], given: Sequence[Mapping[str, str]]) -> dict[str, str]:
    keys = [tag["Key"] for tag in given]
    if len(set(keys)) != len(keys):
        raise AwsError("ValidationException", f"Tags: a key may be there once only, the keys are {keys}")
    reserved = [key for key in keys if key.lower().startswith(RESERVED)]
    if reserved:
        raise AwsError("ValidationException", f"Tags: keys may not begin with {RESERVED}, as {reserved} do")
    merged = {**tags, **{tag["Key"]: tag["Value"] for tag in given}}
    if len(merged) > MAX_TAGS:
        raise AwsError("ValidationException", f"Tags: a resource has at most {MAX_TAGS} tags, not {len(merged)}")
    return merged


def _listed(tags: Mapping[str, str]) -> list[Record]:
    return [{"Key": key, "Value": tags[key]} for key in sorted(tags)]

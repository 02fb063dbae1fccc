"""``make permissions``: what each component needed of AWS, to ``infra/terraform/permissions.json``.

Belongs here: reading a trail of the embedded AWS (``LOCALAWS_TRAIL``), and leaving out of it what differs between runs and accounts.
Does not: the roles themselves (``infra/terraform``), and comparing them (``tests/terraform``).
"""

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
PERMISSIONS = PROJECT_DIR / "infra" / "terraform" / "permissions.json"
COMPONENTS = {
    "api": "api",
    "dagster": "dagster",
    "dashboard": "dashboard",
    "glue": "glue",
    "notebook": "notebook",
    "sagemaker": "sagemaker",
    "prepare": "prepare",
    "localaws": "operator",
}
"""Components by the name of the caller in the local world. ``prepare`` is ``fraudit prepare``; a notebook has the access
key ``notebook`` (docs/notebooks.md); the operator is a person with the command, who has no role here."""

Needs = dict[str, dict[str, list[str]]]
"""Resources by action by component."""

_PLACE = re.compile(r"^(arn:aws:[a-z0-9-]+):[a-z0-9-]*:\d*:")
_BUCKET = re.compile(r"(fraud-detection-(?:data-bucket|stream-bucket|models))(?:-[a-z0-9-]+)?")
_SECRET = re.compile(r"(:secret:.+)-.{6}$")
_OBJECT = re.compile(r"(arn:aws:s3:::[^/]+)/([^/]+)/.*")
_NAMED_OBJECTS = re.compile(r"arn:aws:s3:::[^/]+/(serving/manifest\.json|stream/wish\.json|glue/[^/]+)$")
_MANIFESTS = re.compile(r"(arn:aws:s3:::[^/]+/serving/manifests)/.*")
_MODEL = re.compile(r"(:(?:endpoint|endpoint-config|model|training-job)/[a-z-]+-(?:xgb|rcf))-.*")
_PACKAGE = re.compile(r"(:model-package/[^/]+)/.*")
_EITHER = ("xgb", "rcf")
"""In the names of what belongs to one of the models. What is done to one is done to the other, by the same code."""


def anywhere(resource: str) -> str:
    """Return an ARN without account, region, the suffix of a bucket's name and the six characters that AWS gives a secret."""
    return _SECRET.sub(r"\1-??????", _BUCKET.sub(r"\1", _PLACE.sub(r"\1:::", resource)))


def whatever_the_run(resource: str) -> str:
    """Return an ARN as ``anywhere`` does, with ``*`` for what a run decides: versions, names of files, hashes of data."""
    name = _PACKAGE.sub(r"\1/*", _MODEL.sub(r"\1-*", anywhere(resource)))
    if _NAMED_OBJECTS.match(name):
        return name
    return _MANIFESTS.sub(r"\1/*", name) if _MANIFESTS.match(name) else _OBJECT.sub(r"\1/\2/*", name)


def read_trail(paths: Iterable[Path]) -> Needs:
    """Return what components needed, by the files of a trail."""
    needs: dict[str, dict[str, set[str]]] = {}
    for path in paths:
        for line in path.read_text().splitlines():
            call = json.loads(line)
            if component := COMPONENTS.get(call["caller"]):
                resource = whatever_the_run(call["resource"])
                names = {re.sub(r"-(xgb|rcf)\b", f"-{model}", resource) for model in _EITHER}
                needs.setdefault(component, {}).setdefault(call["action"], set()).update(names)
    return {
        component: {action: sorted(resources) for action, resources in sorted(actions.items())}
        for component, actions in sorted(needs.items())
    }


def main() -> None:
    """Write the file from the trail in a folder."""
    if len(sys.argv) != 2:  # noqa: PLR2004 - the command and its one argument
        sys.exit("usage: python -m scripts.permissions DIR, which LOCALAWS_TRAIL named while the world ran")
    folder = Path(sys.argv[1])
    needs = read_trail(sorted(folder.glob("*.jsonl")))
    if not needs:
        sys.exit(f"{folder} holds no trail of {', '.join(COMPONENTS)}: start with `LOCALAWS_TRAIL={folder} fraudit up`")
    PERMISSIONS.write_text(json.dumps(needs, indent=2) + "\n")
    print(f"{PERMISSIONS}: {sum(map(len, needs.values()))} actions of {len(needs)} components")  # noqa: T201


if __name__ == "__main__":
    main()

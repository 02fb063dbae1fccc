"""``fraudit deploy api``: the package of the API as a version of both functions, checked before callers reach it; and the way back.

Belongs here: the order of things, and what a version must answer. Does not: calls to Lambda (``resources/functions.py``), what is in
the package (``scripts/package.py``), nor the functions' configuration (``infra/terraform/modules/api``).
"""

import base64
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from fraudit_dagster.cli.deploy import environment
from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR
from resources.functions import LIVE, NEWEST, Functions, FunctionsError, Version

VERDICTS = ("ok", "degraded", "down")
"""Of ``/health``, best first."""
HEALTH = {
    "resource": "/health",
    "path": "/health",
    "httpMethod": "GET",
    "headers": {},
    "multiValueHeaders": {},
    "queryStringParameters": None,
    "multiValueQueryStringParameters": None,
    "pathParameters": None,
    "stageVariables": None,
    "requestContext": {"resourcePath": "/health", "httpMethod": "GET", "requestId": "fraudit-deploy", "identity": {}},
    "body": None,
    "isBase64Encoded": False,
}
"""A request as API Gateway hands it over."""
STRANGER = {
    "type": "TOKEN",
    "authorizationToken": "fraudit_00000000_" + "0" * 43,
    "methodArn": "arn:aws:execute-api:eu-west-1:000000000000:api/api/GET/models",
}
"""A caller whose key nobody has made."""


def build(project: Path = PROJECT_DIR) -> bytes:
    """Return the package of the API, as ``make package`` makes it.

    Raises:
        CommandError: It cannot be built.
    """
    done = subprocess.run(
        [sys.executable, "-m", "scripts.package"], cwd=project, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise CommandError(f"the API's package could not be built: {done.stderr.strip()[-500:]}")
    return (project / "dist" / "api.zip").read_bytes()


def changes(outputs: Outputs, package: bytes, *, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield what differs between the package with the configuration of Terraform, and what callers reach.

    Both functions are published and asked before the alias of either moves.

    Raises:
        CommandError: A new version does not answer as it must.
        FunctionsError: Lambda refused a request, or could not be reached.
    """
    functions = Functions(region=outputs.region)
    sha256 = base64.b64encode(hashlib.sha256(package).digest()).decode()
    live = {name: functions.version(name, LIVE) for name in _names(outputs)}
    stale = [name for name in live if not _is_current(live[name], functions.version(name, NEWEST), sha256)]
    made: dict[str, str] = {}

    def publish(name: str) -> str:
        version = functions.publish(name, package)
        verdict = _check(functions, outputs, name, version.number, live[name].number)
        made[name] = version.number
        return f"version {version.number} {verdict}"

    def move(name: str) -> str:
        functions.make_live(name, made[name])
        return f"{name} {made[name]} is {LIVE}; back: fraudit deploy api --rollback"

    for name in stale:
        before = f"version {live[name].number}, sha256 {live[name].sha256[:12]}"
        same = live[name].sha256 == sha256
        after = "the same code as Terraform configures it now" if same else f"sha256 {sha256[:12]}"
        yield Change(f"code of {name}", before, after, partial(publish, name))
    for name in stale:
        yield Change(f"alias {LIVE} of {name}", f"version {live[name].number}", "the new version", partial(move, name))
    yield from environment.line_change("CHALICE_API_URL", outputs.settings["CHALICE_API_URL"], project=project)


def rollback(outputs: Outputs) -> Iterator[Change]:
    """Yield the way back of both functions, each to the newest version before what callers reach that answers as it must.

    Raises:
        CommandError: A function has no such version.
        FunctionsError: Lambda refused a request, or could not be reached.
    """
    functions = Functions(region=outputs.region)
    pairs = []
    for name in _names(outputs):
        live = functions.version(name, LIVE).number
        well = (it.number for it in functions.before(name, live) if _is_well(functions, outputs, name, it.number, live))
        if (number := next(well, None)) is None:
            raise CommandError(
                f"{name} has no version before {live}, which is {LIVE}, that answers: there is no way back"
            )
        pairs.append((name, live, number))
    for name, live, number in pairs:
        move = partial(functions.make_live, name, number)
        yield Change(f"alias {LIVE} of {name}", f"version {live}", f"version {number}", move)


def _is_well(functions: Functions, outputs: Outputs, name: str, number: str, live: str) -> bool:
    """Whether a version may go live: one that was published and refused stays among the others."""
    try:
        _check(functions, outputs, name, number, live)
    except (CommandError, FunctionsError):
        return False
    return True


def _names(outputs: Outputs) -> tuple[str, str]:
    """The functions in the order in which they go live: who lets callers in, then who answers them."""
    return outputs.function_names.authorize, outputs.function_names.app


def _is_current(live: Version, newest: Version, sha256: str) -> bool:
    return live.sha256 == sha256 and live.configuration == newest.configuration


def _check(functions: Functions, outputs: Outputs, name: str, number: str, live: str) -> str:
    """Return how a version answers; refuse one that fails, or that is worse than what callers reach."""
    if name == outputs.function_names.authorize:
        answer = functions.ask(name, number, STRANGER)
        if not isinstance(answer, Mapping) or answer.get("principalId") != "nobody":
            raise _unwell(name, number, f"asked about a key that nobody made, it answers {json.dumps(answer)[:300]}")
        return "lets no stranger in"
    verdict, said = _verdict(functions.ask(name, number, HEALTH))
    if verdict is None:
        raise _unwell(name, number, f"asked for /health, it answers {said}")
    if verdict != "ok":
        now, _ = _verdict(functions.ask(name, live, HEALTH))
        if now is not None and VERDICTS.index(verdict) > VERDICTS.index(now):
            raise _unwell(name, number, f"asked for /health, it answers {said}, and version {live} is {now}")
    return f"answers /health: {verdict}"


def _verdict(answer: Any) -> tuple[str | None, str]:
    """Return the verdict of an answer to ``/health``, None where it is none, and what was said."""
    said = json.dumps(answer)[:300]
    try:
        body = json.loads(answer["body"]) if answer["statusCode"] == 200 else {}  # noqa: PLR2004 - HTTP's OK
        verdict = body.get("status")
    except (KeyError, TypeError, ValueError, AttributeError):
        return None, said
    return (verdict if verdict in VERDICTS else None), (json.dumps(body) if body else said)


def _unwell(name: str, number: str, why: str) -> CommandError:
    return CommandError(f"version {number} of {name} is not well, and nothing went live: {why}")

"""``fraudit deploy env``: what the infrastructure is called, to ``.env`` and to ``api/.chalice/config.json``.

Belongs here: these two files, line by line. Does not: secrets, of which neither has any: the names of secrets are among the lines.
"""

import copy
import io
import json
import re
import stat
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from dotenv.parser import Binding, parse_stream

from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.files import replace_file
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR

PRIVATE = 0o600
PLAIN = re.compile(r"[A-Za-z0-9_.:/@%+=,-]*")
"""Values that need no quotes."""


def changes(outputs: Outputs, *, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield each line that differs from the outputs.

    Raises:
        CommandError: ``.env`` has a password beside the secret that is to come, or a file cannot be read or written.
    """
    file = project / ".env"
    wanted = {
        **outputs.settings,
        "POSTGRES_SECRET_ARN": outputs.owner_secret_arn,
        "POSTGRES_SSLMODE": "require",
    }
    if values(file).get("POSTGRES_PASSWORD"):
        raise CommandError(
            "POSTGRES_PASSWORD and POSTGRES_SECRET_ARN exclude each other, and the latter comes from the infrastructure: "
            "remove POSTGRES_PASSWORD from .env"
        )
    if not file.exists():
        text = (project / ".env.example").read_text()
        yield Change(".env", None, ".env.example, mode 0600", partial(replace_file, file, text, mode=PRIVATE))
    elif (mode := stat.S_IMODE(file.stat().st_mode)) != PRIVATE:
        yield Change("mode of .env", f"{mode:04o}", f"{PRIVATE:04o}", partial(file.chmod, PRIVATE))
    for name, value in wanted.items():
        yield from line_change(name, value, project=project)
    yield from _chalice_changes(outputs, project / "api" / ".chalice" / "config.json")


def line_change(name: str, value: str, *, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield the change of one variable of ``.env``, where it is another; without the file, of ``.env.example``."""
    file = project / ".env"
    before = values(file if file.exists() else project / ".env.example").get(name)
    if before != value:
        yield Change(f".env {name}", before, value, partial(_write_line, project, name, value))


def values(file: Path) -> dict[str, str]:
    """Return the variables of a file in the form of ``.env``; none where there is none."""
    bindings = _bindings(file.read_text()) if file.exists() else []
    return {binding.key: binding.value or "" for binding in bindings if binding.key is not None}


def _bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text)))


def _write_line(project: Path, name: str, value: str) -> None:
    file = project / ".env"
    text = (file if file.exists() else project / ".env.example").read_text()
    replace_file(file, with_value(text, name, value), mode=PRIVATE)


def with_value(text: str, name: str, value: str) -> str:
    """Return the text of ``.env`` with one variable set and every other line as it was.

    Where the variable is not set, its line follows the comment that names it (``# NAME=``), or the last line.
    """
    quoted = value if PLAIN.fullmatch(value) else "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    line = f"{name}={quoted}\n"
    parts = [(binding.key, binding.original.string) for binding in _bindings(text)]
    if any(key == name for key, _ in parts):
        return "".join(_as_before(part, line) if key == name else part for key, part in parts)
    ended = text if not text or text.endswith("\n") else f"{text}\n"
    comment = re.search(rf"^# *{re.escape(name)}=.*\n", ended, re.MULTILINE)
    place = comment.end() if comment else len(ended)
    return ended[:place] + line + ended[place:]


def _as_before(part: str, line: str) -> str:
    """Return the line with the empty lines that stood before it."""
    return part[: len(part) - len(part.lstrip())] + line


def _chalice_changes(outputs: Outputs, file: Path) -> Iterator[Change]:
    stages = _read(file)["stages"]
    before = stages.get(outputs.stage, {})
    wanted: list[tuple[tuple[str, ...], str]] = [(("iam_role_arn",), outputs.lambda_exec_role_arn)]
    wanted += [(("environment_variables", name), value) for name, value in sorted(outputs.api_environment.items())]
    for keys, value in wanted:
        old: Any = before
        for key in keys:
            old = old.get(key) if isinstance(old, Mapping) else None
        if old != value:
            what = f"config.json {outputs.stage}.{'.'.join(keys)}"
            yield Change(what, old, value, partial(_write_key, file, outputs.stage, keys, value))


def _read(file: Path) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(file.read_text())
        document["stages"]["dev"]["environment_variables"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CommandError(f"{file} is not the configuration of Chalice that it was: {error!r}") from error
    return document


def _write_key(file: Path, stage: str, keys: tuple[str, ...], value: str) -> None:
    """Set one key of a stage, which is made like ``dev`` where it is not there."""
    document = _read(file)
    place = document["stages"].setdefault(stage, copy.deepcopy(document["stages"]["dev"]))
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = value
    replace_file(file, json.dumps(document, indent=2) + "\n")

"""The pages of ``docs/reference/``, from the code that they describe: ``python -m scripts.reference``, by ``make docs.reference``.

Belongs here: which pages there are, and those of what people type and set. Does not: those of what programs exchange and keep
(``scripts/reference_data.py``). A page that lacks something gets it from the code: a help text, a description, a comment.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterator
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from scripts import reference_data
from scripts.pages import DOCS, PROJECT_DIR
from scripts.reference_data import page, table

FOLDER = DOCS / "reference"
ALARMS = PROJECT_DIR / "infra" / "local" / "resources.yaml"


def command_line() -> str:
    """Return the page of the command ``fraudit``."""
    from typer.main import get_command

    from fraudit_dagster.cli.app import app

    parts = ["Exit code 0: done. 1: not done, and one message says why, on standard error. 2: the words are wrong."]
    for name, command in _commands("fraudit", get_command(app)):
        context = command.make_context(name, [], resilient_parsing=True)
        parts += [f"## {name}", command.help, f"```text\n{command.get_usage(context).removeprefix('Usage: ')}\n```"]
        rows = [
            (
                f"`{'`, `'.join([*given.opts, *given.secondary_opts])}`",
                _value(given.display_type(context)),
                _default(given),
                given.help,
            )
            for given in command.params
            if not getattr(given, "hidden", False)
        ]
        parts += [table(("option", "value", "default", "what it is"), rows)] if rows else []
    return page("The command `fraudit`", "fraudit_dagster/cli/app.py", *parts)


def _commands(name: str, command: Any) -> Iterator[tuple[str, Any]]:
    """Yield each command below a group, with all its words."""
    for word, inner in getattr(command, "commands", {}).items():
        if getattr(inner, "commands", None):
            yield from _commands(f"{name} {word}", inner)
        else:
            yield f"{name} {word}", inner


def _value(shown: str) -> str:
    """Return what an option takes, as the help shows it; a flag takes nothing."""
    return "" if shown == "<bool>" else f"`{shown}`"


def _default(given: Any) -> str:
    if given.required:
        return "required"
    return "" if given.default in (None, False) else f"`{given.default}`"


def settings() -> str:
    """Return the page of the environment variables."""
    from fraudit_dagster.settings import Settings

    rows = [
        (f"`{field.alias or name.upper()}`", _shown(field), _limits(field), field.description)
        for name, field in Settings.model_fields.items()
    ]
    return page(
        "Settings",
        "fraudit_dagster/settings.py",
        "Environment variables. A line of `.env` does as well; a variable of the process wins over it. What is wrong is named, all of "
        "it at once, before anything runs. `AWS_ENDPOINT_URL` and its like are botocore's own: unset on AWS, and set by "
        '`eval "$(fraudit env)"` on this machine.',
        table(("variable", "default", "limits", "what it is"), rows),
        "## Of the prediction API",
        "Variables of the Lambda function, which its deployment sets. What is no variable (limits, waits) is in "
        "[`api/chalicelib/settings.py`](../../api/chalicelib/settings.py).",
        table(("variable", "what it is"), _api_variables()),
    )


def _shown(field: FieldInfo) -> str:
    default = field.get_default(call_default_factory=True)
    if default in (None, "", frozenset()):
        return ""
    if isinstance(default, Path) and default.is_relative_to(PROJECT_DIR):
        default = default.relative_to(PROJECT_DIR)
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _limits(field: FieldInfo) -> str:
    signs = {"gt": ">", "ge": ">=", "lt": "<", "le": "<="}
    found = [
        f"{sign} {limit:g}"
        for rule in field.metadata
        for key, sign in signs.items()
        if (limit := getattr(rule, key, None)) is not None
    ]
    return ", ".join(found)


def _api_variables() -> list[tuple[str, str]]:
    import sys

    sys.path.insert(0, str(PROJECT_DIR / "api"))
    from chalicelib.settings import Settings as ApiSettings

    config = json.loads((PROJECT_DIR / "api" / ".chalice" / "config.json").read_text())
    says = attributes(ApiSettings)
    return [(f"`{name}`", says[name]) for name in config["stages"]["dev"]["environment_variables"] if name in says]


def attributes(described: type) -> dict[str, str]:
    """Return what the docstring of a class says of each attribute."""
    text = inspect.getdoc(described) or ""
    section = re.search(r"^Attributes:\n(?P<lines>(?:    .*\n?)+)", text, re.MULTILINE)
    lines = section["lines"] if section else ""
    found = re.findall(r"^    (\w+): (.+(?:\n {8}.+)*)", lines, re.MULTILINE)
    return {name: re.sub(r"\s+", " ", says).replace("``", "`") for name, says in found}


def contract() -> str:
    """Return the page of the data contract."""
    from fraudit_dagster import contract as module

    parts = [
        (
            "A YAML file that says what a table of transactions is; `FRAUDIT_CONTRACT` names it. How to write one: "
            "[your own table](../how-to.md#train-on-a-table-of-your-own). The shipped one:"
        ),
        f"```yaml\n{module.SHIPPED_CONTRACT.read_text().rstrip()}\n```",
        "`[V1, ..., V28]` is short for all columns between. Every mistake is named at once, with its line.",
    ]
    for title, described in (
        ("The file", module.Contract),
        ("split", module.Split),
        ("weight", module.Weight),
        ("checks: of each column", module.ColumnCheck),
        ("models: of each model", module.ModelSpec),
        ("A feature", module.Feature),
        ("learn_from_archive", module.LearnFromArchive),
    ):
        parts += [f"## {title}", _summary(described), _fields(described)]
    return page("The data contract", "fraudit_dagster/contract.py", *parts)


def _summary(described: type[BaseModel]) -> str:
    return (inspect.getdoc(described) or "").partition("\n\n")[0].replace("``", "`")


def _fields(described: type[BaseModel]) -> str:
    says = attributes(described)
    rows = [
        (f"`{name}`", "required" if field.is_required() else _yaml(field.default), _limits(field), says.get(name, ""))
        for name, field in described.model_fields.items()
    ]
    return table(("key", "default", "limits", "what it is"), rows)


def _yaml(default: Any) -> str:
    return f"`{json.dumps(default.value if isinstance(default, Enum) else default)}`"


def metrics() -> str:
    """Return the page of metrics and alarms."""
    document = json.loads((reference_data.SCHEMAS / "metrics.v1.json").read_text())
    names = ", ".join(f"`{name}`" for name in document["common_dimensions"])
    measured = [
        (
            f"`{metric['name']}`",
            metric["unit"],
            ", ".join(f"`{name}`" for name in metric["dimensions"]),
            metric["description"],
        )
        for metric in document["metrics"]
    ]
    made = [entry["params"] for entry in yaml.safe_load(ALARMS.read_text()) if entry["action"] == "put_metric_alarm"]
    alarms = [
        (
            f"[`{alarm['AlarmName']}`](../runbook.md#{alarm['AlarmName']})",
            f"`{alarm['MetricName']}`",
            f"{alarm['EvaluationPeriods']} min",
            alarm["AlarmDescription"],
        )
        for alarm in made
    ]
    return page(
        "Metrics and alarms",
        "fraudit_dagster/schemas/metrics.v1.json",
        f"CloudWatch namespace `{document['namespace']}`, dimension {names} on all. API and stream write them as log lines in the embedded "
        "metric format, so that measuring takes no call; Dagster's monitors put `Heartbeat`.",
        table(("metric", "unit", "dimensions", "what it is"), measured),
        "## Alarms",
        "To the topic `OPERATIONS_TOPIC_ARN`. What else is told, by the monitors and by failed runs: [monitors](../monitoring.md#alerts).",
        table(("alarm", "metric", "after", "what it says"), alarms),
    )


PAGES: dict[str, Callable[[], str]] = {
    "cli.md": command_line,
    "settings.md": settings,
    "contract.md": contract,
    "api.md": reference_data.api,
    "events.md": reference_data.events,
    "tables.md": reference_data.tables,
    "metrics.md": metrics,
}


def main() -> None:
    """Write all pages."""
    FOLDER.mkdir(exist_ok=True)
    for name, text in PAGES.items():
        (FOLDER / name).write_text(text())


if __name__ == "__main__":
    main()

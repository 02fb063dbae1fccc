"""Column schemas for the UI, read from the files that define them.

Belongs here: turning an event's JSON Schema or a table's DDL into Dagster's form. Does not: a second definition of either.
"""

import re
from pathlib import Path
from typing import Any

import dagster as dg

from fraudit_dagster.contract import Contract
from fraudit_dagster.manifest import schema

MIGRATIONS = Path(__file__).parents[1] / "fraudit_dagster" / "sql" / "migrations"
WORDS_OF_A_CONSTRAINT = ("primary", "check", "unique", "foreign", "constraint")
COLUMN = re.compile(r"^\s+(?P<name>\w+)\s+(?P<type>.+?)(?:\s+(?:not null|primary key|default|check)\b.*)?,?$")


def of_event(name: str) -> dg.TableSchema:
    """Return the fields of an event, by its JSON Schema ``fraudit_dagster/schemas/<name>.json``."""
    document = schema(name)
    required = set(document.get("required", ()))
    return dg.TableSchema(
        [
            dg.TableColumn(
                field,
                _type(rule),
                description=rule.get("description"),
                constraints=dg.TableColumnConstraints(nullable=field not in required),
            )
            for field, rule in document["properties"].items()
        ]
    )


def of_table(name: str) -> dg.TableSchema:
    """Return the columns of a warehouse table, by the newest migration that creates it."""
    for path in sorted(MIGRATIONS.glob("*.sql"), reverse=True):
        found = re.search(
            rf"^create table fraud\.{name} \((?P<body>.*?)^\);", path.read_text(), re.MULTILINE | re.DOTALL
        )
        if found:
            columns = [COLUMN.match(line) for line in found["body"].splitlines() if line.strip()]
            return dg.TableSchema(
                [
                    dg.TableColumn(column["name"], column["type"])
                    for column in columns
                    if column and column["name"] not in WORDS_OF_A_CONSTRAINT
                ]
            )
    raise LookupError(f"no migration creates fraud.{name}")


def of_contract(contract: Contract) -> dg.TableSchema:
    """Return the columns of a table of transactions."""
    types = {contract.label: "int"} | dict.fromkeys(contract.number_columns, "float")
    roles = {
        contract.label: "1 = fraud",
        contract.amount: "money at stake",
        contract.time: "orders the split",
        contract.id: "id of the transaction",
        contract.group: "its rows stay on one side of the split",
    }
    required, optional = contract.columns
    return dg.TableSchema(
        [dg.TableColumn(name, types.get(name, "string"), description=roles.get(name)) for name in required]
        + [dg.TableColumn(name, types.get(name, "string"), description="optional") for name in optional]
    )


def _type(rule: dict[str, Any]) -> str:
    kind = rule.get("type", "string" if "const" not in rule else type(rule["const"]).__name__)
    return " | ".join(kind) if isinstance(kind, list) else str(kind)

"""The pages of ``docs/reference/`` about what programs exchange and keep: the HTTP API, events and manifest, the warehouse's tables.

Belongs here: those pages, and how a page and a table are written. Does not: which pages there are (``scripts/reference.py``).
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from scripts.pages import PROJECT_DIR

SCHEMAS = PROJECT_DIR / "fraudit_dagster" / "schemas"
MIGRATIONS = PROJECT_DIR / "fraudit_dagster" / "sql" / "migrations"
CREATED = re.compile(r"^create table (fraud\.\w+) \(\n(.*?)^\);", re.MULTILINE | re.DOTALL)
COLUMN = re.compile(r"^(?P<name>\w+)\s+(?P<type>.+?)(?P<rest>\s+(?:not null|primary key|default|check)\b.*)?$")
STATEMENT = re.compile(
    r"^create table .*?^\);|^drop table [^;]+;|^alter table \S+ add column [^;]+;|^comment on \S+ \S+ is\s+'(?:[^']|'')*';",
    re.MULTILINE | re.DOTALL,
)


def page(title: str, source: str, *parts: str) -> str:
    """Return the text of a page: its title, where it comes from, and its parts."""
    made = f"<!-- Made by `make docs.reference` from {source}: change it there. -->"
    return "\n\n".join([f"# {title}", made, *parts]) + "\n"


def table(head: Sequence[str], rows: Sequence[Sequence[str | None]]) -> str:
    """Return a table, without the columns that are empty."""
    used = [place for place in range(len(head)) if any(row[place] for row in rows)]
    lines = [[head[place] for place in used], ["---"] * len(used)]
    lines += [[re.sub(r"\s+", " ", row[place] or "").replace("|", "\\|") for place in used] for row in rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def api() -> str:
    """Return the page of the HTTP API."""
    document = json.loads((PROJECT_DIR / "api" / "chalicelib" / "openapi.json").read_text())
    parts = [
        (
            "Of the shipped contract. A running API answers `GET /openapi.json` with the document for the inputs that it serves, which any "
            "client generator takes. How to call it, and what to do about an error: [the prediction API](../api.md)."
        ),
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += [f"## {method.upper()} {path}", " ".join([route["summary"], route.get("description", "")]).strip()]
            parts += ["No key is asked for." if route.get("security") == [] else "Header `x-api-key`."]
            if "requestBody" in route:
                parts += [f"Body: {_body(route['requestBody'], document)}"]
            for status, answer in route["responses"].items():
                if status.startswith("2"):
                    parts += [f"Answer {status}: {answer['description']} {_body(answer, document)}"]
            parts += [
                "Errors: " + ", ".join(f"[{status}](#errors)" for status in route["responses"] if status >= "4") + "."
            ]
    rows = [(status, answer["description"]) for status, answer in document["components"]["responses"].items()]
    parts += ["## Errors", table(("status", "when"), rows), "All have this body:"]
    parts += [_described(document["components"]["schemas"]["Error"], document)]
    return page("The HTTP API", "api/chalicelib/openapi.json", *parts)


def _body(holder: dict[str, Any], document: dict[str, Any]) -> str:
    schema = next(iter(holder["content"].values()))["schema"]
    return f"{_type(schema)}\n\n{_described(schema, document)}".strip()


def events() -> str:
    """Return the page of the events on Kinesis, the serving manifest and the error body."""
    parts = [
        (
            "JSON in UTF-8, each described by a JSON Schema in [`fraudit_dagster/schemas`](../../fraudit_dagster/schemas). A change is a new "
            "version; readers take the version before too. Events are on Kinesis, with the customer's id as partition key, 1 MB at most."
        ),
    ]
    for name in ("event-prediction.v1", "event-label.v1", "manifest.v1"):
        document = json.loads((SCHEMAS / f"{name}.json").read_text())
        parts += [
            f"## {document['title']}",
            f"{document['description']} Schema `{name}.json`.",
            _described(document, document),
        ]
    return page("Events and manifest", "fraudit_dagster/schemas/", *parts)


def _described(rule: dict[str, Any], document: dict[str, Any]) -> str:
    found = list(rows(rule, document))
    return table(("field", "type", "", "what it is"), found) if found else ""


def rows(rule: dict[str, Any], document: dict[str, Any], *, at: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield a row for each field below a rule; a field of an object is ``object.field``, of an array's items ``array[].field``."""
    rule = _resolved(rule, document)
    required = rule.get("required", ())
    for name, inner in rule.get("properties", {}).items():
        inner = _resolved(inner, document)  # noqa: PLW2901 - the same rule, as it reads
        place = f"{at}{name}"
        yield f"`{place}`", _type(inner), "" if name in required else "optional", inner.get("description", "")
        if inner.get("type") == "object":
            yield from rows(inner, document, at=f"{place}.")
        elif "$ref" not in inner.get("items", {"$ref": ""}):
            yield from rows(inner["items"], document, at=f"{place}[].")


def _resolved(rule: dict[str, Any], document: dict[str, Any]) -> dict[str, Any]:
    if "$ref" not in rule:
        return rule
    found: dict[str, Any] = document
    for word in rule["$ref"].removeprefix("#/").split("/"):
        found = found[word]
    return found


def _type(rule: dict[str, Any]) -> str:
    """Return the type of a field in words, with its limits."""
    if "$ref" in rule:
        return f"`{rule['$ref'].rpartition('/')[2]}`"
    if "const" in rule:
        return f"`{json.dumps(rule['const'])}`"
    if "enum" in rule:
        return ", ".join(f"`{json.dumps(value)}`" for value in rule["enum"])
    if "oneOf" in rule:
        return " or ".join(_type(choice) for choice in rule["oneOf"])
    kind = rule.get("type", "anything")
    words = " or ".join(kind) if isinstance(kind, list) else kind
    words += f" of {_type(rule['items'])}" if kind == "array" and rule["items"].get("type") != "object" else ""
    limits = [f"{sign} {rule[key]:g}" for key, sign in (("minimum", ">="), ("maximum", "<=")) if key in rule]
    limits += [f"at most {rule['maxLength']} characters"] if "maxLength" in rule else []
    limits += [rule["format"]] if "format" in rule else []
    return ", ".join([words, *limits])


@dataclass
class Table:
    """A table of the warehouse, as the migrations leave it."""

    comment: str = ""
    key: str = ""
    columns: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Type and rest of the definition, by column."""
    comments: dict[str, str] = field(default_factory=dict)


def warehouse() -> dict[str, Table]:
    """Return the tables by name, after all migrations."""
    found: dict[str, Table] = {}
    for path in sorted(MIGRATIONS.glob("*.sql")):
        for statement in STATEMENT.findall(path.read_text()):
            _apply(statement, found)
    return found


def _apply(statement: str, found: dict[str, Table]) -> None:
    if created := CREATED.match(statement):
        found[created[1]] = _created(created[2])
    elif statement.startswith("drop table "):
        for name in statement.removeprefix("drop table ").rstrip(";").split(", "):
            del found[name]
    elif added := re.match(r"alter table (\S+) add column (.+);", statement):
        found[added[1]].columns |= _created(added[2]).columns
    elif commented := re.match(r"comment on (table|column) (\S+) is\s+'(.*)';", statement, re.DOTALL):
        says = commented[3].replace("''", "'")
        if commented[1] == "table":
            found[commented[2]].comment = says
        else:
            name, _, column_name = commented[2].rpartition(".")
            found[name].comments[column_name] = says


def _created(body: str) -> Table:
    made = Table()
    for line in body.splitlines():
        text = line.strip().rstrip(",")
        if key := re.match(r"primary key \((.+)\)", text):
            made.key = key[1]
        elif column := COLUMN.match(text):
            rest = (column["rest"] or "").strip()
            made.key = column["name"] if "primary key" in rest else made.key
            made.columns[column["name"]] = (column["type"], rest)
    return made


def tables() -> str:
    """Return the page of the warehouse's tables."""
    parts = [
        (
            "Schema `fraud` of PostgreSQL, as all migrations of [`fraudit_dagster/sql/migrations`](../../fraudit_dagster/sql/migrations) leave "
            "it. Who may read and write what: [roles](../warehouse.md#roles). Times are with their zone; a day is one of UTC."
        ),
    ]
    for name, made in sorted(warehouse().items()):
        rows = [
            (
                f"`{column}`",
                kind,
                "" if "not null" in rest or "primary key" in rest else "may be null",
                made.comments.get(column),
            )
            for column, (kind, rest) in made.columns.items()
        ]
        parts += [f"## {name}", made.comment, f"Key: `{made.key}`.", table(("column", "type", "", "what it is"), rows)]
    return page("Tables of the warehouse", "fraudit_dagster/sql/migrations/", *parts)

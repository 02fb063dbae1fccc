"""What a data set is: columns, label, split, checks and each model's features, read from a YAML file.

The contract is the only thing the graph knows about a table. Here belong its types, its rules and how a table's rows
become a model's matrix; reading tables is ``tables.py``, choosing the file is ``settings.py``.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np
    import pandas as pd
    import yaml

Transform = Literal["identity", "log1p"]
ManifestFeature = str | dict[str, str]
Location = tuple[str | int, ...]

SHIPPED_CONTRACT = Path(__file__).parent / "contracts" / "creditcard.yaml"
ELLIPSIS = "..."


class ContractError(ValueError):
    """The contract is wrong.

    Attributes:
        problems: One line for each mistake, ``<file>:<line>: <field>: <what is wrong>``.
    """

    def __init__(self, problems: list[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(problems))


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


Column = Annotated[str, Field(min_length=1)]


class Feature(_Part):
    """One column of a model's matrix. Written ``V1`` or ``{log1p: Amount}``, in YAML and in the manifest.

    Attributes:
        column: The input.
        transform: ``identity``, or ``log1p``: the natural logarithm of 1 and the value, which has to be above -1.
    """

    column: Column
    transform: Transform = "identity"

    @model_validator(mode="before")
    @classmethod
    def _from_manifest_form(cls, value: Any) -> Any:
        if isinstance(value, str):
            return {"column": value}
        if isinstance(value, dict) and len(value) == 1 and "column" not in value:
            ((transform, column),) = value.items()
            return {"column": column, "transform": transform}
        return value

    @property
    def manifest_form(self) -> ManifestFeature:
        """``"V1"``, or ``{"log1p": "Amount"}`` where a transform applies."""
        return self.column if self.transform == "identity" else {self.transform: self.column}

    @property
    def name(self) -> str:
        """A flat name for plots and tables: ``V1``, ``log1p(Amount)``."""
        return self.column if self.transform == "identity" else f"{self.transform}({self.column})"


class ModelSpec(_Part):
    """What one model sees.

    Attributes:
        features: Columns of its matrix, in this order; inputs of the contract.
    """

    features: tuple[Feature, ...]

    @property
    def manifest_features(self) -> list[ManifestFeature]:
        """The features as the serving manifest writes them."""
        return [feature.manifest_form for feature in self.features]

    def apply(self, frame: pd.DataFrame) -> np.ndarray:
        """The model's matrix: float64 of shape (rows, features), transforms applied.

        Args:
            frame: A table with at least the columns of ``features``.

        Raises:
            ContractError: A value lies outside a transform's domain.
        """
        import numpy as np

        columns = [feature.column for feature in self.features]
        matrix: np.ndarray = frame[columns].to_numpy(dtype=np.float64, copy=True)
        for index, feature in enumerate(self.features):
            if feature.transform == "log1p":
                if (matrix[:, index] <= -1).any():
                    lowest = np.nanmin(matrix[:, index])
                    message = f"{feature.name}: log1p needs values above -1, the table holds {lowest:g}"
                    raise ContractError([message])
                matrix[:, index] = np.log1p(matrix[:, index])
        return matrix


class Models(_Part):
    """The two models of the graph."""

    xgboost: ModelSpec
    random_cut_forest: ModelSpec


class Weight(_Part):
    """The sampling weight of an under-sampled table: how many transactions a row stands for.

    Attributes:
        column: The column that holds it.
        optional: Whether a table may lack the column; each row then counts once.
    """

    column: Column
    optional: bool = False


class Split(_Part):
    """How rows are divided into train, validation and test.

    Attributes:
        by: ``time`` (oldest rows train), ``random`` (by hash of the group or the inputs), or the name of a column
            that holds ``train``, ``validation`` or ``test``.
        validation: Share of the rows, 0 to 1 (ignored where a column decides).
        test: Share of the rows, 0 to 1 (ignored where a column decides).
    """

    by: Column
    validation: float = Field(default=0.15, gt=0, lt=1)
    test: float = Field(default=0.15, gt=0, lt=1)

    @property
    def column(self) -> str | None:
        """The column that decides, or None."""
        return None if self.by in {"time", "random"} else self.by


class LearnFromArchive(_Part):
    """Which archived transactions join the table.

    Attributes:
        label_age_days: Days after the end of a UTC day from which on its labels are taken to be known: it joins once it was
            archived that late.
    """

    label_age_days: int = Field(default=30, ge=0)


class ColumnCheck(_Part):
    """The bounds of a column's values, both included.

    Attributes:
        min: Lowest value; None: there is no bound.
        max: Highest value; None: there is no bound.
    """

    min: float | None = None
    max: float | None = None


class Columns(NamedTuple):
    """The columns a table has to have, and those it may have, each in a fixed order."""

    required: tuple[str, ...]
    optional: tuple[str, ...]


def _empty_if_null(value: Any) -> Any:
    return {} if value is None else value


class Contract(_Part):
    """A data set's contract.

    Attributes:
        name: Short name: lower case, digits, ``_`` and ``-``.
        inputs: What a client sends, in this order; all numbers.
        label: The column that holds 1 for a fraud, else 0.
        amount: The input that is the money at stake (EUR).
        time: Seconds, or a timestamp; orders the split.
        id: The transaction's id; None: a hash of the inputs.
        weight: The sampling weight, if there is one.
        group: The column whose rows stay on one side of a split.
        split: How rows are divided.
        checks: Bounds by column.
        models: What each model sees.
        learn_from_archive: Whether archived transactions whose labels are known join the table, and which; None: it stays as it
            was delivered.
    """

    name: str = Field(pattern=r"^[a-z][a-z0-9_-]*$")
    inputs: tuple[Column, ...]
    label: Column
    amount: Column
    time: Column | None = None
    id: Column | None = None
    weight: Weight | None = None
    group: Column | None = None
    split: Split
    checks: Annotated[dict[str, ColumnCheck], BeforeValidator(_empty_if_null)] = {}
    models: Models
    learn_from_archive: LearnFromArchive | None = None

    @model_validator(mode="after")
    def _rules_hold(self) -> Self:
        problems = [f"{_dotted(where)}: {what}" for where, what in _broken_rules(self.model_dump())]
        if problems:
            raise ValueError("\n".join(problems))
        return self

    @property
    def columns(self) -> Columns:
        """What a table must and may hold."""
        wanted = [*self.inputs, self.label, self.amount, self.time, self.id, self.group, self.split.column]
        optional: list[str] = []
        if self.weight:
            (optional if self.weight.optional else wanted).append(self.weight.column)
        return Columns(tuple(dict.fromkeys(c for c in wanted if c is not None)), tuple(optional))

    @property
    def number_columns(self) -> tuple[str, ...]:
        """The columns that are read as float64: inputs and weight."""
        return (*self.inputs, self.weight.column) if self.weight else self.inputs

    @property
    def text_columns(self) -> tuple[str, ...]:
        """The columns that are read as text: id, group, and the one that holds the split."""
        return tuple(dict.fromkeys(c for c in (self.id, self.group, self.split.column) if c is not None))

    @cached_property
    def sha256(self) -> str:
        """Hash of the content, whatever the file's layout and comments; an option that is off is no content."""
        off = {"learn_from_archive"} if self.learn_from_archive is None else None
        content = json.dumps(self.model_dump(mode="json", exclude=off), sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(content.encode()).hexdigest()


def load_contract(path: Path | None = None) -> Contract:
    """Read a contract.

    Args:
        path: The YAML file; None: the shipped ``creditcard``.

    Raises:
        ContractError: With every wrong line and field at once.
    """
    import yaml

    path = path or SHIPPED_CONTRACT
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ContractError([f"{path}: cannot be read: {error}"]) from error
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise ContractError([f"{path}:{line}: not YAML: {error.problem}"]) from error
    except yaml.YAMLError as error:
        raise ContractError([f"{path}: not YAML: {error}"]) from error
    if not isinstance(node, yaml.MappingNode):
        raise ContractError([f"{path}:1: a contract is a mapping of fields (name, inputs, label, ...)"])

    document = _Document.read(node)
    mistakes = list(document.mistakes)
    contract = None
    try:
        contract = Contract.model_validate(document.content)
    except ValidationError as error:
        # Errors without a place are the broken rules again, in one text.
        mistakes += [_Mistake(e["loc"], _in_words(e)) for e in error.errors(include_url=False) if e["loc"]]
        mistakes += _broken_rules(document.content)
    if contract is None or mistakes:
        raise ContractError(document.problems(path, mistakes))
    return contract


class _Mistake(NamedTuple):
    where: Location
    what: str


@dataclass(frozen=True, slots=True)
class _Document:
    """A YAML mapping as plain values, with the line of each and the mistakes that only the text shows."""

    content: dict[str, Any]
    lines: dict[Location, int]
    mistakes: list[_Mistake]

    @classmethod
    def read(cls, node: yaml.MappingNode) -> _Document:
        document = cls({}, {}, [])
        document.content.update(document._value(node, ()))
        return document

    def _value(self, node: yaml.Node, where: Location) -> Any:
        import yaml

        self.lines.setdefault(where, node.start_mark.line + 1)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, where)
        if isinstance(node, yaml.SequenceNode):
            return self._sequence(node, where)
        return yaml.SafeLoader("").construct_object(node)

    def _mapping(self, node: yaml.MappingNode, where: Location) -> dict[str, Any]:
        content: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in content:
                self.mistakes.append(_Mistake((*where, key), "is given twice"))
                self.lines[(*where, key)] = key_node.start_mark.line + 1
                continue
            self.lines[(*where, key)] = key_node.start_mark.line + 1
            content[key] = self._value(value_node, (*where, key))
        return content

    def _sequence(self, node: yaml.SequenceNode, where: Location) -> list[Any]:
        items = [self._value(item, (*where, "item", index)) for index, item in enumerate(node.value)]
        lines = [item.start_mark.line + 1 for item in node.value]
        content: list[Any] = []
        for index, item in enumerate(items):
            expanded = [item]
            if item == ELLIPSIS:
                expanded = self._between(items, index, where)
            for value in expanded:
                self.lines[(*where, len(content))] = lines[index]
                content.append(value)
        return content

    def _between(self, items: list[Any], index: int, where: Location) -> list[str]:
        """The names that ``...`` stands for between its neighbours; itself where it stands for none."""
        ends = items[max(index - 1, 0) : index] + items[index + 1 : index + 2]
        matches = [re.fullmatch(r"(.*?)(\d+)", end) for end in ends if isinstance(end, str)]
        if len(matches) == 2 and matches[0] and matches[1]:  # noqa: PLR2004 - the two ends
            (prefix, first), (last_prefix, last) = matches[0].groups(), matches[1].groups()
            if prefix == last_prefix and int(first) < int(last):
                return [f"{prefix}{number}" for number in range(int(first) + 1, int(last))]
        shown = ", ".join(str(item) for item in items[max(index - 1, 0) : index + 2])
        self.mistakes.append(_Mistake((*where, "item", index), f"'{shown}' is not a range such as V1, ..., V28"))
        return [ELLIPSIS]

    def line(self, where: Location) -> int:
        while where not in self.lines:
            where = where[:-1]
        return self.lines[where]

    def problems(self, path: Path, mistakes: list[_Mistake]) -> list[str]:
        found = {(self.line(where), f"{_dotted(where)}: {what}") for where, what in mistakes}
        return [f"{path}:{line}: {text}" for line, text in sorted(found)]


def _dotted(where: Location) -> str:
    return ".".join(part for part in where if isinstance(part, str) and part != "item")


def _in_words(error: Any) -> str:
    match error["type"]:
        case "missing":
            return "is missing"
        case "extra_forbidden":
            return "is not a field of a contract"
        case "model_type" | "dict_type":
            return f"must be a mapping, found {error['input']!r}"
        case "tuple_type":
            return f"must be a list, found {error['input']!r}"
        case "string_type" if error["input"] is None:
            return "is empty"
        case _:
            message: str = error["msg"]
            return f"{message[0].lower()}{message[1:]}, found {error['input']!r}"


def _broken_rules(content: Mapping[str, Any]) -> list[_Mistake]:
    """The rules between fields, on content that may break the rules within them (those are pydantic's to report)."""
    inputs = [name for name in _sequence(content.get("inputs")) if isinstance(name, str)]
    if ELLIPSIS in inputs:
        inputs = []  # a broken range: which inputs there are is unknown, and reported already
    return [
        *_empty(("inputs",), content.get("inputs")),
        *_repeated(("inputs",), inputs),
        *_role_rules(content, inputs),
        *_split_rules(content),
        *_archive_rules(content),
        *_check_rules(content, inputs),
        *_feature_rules(content, inputs),
    ]


def _role_rules(content: Mapping[str, Any], inputs: list[str]) -> Iterator[_Mistake]:
    amount = content.get("amount")
    if isinstance(amount, str) and inputs and amount not in inputs:
        yield _Mistake(("amount",), f"{amount!r} is not one of the inputs")
    seen: dict[str, str] = {}
    for where, name in _roles(content):
        role = _dotted(where)
        if name in inputs:
            yield _Mistake(where, f"{name!r} is one of the inputs: the model would see it")
        if name in seen:
            yield _Mistake(where, f"{name!r} is the {seen[name]} already")
        seen.setdefault(name, role)


def _roles(content: Mapping[str, Any]) -> Iterator[tuple[Location, str]]:
    """The columns that no model may see, each with its place."""
    split_by = _mapping(content.get("split")).get("by")
    places: list[tuple[Location, Any]] = [
        (("label",), content.get("label")),
        (("id",), content.get("id")),
        (("weight", "column"), _mapping(content.get("weight")).get("column")),
        (("group",), content.get("group")),
        (("split", "by"), None if split_by in ("time", "random") else split_by),
    ]
    yield from ((where, name) for where, name in places if isinstance(name, str))


def _split_rules(content: Mapping[str, Any]) -> Iterator[_Mistake]:
    split = _mapping(content.get("split"))
    if split.get("by") == "time" and content.get("time") is None:
        yield _Mistake(("split", "by"), "a split by time needs the field 'time'")
    shares = [split.get(part, Split.model_fields[part].default) for part in ("validation", "test")]
    if all(isinstance(share, int | float) and 0 < share < 1 for share in shares) and sum(shares) >= 1:
        yield _Mistake(("split",), f"validation + test = {sum(shares):g} leaves nothing to train on")


def _archive_rules(content: Mapping[str, Any]) -> Iterator[_Mistake]:
    if content.get("learn_from_archive") is None:
        return
    split_by = _mapping(content.get("split")).get("by")
    needed = {"group": content.get("group"), "split.by": None if split_by in ("time", "random") else split_by}
    for role, column in needed.items():
        if isinstance(column, str):
            what = f"archived transactions have no column {column!r}, which is the {role}"
            yield _Mistake(("learn_from_archive",), what)


def _check_rules(content: Mapping[str, Any], inputs: list[str]) -> Iterator[_Mistake]:
    known = {*inputs, content.get("time"), _mapping(content.get("weight")).get("column")}
    for column, check in _mapping(content.get("checks")).items():
        if inputs and column not in known:
            yield _Mistake(("checks", column), f"{column!r} is neither an input nor the time or the weight")
        low, high = _mapping(check).get("min"), _mapping(check).get("max")
        if isinstance(low, int | float) and isinstance(high, int | float) and low > high:
            yield _Mistake(("checks", column), f"min {low:g} is above max {high:g}")


def _feature_rules(content: Mapping[str, Any], inputs: list[str]) -> Iterator[_Mistake]:
    for model, spec in _mapping(content.get("models")).items():
        where = ("models", model, "features")
        yield from _empty(where, _mapping(spec).get("features"))
        names: list[str] = []
        for index, item in enumerate(_sequence(_mapping(spec).get("features"))):
            try:
                feature = Feature.model_validate(item)
            except ValidationError:
                continue
            names.append(feature.name)
            if inputs and feature.column not in (*inputs, ELLIPSIS):
                yield _Mistake((*where, index), f"{feature.column!r} is not one of the inputs")
        yield from _repeated(where, names)


def _empty(where: Location, names: Any) -> Iterator[_Mistake]:
    if isinstance(names, list | tuple) and not names:
        yield _Mistake(where, "names no column")


def _repeated(where: Location, names: list[str]) -> Iterator[_Mistake]:
    for name in dict.fromkeys(name for name in names if names.count(name) > 1):
        yield _Mistake(where, f"{name!r} is named {names.count(name)} times")


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _sequence(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else []

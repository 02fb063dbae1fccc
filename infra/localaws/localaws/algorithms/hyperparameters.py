"""Hyperparameters of a training job: strings on the wire, checked before any data is read.

Belongs here: what a valid value is. Does not: what an algorithm does with it.
"""

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from localaws.algorithms.container import UserError


@dataclass(frozen=True, slots=True)
class Hyperparameter:
    """One hyperparameter.

    Attributes:
        parse: Turns the string into a value; raises ValueError saying what was expected.
        required: The job fails without it.
        default: Value where it is absent; None leaves it out.
    """

    parse: Callable[[str], Any]
    required: bool = False
    default: Any = None


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of an integer in [low, high]."""

    def parse(text: str) -> int:
        value = int(text)
        if value < low or (high is not None and value > high):
            raise ValueError(_expected("an integer", low, high))
        return value

    return parse


def number(
    low: float | None = None, high: float | None = None, *, above: float | None = None
) -> Callable[[str], float]:
    """Return a parser of a number in [low, high], greater than ``above``."""

    def parse(text: str) -> float:
        value = float(text)
        inside = (low is None or value >= low) and (high is None or value <= high) and (above is None or value > above)
        if not inside or value in {float("inf"), float("-inf")}:
            raise ValueError(_expected("a number", low, high, above))
        return value

    return parse


def one_of(*values: str) -> Callable[[str], str]:
    """Return a parser of one of the given words."""

    def parse(text: str) -> str:
        if text not in values:
            raise ValueError(f"expected one of {', '.join(values)}")
        return text

    return parse


def json_list_of(*values: str) -> Callable[[str], list[str]]:
    """Return a parser of a JSON list of the given words."""

    def parse(text: str) -> list[str]:
        words = json.loads(text)
        if not isinstance(words, list) or not words or not all(word in values for word in words):
            raise ValueError(f"expected a JSON list with any of {', '.join(values)}")
        return words

    return parse


def several_of(values: Collection[str], *, with_threshold: Collection[str] = ()) -> Callable[[str], list[str]]:
    """Return a parser of a comma-separated list of the given words; some may be followed by ``@`` and a number."""

    def parse(text: str) -> list[str]:
        words = [word.strip() for word in text.split(",")]
        for word in words:
            name, at, threshold = word.partition("@")
            if name not in values or (at and not (name in with_threshold and _is_number(threshold))):
                raise ValueError(f"expected a comma-separated list of {', '.join(sorted(values))}")
        return words

    return parse


def check(given: Mapping[str, str], known: Mapping[str, Hyperparameter]) -> dict[str, Any]:
    """Parse all hyperparameters of a job.

    Returns:
        The given values and the defaults, by name.

    Raises:
        UserError: Names every hyperparameter that is unknown, missing or wrong.
    """
    problems = [
        f"{name} is not known (known: {', '.join(sorted(known))})" for name in sorted(given.keys() - known.keys())
    ]
    values: dict[str, Any] = {}
    for name, hyperparameter in known.items():
        if name in given:
            try:
                values[name] = hyperparameter.parse(given[name])
            except ValueError as error:
                problems.append(f"{name}={given[name]!r} is not valid: {error}")
        elif hyperparameter.required:
            problems.append(f"{name} is required")
        elif hyperparameter.default is not None:
            values[name] = hyperparameter.default
    if problems:
        raise UserError(f"Hyperparameters: {'; '.join(problems)}")
    return values


def _expected(kind: str, low: float | None, high: float | None, above: float | None = None) -> str:
    limits = [
        f"above {above}" if above is not None else "",
        f"at least {low}" if low is not None else "",
        f"at most {high}" if high is not None else "",
    ]
    return f"expected {kind} {' and '.join(limit for limit in limits if limit)}"


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True

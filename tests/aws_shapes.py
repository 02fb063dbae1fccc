"""Whether a reply is what the model of its service says: by botocore's own description of AWS."""

from collections.abc import Iterator
from typing import Any

KINDS: dict[str, Any] = {
    "structure": dict,
    "map": dict,
    "list": list,
    "string": str,
    "blob": str,
    "boolean": bool,
    "integer": int,
    "long": int,
    "float": (int, float),
    "double": (int, float),
    "timestamp": (int, float),
}
"""Types in JSON by those of the model."""


def problems(shape: Any, value: Any, path: str) -> Iterator[str]:
    """Say where a reply, as parsed from JSON, is not of its shape."""
    if not isinstance(value, KINDS[shape.type_name]):
        yield f"{path} is {value!r}, no {shape.type_name}"
        return
    parts: list[tuple[str, Any, Any]] = []
    match shape.type_name:
        case "structure":
            yield from (f"{path}.{name} is not known" for name in value.keys() - shape.members.keys())
            yield from (f"{path}.{name} is missing" for name in set(shape.required_members) - value.keys())
            parts = [(name, shape.members[name], value[name]) for name in value.keys() & shape.members.keys()]
        case "list":
            parts = [(str(index), shape.member, item) for index, item in enumerate(value)]
        case "map":
            parts = [(key, shape.value, item) for key, item in value.items()]
        case "string" if shape.enum and value not in shape.enum:
            yield f"{path} is {value!r}, none of {shape.enum}"
    for name, part, item in parts:
        yield from problems(part, item, f"{path}.{name}")

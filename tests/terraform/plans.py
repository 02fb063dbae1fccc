"""Reading a plan (``terraform show -json``): its resources by type, and what is written in the configuration."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Plan = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A resource of a plan.

    Attributes:
        address: Where it is written, such as ``module.stream.aws_kinesis_stream.this``.
        kind: Its type.
        values: Its arguments, and what the stand-in foresees of what AWS decides.
    """

    address: str
    kind: str
    values: dict[str, Any]

    def __getitem__(self, name: str) -> Any:
        """Return an argument."""
        return self.values[name]

    def first(self, block: str) -> dict[str, Any]:
        """Return the first block of a kind; empty where there is none."""
        found: list[dict[str, Any]] = self.values.get(block) or [{}]
        return found[0]


def all_of(plan: Plan, *kinds: str) -> list[Resource]:
    """Return the resources of some types, or all of them."""
    return [
        Resource(resource["address"], resource["type"], resource["values"])
        for resource in _resources_of(plan["planned_values"]["root_module"])
        if not kinds or resource["type"] in kinds
    ]


def outputs_of(plan: Plan) -> dict[str, Any]:
    """Return the values of the root's outputs."""
    return {name: output.get("value") for name, output in plan["planned_values"].get("outputs", {}).items()}


def arguments_of(plan: Plan, kind: str) -> dict[str, set[str]]:
    """Return the names of the arguments that are written for each resource of a type, by its address without keys."""
    return {
        address: {
            name for name, expression in resource["expressions"].items() if expression != {"constant_value": None}
        }
        for address, resource in _written(plan["configuration"]["root_module"], "")
        if resource["type"] == kind
    }


def variables_of(plan: Plan) -> list[tuple[str, Mapping[str, Any]]]:
    """Return name and declaration of each variable, those of modules too."""
    return list(_variables(plan["configuration"]["root_module"]))


def containers_of(plan: Plan) -> list[tuple[Resource, dict[str, Any]]]:
    """Return the containers of every task."""
    return [
        (it, container)
        for it in all_of(plan, "aws_ecs_task_definition")
        for container in json.loads(it["container_definitions"])
    ]


def is_key(value: str | None) -> bool:
    """Whether a value names a key of ours."""
    return bool(value) and str(value).startswith("arn:aws:kms:")


def _resources_of(module: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield from module.get("resources", [])
    for child in module.get("child_modules", []):
        yield from _resources_of(child)


def _written(module: Mapping[str, Any], path: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for resource in module.get("resources", []):
        yield path + resource["address"], resource
    for name, call in module.get("module_calls", {}).items():
        yield from _written(call["module"], f"{path}module.{name}.")


def _variables(module: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    yield from module.get("variables", {}).items()
    for call in module.get("module_calls", {}).values():
        yield from _variables(call["module"])

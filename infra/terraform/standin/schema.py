"""The schema of hashicorp/aws, read from the classes that CDK Terrain generates from it (PyPI: cdktn-provider-aws, not installed).

Belongs here: which arguments, blocks and attributes a type has. Does not: the protocol (``provider.py``), values (``values.py``).

In a generated class each attribute has a comment ``// name - computed: ..., optional: ..., required: ...`` and a getter or a field
that tells its type; ``HclTerraform`` functions tell which of them are written, and whether as blocks. An attribute that is written
like a block (``ingress`` of a security group) is told from a block by the type declarations, which document ``name block``.
"""

import re
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Type = str | list[Any]
"""A type as Terraform's own JSON writes it: ``"string"``, ``["list", "string"]``, ``["object", {...}]``."""

_TYPES: dict[str, Type] = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "booleanList": ["list", "bool"],
    "stringMap": ["map", "string"],
    "numberMap": ["map", "number"],
    "booleanMap": ["map", "bool"],
    "stringListList": ["list", ["list", "string"]],
    "stringListMap": ["map", ["list", "string"]],
}
_GETTERS: dict[str, Type] = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
}
_CLASS = re.compile(r"^class (\w+) extends cdktn\.(\w+) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_MEMBER = re.compile(
    r"^    // (\w+) - computed: (true|false), optional: (true|false), required: (true|false)\n(.*?)(?=^    // |\Z)",
    re.MULTILINE | re.DOTALL,
)
_GETTER = re.compile(r"return (?:cdktn\.Token\.asNumberList\()?(cdktn\.Fn\.tolist\()?this\.get(\w+)Attribute\(")
_MAP = re.compile(r"= new cdktn\.(\w+)Map\(this, ")
_NESTED = re.compile(r"= new (\w+)\(this, \"\w+\"(?:, (true|false))?\)")
_STRUCT = re.compile(r"^function (\w+)ToHclTerraform\(struct\) \{\n(.*?)^\}", re.MULTILINE | re.DOTALL)
_SYNTHESIS = re.compile(r"synthesizeHclAttributes\(\) \{\n(.*?)^    \}", re.MULTILINE | re.DOTALL)
_WRITTEN = re.compile(
    r"^ +(\w+): \{\s+value: [^\n]*\s+isBlock: (true|false),\s+type: \"(\w+)\",\s+storageClassType: \"(\w+)\"",
    re.MULTILINE,
)
_BLOCK_DOC = re.compile(r"^ +\* (\w+) block$", re.MULTILINE)


class SchemaError(ValueError):
    """The generated classes are not as this module expects; the message names the class or member."""


@dataclass(frozen=True, slots=True)
class Attribute:
    """An attribute of a block."""

    type: Type
    computed: bool
    optional: bool
    required: bool


@dataclass(frozen=True, slots=True)
class NestedBlock:
    """A block in a block; ``nesting`` is ``list``, ``set`` or ``single``, ``max_items`` 0 means any number."""

    block: "Block"
    nesting: str
    min_items: int
    max_items: int


@dataclass(frozen=True, slots=True)
class Block:
    """What may be written in a resource, a data source, the provider, or a block of one."""

    attributes: dict[str, Attribute] = field(default_factory=dict)
    blocks: dict[str, NestedBlock] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ProviderSchema:
    """The part of a provider's schema that was asked for."""

    provider: Block
    resources: dict[str, Block]
    data_sources: dict[str, Block]


def read_schema(wheel: Path, resources: Collection[str], data_sources: Collection[str]) -> ProviderSchema:
    """Read the provider's own schema and that of some types; those that it does not have are left out.

    Args:
        wheel: The package, as the index has it. Of its 264 MB only the archive of the JavaScript classes is read.
        resources: Types of resources, such as ``aws_s3_bucket``.
        data_sources: Types of data sources, such as ``aws_region``.

    Raises:
        SchemaError: The package's classes are not as expected.
    """
    modules = {_module(name): ("resource", name) for name in resources}
    modules |= {f"data-aws-{_module(name)}": ("data", name) for name in data_sources}
    modules["provider"] = ("provider", "aws")
    found: dict[str, dict[str, Block]] = {"resource": {}, "data": {}, "provider": {}}
    for module, script, declarations in _sources(wheel, set(modules)):
        kind, name = modules[module]
        found[kind][name] = _Classes(script, declarations).top()
    return ProviderSchema(found["provider"]["aws"], found["resource"], found["data"])


def _module(name: str) -> str:
    return name.removeprefix("aws_").replace("_", "-")


def _sources(wheel: Path, modules: Collection[str]) -> Iterator[tuple[str, str, str]]:
    """Yield folder, JavaScript and type declarations of each module, from the archive in the package."""
    texts: dict[str, dict[str, str]] = {}
    with (
        zipfile.ZipFile(wheel) as package,
        package.open(next(name for name in package.namelist() if name.endswith(".jsii.tgz"))) as archive,
        tarfile.open(fileobj=archive, mode="r|gz") as members,
    ):
        for member in members:
            _, _, path = member.name.partition("package/lib/")
            module, _, name = path.partition("/")
            if module in modules and name.endswith((".js", ".d.ts")):
                content = members.extractfile(member)
                kind = "declarations" if name.endswith(".d.ts") else "script"
                code = content.read().decode() if content else ""
                texts.setdefault(module, {"script": "", "declarations": ""})[kind] += code
    for module, of in texts.items():
        yield module, of["script"], of["declarations"]


class _Classes:
    """The classes of one module."""

    def __init__(self, script: str, declarations: str) -> None:
        self._bodies = {name: body for name, _, body in _CLASS.findall(script)}
        self._tops = [name for name, base, _ in _CLASS.findall(script) if base.startswith("Terraform")]
        self._structs = {name.lower(): body for name, body in _STRUCT.findall(script)}
        self._block_names = set(_BLOCK_DOC.findall(declarations))

    def top(self) -> Block:
        """Return the block of the resource, data source or provider."""
        (name,) = self._tops
        body = self._bodies[name]
        synthesis = _SYNTHESIS.search(body)
        return self._block(body, _written(synthesis.group(1) if synthesis else ""))

    def _block(self, body: str, written: "_Written") -> Block:
        block = Block()
        for name, computed, optional, required, code in _MEMBER.findall(body):
            is_block, shape, storage = written.get(name, (False, "", ""))
            if is_block and name in self._block_names:
                block.blocks[name] = self._nested_block(code, shape, storage, required=required == "true")
            else:
                type_ = self._type(name, code, shape, storage)
                block.attributes[name] = Attribute(type_, computed == "true", optional == "true", required == "true")
        return block

    def _nested_block(self, code: str, shape: str, storage: str, *, required: bool) -> NestedBlock:
        """Return a block; generated code has a list class where there may be several, and the element's class where there is one.

        The provider's own blocks have no classes: their arguments are taken to be optional.
        """
        nested = _NESTED.search(code)
        wrapper = nested.group(1) if nested else storage
        struct = _struct(wrapper)
        written = self._written_of(struct)
        body = self._bodies.get(f"{struct}OutputReference")
        block = self._block(body, written) if body else _optional(written)
        if shape == "struct":
            return NestedBlock(block, "single", 0, 0)
        return NestedBlock(block, shape, int(required), 0 if wrapper.endswith("List") else 1)

    def _written_of(self, struct: str) -> "_Written":
        return _written(self._structs.get(struct.lower(), ""))

    def _type(self, name: str, code: str, shape: str, storage: str) -> Type:
        if storage in _TYPES:
            return _as_set(_TYPES[storage]) if shape == "set" else _TYPES[storage]
        if getter := _GETTER.search(code):
            type_ = _GETTERS[getter.group(2)]
            return _as_set(type_) if getter.group(1) else type_
        if map_ := _MAP.search(code):
            return _GETTERS[f"{map_.group(1)}Map"]
        if nested := _NESTED.search(code):
            wrapper, is_set = nested.groups()
            object_ = self._object(_struct(wrapper))
            return [shape or ("set" if is_set == "true" else "list"), object_] if wrapper.endswith("List") else object_
        if storage:
            return [shape, self._object(_struct(storage))]
        raise SchemaError(f"the type of {name} is not told by: {code}")

    def _object(self, struct: str) -> Type:
        written = self._written_of(struct)
        body = self._bodies.get(f"{struct}OutputReference")
        return _object_of(self._block(body, written) if body else _optional(written))


_Written = dict[str, tuple[bool, str, str]]


def _written(synthesis: str) -> _Written:
    """Return what is written: by name whether as a block, the shape (``simple``, ``list``, ``set``, ``map``, ``struct``), the type."""
    return {name: (block == "true", shape, storage) for name, block, shape, storage in _WRITTEN.findall(synthesis)}


def _optional(written: _Written) -> Block:
    known = {name: _TYPES[storage] for name, (_, _, storage) in written.items() if storage in _TYPES}
    shapes = {name: shape for name, (_, shape, _) in written.items()}
    types = {name: _as_set(type_) if shapes[name] == "set" else type_ for name, type_ in known.items()}
    return Block(
        {name: Attribute(type_, computed=False, optional=True, required=False) for name, type_ in types.items()}
    )


def _struct(wrapper: str) -> str:
    return wrapper.removesuffix("List").removesuffix("OutputReference")


def _as_set(type_: Type) -> Type:
    return ["set", *type_[1:]]


def _object_of(block: Block) -> Type:
    members: dict[str, Type] = {name: attribute.type for name, attribute in block.attributes.items()}
    for name, nested in block.blocks.items():
        inner = _object_of(nested.block)
        members[name] = inner if nested.nesting == "single" else [nested.nesting, inner]
    return ["object", members]

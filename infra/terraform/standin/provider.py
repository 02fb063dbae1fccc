"""Terraform's plugin protocol (version 6), as far as plan, apply and test need it of a provider that makes nothing.

Belongs here: messages, and when a value is known. Does not: the schema (``schema.py``), made-up values (``values.py``).

Terraform itself parses, checks arguments, blocks, types and references, and plans. What only the true provider knows is not checked:
which arguments exclude each other, what values an argument takes, what AWS answers.
"""

import json
from typing import Any

import msgpack
from tf.gen import grpc_controller_pb2 as controller
from tf.gen import grpc_controller_pb2_grpc as controller_rpc
from tf.gen import tfplugin_pb2 as messages
from tf.gen import tfplugin_pb2_grpc as rpc

from standin.schema import Block, ProviderSchema
from standin.values import made_up

UNKNOWN = msgpack.ExtType(0, b"\x00")
_NESTING = {
    "list": messages.Schema.NestedBlock.LIST,
    "set": messages.Schema.NestedBlock.SET,
    "single": messages.Schema.NestedBlock.SINGLE,
}


class Controller(controller_rpc.GRPCControllerServicer):  # type: ignore[misc] # generated, untyped
    """Of the process: Terraform says goodbye here, and who has started the process ends it."""

    def Shutdown(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802 - the protocol's signature
        """Stay, for the next command."""
        return controller.Empty()


class Provider(rpc.ProviderServicer):  # type: ignore[misc] # generated, untyped
    """Plans and "applies" resources of a schema.

    Args:
        schema: Of the types in use.
        foresees: Whether a plan already has the values that AWS would decide. Else they are unknown until the apply, as with the
            true provider: so a plan shows that nothing depends on them too early. With them a plan shows whole policies.
    """

    def __init__(self, schema: ProviderSchema, *, foresees: bool) -> None:
        self._schema = schema
        self._answer = _answer(schema)
        self._foresees = foresees
        self._region = "eu-west-1"

    def GetMetadata(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Say what is understood."""
        return messages.GetMetadata.Response(server_capabilities=messages.ServerCapabilities(plan_destroy=True))

    def GetProviderSchema(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return the schema."""
        return self._answer

    def ValidateProviderConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Find nothing wrong: Terraform has checked the types."""
        return messages.ValidateProviderConfig.Response()

    def ValidateResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Find what is written and only AWS decides: Terraform leaves that to providers."""
        read_only = _read_only(self._schema.resources[request.type_name], _read(request.config))
        return messages.ValidateResourceConfig.Response(
            diagnostics=[
                messages.Diagnostic(
                    severity=messages.Diagnostic.ERROR,
                    summary="Value for unconfigurable attribute",
                    detail=f'Can\'t configure a value for "{name}": AWS decides it.',
                )
                for name in read_only
            ]
        )

    def ValidateDataResourceConfig(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Find nothing wrong."""
        return messages.ValidateDataResourceConfig.Response()

    def ConfigureProvider(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Take the region."""
        self._region = _read(request.config).get("region") or self._region
        return messages.ConfigureProvider.Response()

    def UpgradeResourceState(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return the state as it is."""
        return messages.UpgradeResourceState.Response(upgraded_state=_written(json.loads(request.raw_state.json)))

    def ReadResource(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Find everything as it was left."""
        return messages.ReadResource.Response(new_state=request.current_state, private=request.private)

    def PlanResourceChange(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Plan a resource as it is written; what AWS decides is unknown, foreseen, or as it was."""
        proposed, prior = _read(request.proposed_new_state), _read(request.prior_state)
        if proposed is None:
            return messages.PlanResourceChange.Response(planned_state=_written(None))
        if prior is None:
            proposed = self._undecided(request.type_name, proposed)
        return messages.PlanResourceChange.Response(planned_state=_written(proposed))

    def ApplyResourceChange(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Make nothing, and say what would be there."""
        planned = _read(request.planned_state)
        if planned is not None:
            planned = self._decided(request.type_name, planned)
        return messages.ApplyResourceChange.Response(new_state=_written(planned))

    def ReadDataSource(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Return made-up data."""
        asked = _read(request.config)
        values = made_up(
            self._schema.data_sources[request.type_name], asked, kind=request.type_name, region=self._region
        )
        if request.type_name == "aws_region":
            values |= {"region": self._region, "name": self._region}
        return messages.ReadDataSource.Response(state=_written(asked | values))

    def GetFunctions(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Have none."""
        return messages.GetFunctions.Response()

    def StopProvider(self, request: Any, context: Any) -> Any:  # noqa: ARG002, N802
        """Have nothing to interrupt."""
        return messages.StopProvider.Response()

    def _undecided(self, kind: str, written: dict[str, Any]) -> dict[str, Any]:
        block = self._schema.resources[kind]
        if self._foresees:
            return _in_blocks(block, written | made_up(block, written, kind=kind, region=self._region), None)
        unknown = {name: UNKNOWN for name, of in block.attributes.items() if of.computed and written.get(name) is None}
        return _in_blocks(block, written | unknown, UNKNOWN)

    def _decided(self, kind: str, planned: dict[str, Any]) -> dict[str, Any]:
        block = self._schema.resources[kind]
        written = {name: None if _is_unknown(value) else value for name, value in planned.items()}
        values = made_up(block, written, kind=kind, region=self._region)
        decided = {name: values.get(name) if _is_unknown(value) else value for name, value in planned.items()}
        return _in_blocks(block, decided, None)


def _read_only(block: Block, written: dict[str, Any]) -> list[str]:
    """Return the names of what is written in a block or one of its blocks, and is AWS's to decide."""
    found = [
        name
        for name, attribute in block.attributes.items()
        if not (attribute.optional or attribute.required) and written.get(name) is not None
    ]
    for name, nested in block.blocks.items():
        for inner in _written_blocks(written.get(name)):
            found += [f"{name}.{member}" for member in _read_only(nested.block, inner)]
    return found


def _in_blocks(block: Block, written: dict[str, Any], value: Any) -> dict[str, Any]:
    """Return ``written`` with ``value`` for what AWS decides in its nested blocks."""
    for name, nested in block.blocks.items():
        for inner in _written_blocks(written.get(name)) if nested.nesting != "single" else []:
            for member, attribute in nested.block.attributes.items():
                if attribute.computed and (inner.get(member) is None or _is_unknown(inner[member])):
                    inner[member] = value
            _in_blocks(nested.block, inner, value)
    return written


def _written_blocks(value: Any) -> list[dict[str, Any]]:
    """Return the blocks of one name; none where there is none, or where how many is not known yet."""
    if value is None or _is_unknown(value):
        return []
    return [value] if isinstance(value, dict) else list(value)


def _answer(schema: ProviderSchema) -> Any:
    """Return the schema as a message: made once, since each command of Terraform asks for it."""
    answer = messages.GetProviderSchema.Response(server_capabilities=messages.ServerCapabilities(plan_destroy=True))
    answer.provider.CopyFrom(_schema_message(schema.provider))
    answer.provider_meta.CopyFrom(messages.Schema(block=messages.Schema.Block()))
    for name, block in schema.resources.items():
        answer.resource_schemas[name].CopyFrom(_schema_message(block))
    for name, block in schema.data_sources.items():
        answer.data_source_schemas[name].CopyFrom(_schema_message(block))
    return answer


def _schema_message(block: Block) -> Any:
    return messages.Schema(version=0, block=_block_message(block))


def _block_message(block: Block) -> Any:
    message = messages.Schema.Block(version=0)
    for name, attribute in block.attributes.items():
        message.attributes.append(
            messages.Schema.Attribute(
                name=name,
                type=json.dumps(attribute.type).encode(),
                required=attribute.required,
                optional=attribute.optional,
                computed=attribute.computed,
            )
        )
    for name, nested in block.blocks.items():
        message.block_types.append(
            messages.Schema.NestedBlock(
                type_name=name,
                block=_block_message(nested.block),
                nesting=_NESTING[nested.nesting],
                min_items=nested.min_items,
                max_items=nested.max_items,
            )
        )
    return message


def _read(value: Any) -> Any:
    if value.msgpack:
        return msgpack.unpackb(value.msgpack, raw=False, ext_hook=msgpack.ExtType, strict_map_key=False)
    return json.loads(value.json) if value.json else None


def _written(value: Any) -> Any:
    return messages.DynamicValue(msgpack=msgpack.packb(value, use_bin_type=True))


def _is_unknown(value: Any) -> bool:
    return isinstance(value, msgpack.ExtType)

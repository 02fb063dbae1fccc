"""Records of the graph as JSON objects in S3: how one asset's result reaches the next, and survives a restart.

Belongs here: storing and loading. Does not: the shapes (``fraudit_dagster/records.py``).
"""

from typing import TypeVar

import dagster as dg
from pydantic import ValidationError

from fraudit_dagster.records import Record
from resources.storage import Storage, StorageError

AnyRecord = TypeVar("AnyRecord", bound=Record)


class RecordError(RuntimeError):
    """The record of an asset is not there or not usable; the message names the asset and its record."""


class RecordIOManager(dg.ConfigurableIOManager):
    """Stores a ``Record`` at ``s3://<model bucket>/graph/<asset key>.json``."""

    storage: dg.ResourceDependency[Storage]

    def _uri(self, key: dg.AssetKey) -> str:
        return f"s3://{self.storage.model_bucket}/graph/{'/'.join(key.path)}.json"

    def handle_output(self, context: dg.OutputContext, obj: Record | None) -> None:
        """Write the record of an asset; an asset without a record writes nothing."""
        if obj is not None:
            self.storage.write(
                self._uri(context.asset_key), obj.model_dump_json(indent=1).encode(), content_type="application/json"
            )

    def load_input(self, context: dg.InputContext) -> Record:
        """Read the upstream asset's record as the type that the downstream parameter names; errors as of ``load``."""
        record_type: type[Record] = context.dagster_type.typing_type
        return self.load(context.asset_key, record_type)

    def load(self, key: dg.AssetKey, record_type: type[AnyRecord]) -> AnyRecord:
        """Read the record of an asset.

        Raises:
            RecordError: There is none yet, or another version of fraudit wrote it.
            StorageError: S3 could not be reached.
        """
        uri, asset = self._uri(key), key.to_user_string()
        try:
            return record_type.model_validate_json(self.storage.read(uri))
        except StorageError as error:
            if error.code != "NoSuchKey":
                raise
            raise RecordError(f"{asset} has no record at {uri}: materialize it first") from error
        except ValidationError as error:
            raise RecordError(
                f"{asset}: the record at {uri} is of another version, materialize it again: {error}"
            ) from error

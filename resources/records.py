"""Records of the graph as JSON objects in S3: how one asset's result reaches the next, and survives a restart.

Belongs here: storing and loading. Does not: the shapes (``fraudit_dagster/records.py``).
"""

import dagster as dg

from fraudit_dagster.records import Record
from resources.storage import Storage


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
        """Read the upstream asset's record as the type that the downstream parameter names."""
        record: type[Record] = context.dagster_type.typing_type
        return record.model_validate_json(self.storage.read(self._uri(context.asset_key)))

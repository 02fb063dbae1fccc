"""Errors that are told to people as they read, without a stack trace."""

import sys


class CommandError(RuntimeError):
    """A command cannot do what was asked; the message says why, and what to look at.

    Attributes:
        exit_code: Of the command.
    """

    exit_code = 1


def known_errors() -> tuple[type[Exception], ...]:
    """Return our error types of the modules that are loaded: what was never imported was never raised."""
    names = {
        "fraudit_dagster.settings": "SettingsError",
        "fraudit_dagster.contract": "ContractError",
        "fraudit_dagster.tables": "TableError",
        "fraudit_dagster.java": "JavaError",
        "fraudit_dagster.manifest": "ManifestError",
        "fraudit_dagster.api_keys": "ApiKeyError",
        "fraudit_dagster.simulation": "SimulationError",
        "resources.aws": "AwsError",
        "resources.records": "RecordError",
        "resources.warehouse": "WarehouseError",
        "resources.prediction_api": "PredictionApiError",
        "resources.datasets": "DatasetError",
        "fraudit_stream.database": "SinkError",
    }
    return (
        CommandError,
        *(getattr(sys.modules[module], name) for module, name in names.items() if module in sys.modules),
    )

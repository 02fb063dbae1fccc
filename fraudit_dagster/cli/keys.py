"""``fraudit keys``: who may call the prediction API.

Belongs here: what is asked of the secret and what is shown of it. Does not: what a key is (``fraudit_dagster/api_keys.py``).
"""

import json
from dataclasses import asdict
from datetime import UTC, datetime

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from fraudit_dagster.api_keys import (
    FORGOTTEN_AFTER_S,
    FORGOTTEN_ALONE_S,
    entries,
    new_key,
    with_key,
    without_key,
)
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.settings import load_settings


def create(label: str) -> str:
    """Make an API key, keep its hash, and return it: it is not to be had again.

    Raises:
        ApiKeyError: The label is none.
        SecretsError: The secret cannot be read or changed.
    """
    key, settings = new_key(), load_settings()
    with resources(settings, "secrets") as using:
        using.secrets.change(
            settings.api_keys_secret, lambda document: with_key(document, key, label=label, now=datetime.now(UTC))
        )
    return key


def show(*, as_json: bool) -> None:
    """Print every key that there is or was, without the key: a table, or a JSON list of objects."""
    settings = load_settings()
    with resources(settings, "secrets") as using:
        found = entries(using.secrets.read(settings.api_keys_secret))
    if as_json:
        print(json.dumps([asdict(entry) for entry in found]))  # noqa: T201 - the command's output
        return
    table = Table("id", "label", "created", "revoked", title="Keys of the prediction API")
    for entry in found:
        table.add_row(entry.key_id, escape(entry.label), entry.created_at, entry.revoked_at or "")
    Console().print(table)


def revoke(key_id: str) -> str:
    """Revoke a key, if it is not yet, and return a line that says when the API will have forgotten it.

    Raises:
        ApiKeyError: There is no such key.
        SecretsError: The secret cannot be read or changed.
    """
    settings = load_settings()
    with resources(settings, "secrets") as using:
        using.secrets.change(
            settings.api_keys_secret, lambda document: without_key(document, key_id, now=datetime.now(UTC))
        )
    return (
        f"{key_id} is revoked: the API refuses it within {FORGOTTEN_AFTER_S} s"
        f" ({FORGOTTEN_ALONE_S} s where it cannot reach Secrets Manager)"
    )

"""What an operator does to a deployment: the same calls on AWS and here.

Belongs here: preparing, starting and stopping the stream. Does not: building infrastructure; keys (``cli/keys.py``); the warehouse
(``cli/warehouse.py``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import dagster as dg

from fraudit_dagster.api_keys import entries, id_of, with_key
from fraudit_dagster.settings import Settings, load_settings
from resources.deployment import build_resources
from resources.secrets import Secrets
from resources.storage import Storage


@contextmanager
def resources(settings: Settings, *names: str) -> Iterator[Any]:
    """Yield resources of the graph by name, with their environment variables resolved, for use outside a run."""
    known = build_resources(settings)
    with dg.build_resources({name: known[name] for name in names}) as built:
        yield built


def prepare() -> Iterator[str]:
    """Migrate the warehouse, upload the stream job and make the API key known; yield a line for each."""
    from fraudit_dagster.cli import warehouse

    settings = load_settings()
    yield from warehouse.migrate()
    with resources(settings, "storage", "secrets") as using:
        yield f"stream job: {_upload_stream(using.storage)}"
        if settings.fraudit_api_key is not None:
            key = settings.fraudit_api_key.get_secret_value()
            yield f"API key: {make_known(key, name=settings.api_keys_secret, secrets=using.secrets)}"


def start_stream() -> str:
    """Start the stream job and return the id of its run, or of the one that is under way."""
    with resources(load_settings(), "stream_job") as using:
        return str(using.stream_job.start())


def restart_stream() -> str:
    """Stop the stream job, if it runs, start it and return the id of its run."""
    with resources(load_settings(), "stream_job") as using:
        return str(using.stream_job.restart())


def stop_stream() -> None:
    """Stop the stream job, on purpose: its monitor does not start it again."""
    with resources(load_settings(), "stream_job") as using:
        using.stream_job.stop()


def make_known(key: str, *, name: str, secrets: Secrets) -> str:
    """Let the API know a key, unless it was revoked, and return what became of it.

    Args:
        key: The key itself.
        name: Of the secret with the keys.
        secrets: Where that is.
    """
    key_id = id_of(key)
    if any(entry.key_id == key_id and not entry.active for entry in entries(secrets.read(name))):
        return f"{key_id} was revoked, and stays so: FRAUDIT_API_KEY names a key that the API refuses"
    secrets.change(name, lambda document: with_key(document, key, label="prepare", now=datetime.now(UTC)))
    return f"{key_id} is known"


def _upload_stream(storage: Storage) -> str:
    """Upload the stream job's script and wheel; return the script's URI. On AWS, `fraudit deploy stream` uploads its environment too."""
    from fraudit_dagster.cli.deploy import stream

    prefix = f"s3://{storage.stream_bucket}/{stream.FOLDER}"
    for name, body in stream.code().items():
        storage.write(f"{prefix}/{name}", body)
    return f"{prefix}/{stream.SCRIPT}"

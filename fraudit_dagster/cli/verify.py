"""``fraudit verify``: what the client was told, what Kinesis has, and what the warehouse holds, set beside each other, event by event.

Belongs here: the account, waiting until the stream has drained, and the table. Does not: sending (``cli/simulate.py``), nor mending:
dead letters and quarantine have commands of their own.
"""

import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from rich.console import Console

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.operate import resources
from fraudit_dagster.cli.replay import FOLDER, closing_table
from fraudit_dagster.settings import load_settings
from resources.kinesis import Kinesis
from resources.storage import Storage
from resources.warehouse import Warehouse

POLL_S = 1.0
CHUNK = 10_000
"""Keys of one query."""
Key = tuple[str, ...]
Place = tuple[str, str]
"""Shard and sequence number."""

STORED = {
    "prediction": "select transaction_id from fraud.fraud_predictions where transaction_id = any(%(keys)s)",
    "label": "select transaction_id, source from fraud.fraud_labels where transaction_id = any(%(keys)s)",
}
QUARANTINED = "select shard_id, sequence_number from fraud.quarantined_events where sequence_number = any(%(keys)s)"


@dataclass
class Account:
    """Events by where they are.

    Attributes:
        records: Of each type, what is on Kinesis: the key of its row, and its places. What is no event is of type ``other``.
        dead_letters: Of each type, the keys of events in S3 that Kinesis has not.
        stored: Of each type, the keys that are rows of the warehouse.
        quarantined: Places of the records in quarantine.
    """

    records: dict[str, dict[Key, list[Place]]] = field(
        default_factory=lambda: {"prediction": {}, "label": {}, "other": {}}
    )
    dead_letters: dict[str, set[Key]] = field(default_factory=lambda: {"prediction": set(), "label": set()})
    stored: dict[str, set[Key]] = field(default_factory=lambda: {"prediction": set(), "label": set(), "other": set()})
    quarantined: set[Place] = field(default_factory=set)

    def missing(self, kind: str) -> list[Key]:
        """Keys of events on Kinesis that are neither rows nor in quarantine."""
        return [
            key
            for key, places in self.records[kind].items()
            if key not in self.stored[kind] and not self.quarantined.issuperset(places)
        ]

    def rows(self, kind: str) -> dict[str, int]:
        """The lines of the table about a type."""
        places = [place for of_key in self.records[kind].values() for place in of_key]
        return {
            "on Kinesis": len(places),
            "of them again": len(places) - len(self.records[kind]),
            "in the warehouse": len(self.stored[kind]),
            "in quarantine": sum(place in self.quarantined for place in places),
            "missing": len(self.missing(kind)),
        }


def verify(*, run: str | None, answered: int | None, patience_s: float) -> None:
    """Wait until the stream has drained, print the account, and fail where it does not add up.

    Args:
        run: Count only the transactions of this run of the simulator, and their labels; None: all that Kinesis keeps.
        answered: Transactions that the client says were answered; None: it is not asked.
        patience_s: How long to wait while nothing more arrives in the warehouse, in seconds.

    Raises:
        CommandError: Something is missing, or the client's number is another; the table says what.
        KinesisError, StorageError, WarehouseError: A service refused a request or could not be reached.
    """
    with resources(load_settings(), "kinesis", "storage", "warehouse") as using:
        account = read_account(using.kinesis, using.storage, run=run)
        with Console(stderr=True).status("waiting for the stream"):
            settle(account, using.warehouse, patience_s=patience_s)
    table: dict[str, int] = {} if answered is None else {"client: transactions answered": answered}
    for kind, name in {"prediction": "predictions", "label": "labels", "other": "no events"}.items():
        if account.records[kind]:
            table |= {f"{name} {what}": number for what, number in account.rows(kind).items()}
    table |= {f"{kind}s in dead letters": len(keys) for kind, keys in account.dead_letters.items() if keys}
    Console().print(closing_table(table))
    if differences := list(_differences(account, answered)):
        raise CommandError("the counts differ: " + "; ".join(differences))


def read_account(kinesis: Kinesis, storage: Storage, *, run: str | None) -> Account:
    """Return what Kinesis and the dead letters hold, of a run or in all."""
    account = Account()
    labels: dict[Key, list[Place]] = {}
    for record in kinesis.records():
        place = (record.shard_id, record.sequence_number)
        kind, key, of_run = _read(record.data, place)
        if kind == "label":
            labels.setdefault(key, []).append(place)
        elif run is None or of_run == run:
            account.records[kind].setdefault(key, []).append(place)
    dead_labels = set()
    for found in storage.objects(f"s3://{storage.stream_bucket}/{FOLDER}/"):
        for line in storage.read(found.uri).splitlines():
            kind, key, of_run = _read(line, (found.uri, ""))
            if kind == "label":
                dead_labels.add(key)
            elif kind == "prediction" and (run is None or of_run == run):
                account.dead_letters[kind].add(key)
    transactions = {key[0] for key in [*account.records["prediction"], *account.dead_letters["prediction"]]}
    account.records["label"] = {key: places for key, places in labels.items() if run is None or key[0] in transactions}
    account.dead_letters["label"] = {key for key in dead_labels if run is None or key[0] in transactions}
    for kind, keys in account.dead_letters.items():
        keys.difference_update(account.records[kind])
    return account


def settle(account: Account, warehouse: Warehouse, *, patience_s: float) -> None:
    """Look into the warehouse until nothing is missing, or nothing has come for as long as patience lasts."""
    before, deadline_s = None, time.monotonic() + patience_s
    while True:
        _look(account, warehouse)
        missing = sum(len(account.missing(kind)) for kind in account.records)
        if not missing or time.monotonic() > deadline_s:
            return
        if missing != before:
            before, deadline_s = missing, time.monotonic() + patience_s
        time.sleep(POLL_S)


def _look(account: Account, warehouse: Warehouse) -> None:
    for kind, statement in STORED.items():
        waiting = sorted({key[0] for key in account.records[kind] if key not in account.stored[kind]})
        found = {tuple(row.values()) for row in _rows(warehouse, statement, waiting)}
        account.stored[kind] |= found & account.records[kind].keys()
    numbers = sorted({number for of_kind in account.records.values() for at in of_kind.values() for _, number in at})
    account.quarantined = {(row["shard_id"], row["sequence_number"]) for row in _rows(warehouse, QUARANTINED, numbers)}


def _rows(warehouse: Warehouse, statement: str, keys: Sequence[str]) -> Iterable[dict[str, Any]]:
    for start in range(0, len(keys), CHUNK):
        yield from warehouse.query(statement, {"keys": keys[start : start + CHUNK]})


def _read(data: bytes, place: Place) -> tuple[str, Key, str | None]:
    """Return type, key of the row, and run of an event."""
    try:
        event = json.loads(data)
        if event["type"] == "prediction":
            return "prediction", (str(event["transaction_id"]).strip(),), event.get("run_id")
        if event["type"] == "label":
            return "label", (str(event["transaction_id"]).strip(), str(event["source"]).strip()), None
    except (ValueError, KeyError, TypeError):
        pass
    return "other", place, None


def _differences(account: Account, answered: int | None) -> Iterator[str]:
    for kind, number in Counter({kind: len(account.missing(kind)) for kind in account.records}).items():
        if number:
            first = ", ".join(" ".join(key) for key in account.missing(kind)[:3])
            yield f"{number:,} of type {kind} are neither stored nor in quarantine ({first}{' ...' if number > 3 else ''})"  # noqa: PLR2004
    known = len(account.records["prediction"]) + len(account.dead_letters["prediction"])
    if answered is not None and answered != known:
        yield f"{answered:,} were answered, and {known:,} are on Kinesis or in dead letters"
    if letters := sum(map(len, account.dead_letters.values())):
        yield f"{letters:,} are in dead letters only (`fraudit replay dead-letters` puts them on Kinesis)"

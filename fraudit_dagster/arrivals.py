"""New files below the landing prefix: which are parts of the training table, and whether they ask for a run.

Pure decisions over a listing and a clock's reading: no Dagster, no S3. The sensor that acts on them is ``jobs/new_data.py``;
reading the parts is ``assets/raw.py``.
All parts below the prefix together are one table. Its identity is the set of its parts' contents, never a name or a time.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeVar

from fraudit_dagster.tables import FORMATS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

UNFINISHED_STARTS = ("_", ".")
UNFINISHED_ENDS = (".part", ".tmp", ".crc")
SHOWN_NAMES = 3


class Listed(Protocol):
    """An object of a listing; ``resources.storage.StoredObject`` is one."""

    @property
    def uri(self) -> str:
        """``s3://bucket/key``."""

    @property
    def size(self) -> int:
        """In bytes."""

    @property
    def etag(self) -> str:
        """The same bytes, uploaded the same way, have the same one."""

    @property
    def modified(self) -> datetime:
        """When it was written."""


AnyListed = TypeVar("AnyListed", bound=Listed)


@dataclass(frozen=True, slots=True)
class Decision:
    """What one look at the landing prefix asks for.

    Attributes:
        content: Identity of the table to train on; None where no run is asked for.
        reason: Why, or why not, with what was passed over.
    """

    content: str | None
    reason: str


def landing_uri(bucket: str, folder: str, contract: str) -> str:
    """Return the prefix where the parts of a contract's table arrive."""
    return f"s3://{bucket}/{folder}/{contract}/"


def table_parts(objects: Iterable[AnyListed], *, prefix: str) -> list[AnyListed]:
    """Return the objects that are parts of the table, in the order of their keys; of equal contents the first.

    Not a part: a name that is unfinished by custom (a file or a folder on the way to it starts with ``_`` or ``.``, or the
    name ends in ``.part``, ``.tmp`` or ``.crc``), an empty object, a kind of file that is not read here.
    """
    parts: dict[tuple[str, int], AnyListed] = {}
    for found in sorted(objects, key=lambda item: item.uri):
        if why_no_part(found.uri.removeprefix(prefix), found.size) is None:
            parts.setdefault((found.etag, found.size), found)
    return list(parts.values())


def why_no_part(name: str, size: int) -> str | None:
    """Return why a file of this name below the prefix and of this size in bytes is no part, or None where it is one."""
    if any(word.startswith(UNFINISHED_STARTS) for word in name.split("/")) or name.endswith(UNFINISHED_ENDS):
        return "unfinished or hidden"
    if size == 0:
        return "empty"
    if not name.lower().endswith(FORMATS):
        return f"not {', '.join(FORMATS)}"
    return None


def content_of(parts: Iterable[Listed]) -> str:
    """Return the identity of a table: a hash of the set of its parts' contents."""
    lines = sorted({f"{part.etag} {part.size}" for part in parts})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def decide(
    objects: Sequence[Listed], *, prefix: str, now: datetime, settle_s: float, last_content: str | None
) -> Decision:
    """Decide whether what lies below the landing prefix asks for a run.

    Args:
        objects: The whole listing; a listing that failed is none, and must not come here.
        prefix: What was listed, ending in ``/``.
        now: The time, aware of its zone.
        settle_s: How long nothing may have arrived, in seconds, so that a delivery of many files is one run.
        last_content: Identity of the table that a run was last asked for.
    """
    parts = table_parts(objects, prefix=prefix)
    passed_over = _told(objects, prefix)
    if not parts:
        return Decision(None, f"no table below {prefix}{passed_over}")
    # What is passed over counts here: a file that is still being written belongs to a delivery under way.
    quiet_s = (now - max(found.modified for found in objects)).total_seconds()
    if quiet_s < settle_s:
        return Decision(
            None, f"still arriving: the newest object is {quiet_s:.0f} s old, waiting for {settle_s:.0f} s{passed_over}"
        )
    content = content_of(parts)
    files = f"{len(parts):,} {'file' if len(parts) == 1 else 'files'} below {prefix}"
    if content == last_content:
        return Decision(None, f"nothing new: a run was already asked for with this content, {files}{passed_over}")
    return Decision(content, f"new content: {files}{passed_over}")


def _told(objects: Iterable[Listed], prefix: str) -> str:
    names: dict[str, list[str]] = {}
    for found in objects:
        name = found.uri.removeprefix(prefix)
        why = why_no_part(name, found.size)
        is_folder = found.size == 0 and found.uri.endswith("/")  # what consoles write for an empty folder
        if why is not None and not is_folder:
            names.setdefault(why, []).append(name)
    told = []
    for why, named in names.items():
        rest = len(named) - SHOWN_NAMES
        told.append(f"{why}: {', '.join(named[:SHOWN_NAMES])}" + (f" and {rest:,} more" if rest > 0 else ""))
    return f"; passed over, {'; '.join(told)}" if told else ""

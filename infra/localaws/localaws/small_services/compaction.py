"""Which entries of the journal make no difference any more.

Belongs here: the rule, as a pure function. Does not: the file (``journal``).

``localaws apply`` makes the same topics and sets the same things at each start, and a program may put a parameter or a secret ten
thousand times. Such entries set something as a whole. Of those that set the same thing, with nothing between them that may undo it, the
first stays for what builds on it, and the last for what it says.
"""

import re
from collections import defaultdict
from collections.abc import Hashable
from dataclasses import replace
from urllib.parse import parse_qsl

import orjson

from localaws.small_services.journal import Entry

VALUES_KEPT = 100
"""How many values of a parameter or a secret are kept behind the first, as SSM does."""

_SETS = re.compile("Put|Set|Add|Tag|Attach|Subscribe$|CreateTopic$|CreateQueue$|UpdateSecret$")
_MAKES = re.compile("Create")
_VALUES = frozenset({"Value", "SecretString", "SecretBinary", "ClientRequestToken"})
_CREDENTIAL = re.compile(r"Credential=([^/]+)/\d+/([^/]+)/")


def compact(entries: list[Entry]) -> list[Entry]:
    """Leave out the entries that another one makes superfluous; the rest keeps its order."""
    counts: dict[Hashable, int] = defaultdict(int)
    slots = []
    rounds: dict[str, int] = defaultdict(int)
    for entry in entries:
        found = _slot(entry)
        if found is None and not _MAKES.match(entry.action):
            rounds[entry.service] += 1  # it may undo anything that was set before
        slot = None if found is None else (entry.service, rounds[entry.service], found)
        slots.append(slot)
        counts[slot] += 1
    kept: list[Entry] = []
    seen: dict[Hashable, int] = defaultdict(int)
    skipped: dict[Hashable, int] = defaultdict(int)
    for entry, slot in zip(entries, slots, strict=True):
        if slot is None:
            kept.append(entry)
            continue
        seen[slot] += 1
        last = VALUES_KEPT if _has_value(entry) else 1
        if 1 < seen[slot] <= counts[slot] - last:
            skipped[slot] += 1 + entry.skipped
        else:
            kept.append(replace(entry, skipped=entry.skipped + skipped.pop(slot, 0)))
    return kept


def _slot(entry: Entry) -> Hashable:
    """Return what an entry sets as a whole: another one with the same takes its place. None where that cannot be told."""
    if entry.service == "s3":
        return entry.environ.get("RAW_URI") if entry.action == "PUT" else None
    if not _SETS.match(entry.action):
        return None
    credential = _CREDENTIAL.search(entry.environ.get("HTTP_AUTHORIZATION", ""))
    where = (entry.action, credential.groups() if credential else None)
    return where, tuple(sorted((name, value) for name, value in _members(entry) if name not in _VALUES))


def _has_value(entry: Entry) -> bool:
    return any(name in _VALUES for name, _ in _members(entry))


def _members(entry: Entry) -> list[tuple[str, str]]:
    """Return the members of a request's body, each as a text."""
    if "HTTP_X_AMZ_TARGET" not in entry.environ:
        return parse_qsl(entry.body.decode("utf-8", "replace"), keep_blank_values=True)
    try:
        document = orjson.loads(entry.body)
    except orjson.JSONDecodeError:  # it is compressed
        document = None
    if not isinstance(document, dict):
        return [("", entry.body.hex())]
    return [(name, orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()) for name, value in document.items()]

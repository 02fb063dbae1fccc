"""The objects of S3 on disk: one file for each, as it is now.

Belongs here: writing an object of moto's to its file, and making one of moto's out of a file. Does not: when (``keeper``), or the
buckets (``journal``).

``<folder>/<bucket>/<SHA-256 of the key>`` is a line of JSON that describes the object, its bytes, and the CRC-32 of both in eight
digits. The objects are taken from moto's models and not from its API, so that they come back as they were: with their ETag (also of an
upload in parts), their time and their version's id, and without telling topics and queues that they were created.
"""

import hashlib
import logging
import mmap
import threading
import zlib
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from itertools import takewhile
from pathlib import Path
from typing import Any

import orjson
from moto.s3.models import FakeAcl, FakeBucket, FakeGrant, FakeGrantee, FakeKey, S3Backend, s3_backends

BLOCK_BYTES = 1 << 20
STRIPES = 256

_CHECK_BYTES = 8
# Arguments of FakeKey that are attributes of the same name.
_ARGUMENTS = (
    *("encryption", "kms_key_id", "bucket_key_enabled", "lock_mode", "lock_legal_status", "lock_until"),
    *("checksum_value", "checksum_type", "checksum_parts"),
)
_ATTRIBUTES = ("checksum_algorithm", "website_redirect_location")

_log = logging.getLogger(__name__)


class BrokenObjectError(ValueError):
    """A file does not hold a whole object; the message says why."""


class Objects:
    """The folder of all objects, and the locks on them.

    Args:
        folder: Made at the first object.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._locks = [threading.Lock() for _ in range(STRIPES)]

    @contextmanager
    def hold(self, bucket: str, keys: Iterable[str]) -> Iterator[None]:
        """Let no other thread at these objects.

        moto does without locks: of two that write if there is nothing yet, both may, and who reads while another one writes may be
        handed half of it.
        """
        with ExitStack() as stack:
            for number in sorted({hash((bucket, key)) % STRIPES for key in keys}):
                stack.enter_context(self._locks[number])
            yield

    @contextmanager
    def hold_all(self) -> Iterator[None]:
        """Let no other thread at any object."""
        with ExitStack() as stack:
            for lock in self._locks:
                stack.enter_context(lock)
            yield

    def keep(self, bucket_name: str, key: str) -> None:
        """Write an object as moto has it, or remove it where moto has none; call it under its lock.

        Raises:
            OSError: It could not be written; what was kept before stays.
        """
        path = self._path(bucket_name, key)
        bucket = _bucket(bucket_name)
        latest = None if bucket is None else bucket.keys.get(key)
        if isinstance(latest, FakeKey):
            _write(path, latest)
        else:
            path.unlink(missing_ok=True)

    def put_back(self, bucket_name: str, key: str) -> None:
        """Make moto's object what is kept, after a write that could not be kept; call it under its lock."""
        bucket = _bucket(bucket_name)
        if bucket is None:
            return
        try:
            kept = _read(self._path(bucket_name, key))
        except FileNotFoundError:
            if key in bucket.keys:
                bucket.keys.pop(key)
            return
        versions = bucket.keys.getlist(key, [])
        older = takewhile(lambda version: version.version_id != kept.version_id, versions)
        bucket.keys.setlist(key, [*older, kept])

    def restore(self) -> tuple[int, int]:
        """Put all objects into moto; a file that is not whole, or whose bucket is not there, is set aside as ``.broken`` and logged.

        Returns:
            How many there were, and their size in bytes.
        """
        count = size_bytes = 0
        for path in sorted(self._folder.glob("*/*")):
            if path.suffix == ".new":
                _log.warning("%s: removed, its writing was not finished", path)
                path.unlink()
                continue
            if path.suffix:
                continue
            try:
                key = _read(path)
            except BrokenObjectError as error:
                _log.error("%s: set aside: %s", path, error)
                path.rename(path.with_suffix(".broken"))
                continue
            _bucket_of(key).keys.setlist(key.name, [key])
            count, size_bytes = count + 1, size_bytes + key.size
        return count, size_bytes

    def clear(self) -> None:
        """Forget all objects."""
        for path in self._folder.glob("*/*"):
            path.unlink()

    def _path(self, bucket: str, key: str) -> Path:
        return self._folder / bucket / hashlib.sha256(key.encode()).hexdigest()


def _backend(bucket_name: str) -> S3Backend | None:
    """Return the part of moto that has a bucket."""
    where = s3_backends.bucket_accounts.get(bucket_name)
    if where is None:
        return None
    partition, account = where
    return s3_backends[account][partition]


def _bucket(name: str) -> FakeBucket | None:
    backend = _backend(name)
    return None if backend is None else backend.buckets.get(name)


def _bucket_of(key: FakeKey) -> FakeBucket:
    return s3_backends[key.account_id][key.partition].buckets[str(key.bucket_name)]


def _write(path: Path, key: FakeKey) -> None:
    """Replace the file of an object."""
    header = orjson.dumps(_describe(key), option=orjson.OPT_APPEND_NEWLINE)
    checksum = zlib.crc32(header)
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_suffix(".new")
    try:
        with fresh.open("wb") as file:
            file.write(header)
            for block in _blocks(key):
                checksum = zlib.crc32(block, checksum)
                file.write(block)
            file.write(b"%08x" % checksum)
        fresh.replace(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _blocks(key: FakeKey) -> Iterator[bytes]:
    buffer = key._value_buffer  # noqa: SLF001 - its public value is a copy of all of it
    with key.lock:
        buffer.seek(0)
        while block := buffer.read(BLOCK_BYTES):
            yield block


def _describe(key: FakeKey) -> dict[str, Any]:
    tags = s3_backends[key.account_id][key.partition].tagger.get_tag_dict_for_resource(key.arn)
    return {
        "bucket": key.bucket_name,
        "key": key.name,
        "size_bytes": key.size,
        "etag": key.etag.strip('"'),
        "last_modified": key.last_modified.isoformat(),
        "version_id": key.version_id,
        "storage": key.storage_class,
        "metadata": dict(key.metadata),
        "tags": tags,
        "acl": None if key.acl is None else [_grant_facts(grant) for grant in key.acl.grants],
        "arguments": {name: getattr(key, name) for name in _ARGUMENTS},
        "attributes": {name: getattr(key, name) for name in _ATTRIBUTES},
    }


def _grant_facts(grant: FakeGrant) -> dict[str, Any]:
    grantees = [
        {"grantee_id": grantee.id, "uri": grantee.uri, "display_name": grantee.display_name}
        for grantee in grant.grantees
    ]
    return {"grantees": grantees, "permissions": grant.permissions}


def _grant(facts: dict[str, Any]) -> FakeGrant:
    return FakeGrant([FakeGrantee(**grantee) for grantee in facts["grantees"]], facts["permissions"])


def _read(path: Path) -> FakeKey:
    """Make an object out of its file.

    Raises:
        FileNotFoundError: There is none.
        BrokenObjectError: The file is not whole, or its bucket is not there.
    """
    with path.open("rb") as file:
        header = file.readline()
        file.seek(0, 2)
        size_bytes = file.tell()
        if not header.endswith(b"\n") or size_bytes < len(header) + _CHECK_BYTES:
            raise BrokenObjectError(f"it ends after {size_bytes} bytes")
        with (
            mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
            memoryview(content) as view,
            view[:-_CHECK_BYTES] as whole,
            whole[len(header) :] as value,
        ):
            if content[-_CHECK_BYTES:] != b"%08x" % zlib.crc32(whole):
                raise BrokenObjectError("its checksum does not fit")
            return _make(orjson.loads(header), value)


def _make(facts: dict[str, Any], value: memoryview) -> FakeKey:
    """Make an object of moto's; its bytes are copied."""
    backend = _backend(facts["bucket"])
    if backend is None:
        raise BrokenObjectError(f"there is no bucket {facts['bucket']!r} for its object {facts['key']!r}")
    key = FakeKey(
        facts["key"],
        value,  # type: ignore[arg-type]  # moto asks it for its length and writes it to a file
        account_id=backend.account_id,
        region_name=backend.region_name,
        bucket_name=facts["bucket"],
        storage=facts["storage"],
        etag=facts["etag"],
        version_id=facts["version_id"],
        is_versioned=facts["version_id"] != "null",
        **facts["arguments"],
    )
    key.last_modified = datetime.fromisoformat(facts["last_modified"])
    key.set_metadata(facts["metadata"])
    key.set_acl(None if facts["acl"] is None else FakeAcl([_grant(grant) for grant in facts["acl"]]))
    for name, attribute in facts["attributes"].items():
        setattr(key, name, attribute)
    backend.tagger.delete_all_tags_for_resource(key.arn)
    if facts["tags"]:
        backend.tagger.tag_resource(key.arn, backend.tagger.convert_dict_to_tags_input(facts["tags"]))
    return key

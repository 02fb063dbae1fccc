"""``SHA256SUMS`` of a folder in S3, written after its files: what differs is found without reading them.

Belongs here: the form of that file. Does not: which files there are (``stream``, ``notebooks``).
"""

import hashlib
from collections.abc import Mapping

from resources.storage import Storage

CHECKSUMS = "SHA256SUMS"


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """Return the SHA-256 of each file in hex digits, by name."""
    return {name: hashlib.sha256(body).hexdigest() for name, body in files.items()}


def as_file(sums: Mapping[str, str]) -> bytes:
    """Return the lines that ``sha256sum`` writes, in the order of the names."""
    return "".join(f"{digest}  {name}\n" for name, digest in sorted(sums.items())).encode()


def read_sums(storage: Storage, folder: str) -> dict[str, str]:
    """Return what the file in ``folder`` says, by name; nothing where there is none.

    Raises:
        StorageError: S3 refused, or could not be reached.
    """
    uri = f"{folder}/{CHECKSUMS}"
    if not storage.exists(uri):
        return {}
    return {name: digest for digest, name in (line.split("  ", 1) for line in storage.read(uri).decode().splitlines())}

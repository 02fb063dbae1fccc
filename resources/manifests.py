"""The serving manifest in S3: what serves now, what served before, and the one conditional write that switches.

Belongs here: reading, switching, history. Does not: whether a candidate may serve (``assets/serving.py``), the document itself
(``fraudit_dagster/manifest.py``).

``serving/manifest.json`` is the switch. ``serving/manifests/<version>.json`` is the history: only what has served is there, since
a manifest is put there after it was switched to, and a switch that was interrupted in between is made good by the next one.
"""

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import dagster as dg

from fraudit_dagster.manifest import MANIFEST_KEY, ManifestError, check_manifest
from resources.storage import PreconditionError, Storage, StorageError

HISTORY_PREFIX = "serving/manifests/"


@dataclass(frozen=True, slots=True)
class Current:
    """What serves: the document, its bytes, and the entity tag that a switch away from it must name."""

    document: dict[str, Any]
    body: bytes
    etag: str

    @property
    def version(self) -> str:
        """Its manifest version."""
        return str(self.document["manifest_version"])


class Manifests(dg.ConfigurableResource):
    """The serving manifest and those that served before it."""

    storage: dg.ResourceDependency[Storage]

    @property
    def uri(self) -> str:
        """Of the object that is the switch."""
        return f"s3://{self.storage.model_bucket}/{MANIFEST_KEY}"

    def current(self) -> Current | None:
        """Return what serves, or None where nothing does yet.

        Raises:
            ManifestError: What is there is no manifest.
            StorageError: S3 could not be reached.
        """
        try:
            body, etag = self.storage.read_with_etag(self.uri)
        except StorageError as error:
            if error.code == "NoSuchKey":
                return None
            raise
        return Current(_parsed(body, self.uri), body, etag)

    def switch(self, document: dict[str, Any], *, away_from: Current | None) -> None:
        """Make ``document`` serve, if what serves is still ``away_from``.

        Raises:
            PreconditionError: Somebody else has switched in between; what they wrote serves on.
            ManifestError: The document is no manifest.
            StorageError: S3 could not be reached, or refused.
        """
        check_manifest(document)
        if away_from is not None:
            self.remember(away_from)
        body = json.dumps(document, indent=1).encode()
        try:
            self.storage.write_if(self.uri, body, etag=away_from.etag if away_from else None)
        except PreconditionError:
            # The write of a try whose answer was lost looks the same: where our own bytes serve, it went through.
            now = self.current()
            if now is None or now.body != body:
                raise
        self._remember(str(document["manifest_version"]), body)

    def remember(self, served: Current) -> None:
        """Put what serves into the history, where a switch that was interrupted has not."""
        self._remember(served.version, served.body)

    def history(self) -> list[str]:
        """Return the versions that have served, the oldest first; the current one is among them.

        Raises:
            StorageError: S3 could not be reached.
        """
        prefix = self._history_uri("")
        versions = {uri.rsplit("/", 1)[1].removesuffix(".json") for uri in self.storage.uris(prefix)}
        if (current := self.current()) is not None:
            versions.add(current.version)  # a switch that was interrupted before it was remembered
        return sorted(versions)

    def switched_at(self) -> datetime | None:
        """Return when the manifest was last switched, or None where nothing serves."""
        return next((item.modified for item in self.storage.objects(self.uri)), None)

    def read(self, version: str) -> dict[str, Any]:
        """Return a manifest that has served.

        Raises:
            ManifestError: No manifest of that version has served, or what is there is none.
            StorageError: S3 could not be reached.
        """
        uri = self._history_uri(f"{version}.json")
        try:
            return _parsed(self.storage.read(uri), uri)
        except StorageError as error:
            if error.code != "NoSuchKey":
                raise
            known = ", ".join(self.history()[-5:]) or "none"
            raise ManifestError(f"no manifest {version!r} has served; the last that have: {known}") from error

    def _remember(self, version: str, body: bytes) -> None:
        try:
            self.storage.write_if(self._history_uri(f"{version}.json"), body, etag=None)
        except PreconditionError:
            return  # it is there already, and what has served never changes

    def _history_uri(self, name: str) -> str:
        return f"s3://{self.storage.model_bucket}/{HISTORY_PREFIX}{name}"


def _parsed(body: bytes, uri: str) -> dict[str, Any]:
    try:
        document: dict[str, Any] = json.loads(body)
    except ValueError as error:
        raise ManifestError(f"{uri} is not JSON: {error}") from error
    check_manifest(document)
    return document

"""The WSGI app around moto's: what moto acknowledges is on disk before the reply is sent.

Belongs here: which way each request takes, and making those of the journal again. Does not: reading a request (``calls``), or the files
(``journal``, ``objects``).

A request that is kept in the journal is written there first, then moto is asked, and the entry is taken back where moto refuses: on a
full disk nothing happens, and what was not acknowledged may happen. These run one at a time, as they will be made again. An object is
written after moto has it; where that fails, moto's is made what it was.
"""

import io
import logging
import re
import secrets
import sys
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import orjson
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.exceptions import ClientDisconnected

from localaws.small_services.calls import (
    KEPT_SERVICES,
    Environ,
    action_of,
    is_kept,
    keys_to_delete,
    params_of,
    read_body,
    s3_call,
)
from localaws.small_services.compaction import compact
from localaws.small_services.identifiers import Identifiers
from localaws.small_services.journal import Entry, Journal
from localaws.small_services.objects import Objects
from localaws.small_services.replies import Reply, WsgiApp, answer, error
from localaws.trail import Trail
from localaws.wire import ACCOUNT_ID

_RESET = "/moto-api/reset"

_log = logging.getLogger(__name__)


class Keeper:
    """moto's server as a WSGI app, and what it is to remember.

    Args:
        folder: Where that is; of this process alone.
    """

    def __init__(self, folder: Path) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._identifiers = Identifiers()
        self._journal = Journal(folder / "journal", compact)
        self._journal_lock = threading.Lock()
        self._objects = Objects(folder / "s3")
        self._trail = Trail.from_environment("small-services", account_id=ACCOUNT_ID)

    def restore(self) -> None:
        """Put into a fresh moto what is on disk; what fails is logged and left out."""
        started_at = time.monotonic()
        entries = self._journal.load()
        for number, entry in enumerate(entries, 1):
            try:
                reply = self._repeat(entry)
            except Exception:  # noqa: BLE001 - a bug of moto's in one request must not keep the rest away
                _log.exception("request %d of the journal, %s %s, failed", number, entry.service, entry.action)
                continue
            if not reply.is_success:
                text = b"".join(reply.body).decode("utf-8", "replace")
                _log.warning(
                    "request %d of the journal, %s %s, was refused: %s %s",
                    *(number, entry.service, entry.action, reply.status, text),
                )
        count, size_bytes = self._objects.restore()
        _log.info(
            "restored %d requests and %d objects of %.1f MB in %.2f s",
            *(len(entries), count, size_bytes / 1e6, time.monotonic() - started_at),
        )

    def __call__(self, environ: Environ, start_response: Any) -> Iterable[bytes]:
        """Answer a request."""
        app: WsgiApp = self._moto.get_application(environ)
        service = str(app.service)  # type: ignore[attr-defined]  # create_backend_app sets it
        try:
            reply = self._change(app, service, environ)
        except ClientDisconnected as problem:
            return problem(environ, start_response)
        return app(environ, start_response) if reply is None else reply.send(start_response)

    def _note(self, trail: Trail, service: str, environ: Environ) -> None:
        signature = environ.get("HTTP_AUTHORIZATION", "")
        if service == "s3":
            call = s3_call(environ)
            keys = keys_to_delete(read_body(environ)) if call.deletes_objects else [call.key] if call.key else []
            trail.s3(signature, method=call.method, bucket=call.bucket, keys=keys, query=call.query)
        elif service in KEPT_SERVICES:
            body = read_body(environ)
            trail.call(signature, service, action_of(environ, body), params_of(environ, body))

    def _change(self, app: WsgiApp, service: str, environ: Environ) -> Reply | None:
        """Answer a request that takes a way of its own here; None for one that moto is to answer alone."""
        if self._trail is not None:
            self._note(self._trail, service, environ)
        if service == "s3":
            return self._s3(app, environ)
        if service in KEPT_SERVICES:
            body = read_body(environ)
            action = action_of(environ, body)
            return self._journaled(app, environ, service, action, body) if is_kept(service, action) else None
        if environ["PATH_INFO"] == _RESET and environ["REQUEST_METHOD"] == "POST":
            return self._reset(app, environ)
        return None

    def _s3(self, app: WsgiApp, environ: Environ) -> Reply | None:
        call = s3_call(environ)
        if call.changes_bucket:
            return self._journaled(app, environ, "s3", call.method, read_body(environ))
        if call.is_form:
            message = "Uploads by a form are not there: use PutObject."
            return error(environ, "s3", message, status="501 Not Implemented")
        if call.deletes_objects:
            return self._mirrored(app, environ, call.bucket, keys_to_delete(read_body(environ)))
        if call.changes_object:
            read_body(environ)  # before others have to wait for it
            return self._mirrored(app, environ, call.bucket, [call.key])
        if call.key and call.method in {"GET", "HEAD"}:
            with self._objects.hold(call.bucket, [call.key]):
                return answer(app, environ)
        return None

    def _mirrored(self, app: WsgiApp, environ: Environ, bucket: str, keys: list[str]) -> Reply:
        with self._objects.hold(bucket, keys):
            reply = answer(app, environ)
            if not reply.is_success:
                return reply
            try:
                for key in keys:
                    self._objects.keep(bucket, key)
            except OSError as problem:
                for key in keys:
                    self._objects.put_back(bucket, key)
                return self._not_kept(environ, "s3", problem)
            return reply

    def _journaled(self, app: WsgiApp, environ: Environ, service: str, action: str, body: bytes) -> Reply:
        strings = {name: value for name, value in environ.items() if isinstance(value, str)}
        entry = Entry(service, action, strings, body, secrets.randbits(63))
        with self._journal_lock:
            try:
                self._journal.append(entry)
            except OSError as problem:
                return self._not_kept(environ, service, problem)
            is_done = False
            try:
                with self._identifiers.seeded(entry.seed):
                    reply = answer(app, environ)
                is_done = reply.is_success
                return reply
            finally:
                if not is_done:
                    self._journal.take_back()

    def _not_kept(self, environ: Environ, service: str, problem: OSError) -> Reply:
        _log.error("a request to %s is refused, it cannot be kept: %s", service, problem)
        return error(environ, service, f"The request cannot be kept on disk: {problem.strerror}")

    def _reset(self, app: WsgiApp, environ: Environ) -> Reply:
        with self._journal_lock, self._objects.hold_all():
            reply = answer(app, environ)
            self._journal.clear()
            self._objects.clear()
            return reply

    def _repeat(self, entry: Entry) -> Reply:
        if entry.service == "ssm" and entry.skipped:
            _count_versions(entry)
        environ: Environ = {
            **entry.environ,
            "wsgi.version": (1, 0),
            "wsgi.input": io.BytesIO(entry.body),
            "wsgi.errors": sys.stderr,
            "wsgi.multithread": True,
            "wsgi.multiprocess": False,
            "wsgi.run_once": False,
        }
        with self._identifiers.seeded(entry.seed):
            return answer(self._moto, environ)


def _count_versions(entry: Entry) -> None:
    """Count the values of a parameter that were left out, so that the next one gets the number that it had."""
    from moto.ssm.models import ssm_backends  # with it comes EC2, which takes a second

    found = re.search(r"Credential=[^/]+/\d+/([^/]+)/", entry.environ.get("HTTP_AUTHORIZATION", ""))
    if found is not None:
        parameter = ssm_backends[ACCOUNT_ID][found[1]].get_parameter(orjson.loads(entry.body)["Name"])
        if parameter is not None:
            parameter.version += entry.skipped

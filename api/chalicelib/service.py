"""What the routes do, put together from the other modules.

Belongs here: wiring, and reading a body before something happens to it. Does not: HTTP, and what happens (``predictions.py``).
"""

import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any

from chalicelib.alerts import Alerts
from chalicelib.aws import Clients
from chalicelib.errors import ApiError, ScoringUnavailableError, error_body
from chalicelib.events import EventStream, label_event
from chalicelib.feedback_request import parse_feedback
from chalicelib.health import DeepHealth, Probe, Status, verdict
from chalicelib.keys import KeyRing
from chalicelib.limits import Deadline
from chalicelib.manifest import Manifest
from chalicelib.manifest_store import ManifestStore, NoManifestError
from chalicelib.observability import Metrics, logger
from chalicelib.predictions import Prediction, Predictions
from chalicelib.scoring import Models, Row
from chalicelib.settings import Settings
from chalicelib.transactions import Transaction, parse_batch, parse_transaction


class Service:
    """The API without its HTTP. Safe to use from many threads."""

    def __init__(self, settings: Settings, clients: Clients) -> None:
        self.metrics = Metrics(stage=settings.stage)
        self.keys = KeyRing(
            clients.secrets,
            secret_name=settings.api_keys_secret,
            max_age_s=settings.keys_max_age_s,
            stale_s=settings.keys_stale_s,
        )
        self._settings = settings
        self._secrets = clients.secrets
        self._manifests = ManifestStore(
            clients.s3,
            self.metrics,
            bucket=settings.model_bucket,
            contract=settings.contract,
            max_age_s=settings.manifest_max_age_s,
            wait_s=settings.manifest_wait_s,
            first_wait_s=settings.manifest_first_wait_s,
        )
        self._models = Models(clients.runtime, self.metrics)
        self._events = EventStream(
            clients.kinesis, clients.s3, self.metrics, stream=settings.stream_name, bucket=settings.stream_bucket
        )
        self._alerts = Alerts(clients.sns, self.metrics, topic_arn=settings.alerts_topic_arn)
        self._predictions = Predictions(self._models, self._events, self._alerts, self.metrics)
        self._deep_health = DeepHealth(deadline_s=settings.health_deadline_s, max_age_s=settings.health_max_age_s)

    def health(self, *, deep: bool) -> dict[str, Any]:
        """Return ``{"status", "manifest_version", "reason"}``, and ``dependencies`` where ``deep``.

        ``ok``: a current manifest; ``degraded``: the last good one, for ``reason`` (``ManifestStore.problem``); ``down``: none,
        so that nothing can be scored. A dependency that is down makes it ``degraded``, both models ``down``.
        """
        manifest: Manifest | None = None
        try:
            manifest, reason = self._manifests.current(), self._manifests.problem
        except NoManifestError as error:
            status: Status = "down"
            reason = error.problem
        else:
            status = "degraded" if reason else "ok"
        answer: dict[str, Any] = {
            "status": status,
            "manifest_version": manifest.version if manifest else None,
            "reason": reason,
        }
        if deep:
            found = self._deep_health.ask(lambda: self._probes(manifest))
            answer |= {"status": verdict(status, found), "dependencies": found}
        return answer

    def models(self) -> Mapping[str, Any]:
        """Return the manifest without golden rows and medians.

        Raises:
            ApiError: 503 where there is none.
        """
        return self._current_manifest().shown

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, for the inputs of the models being served."""
        from chalicelib.openapi import document

        now = datetime.now(UTC)
        try:
            manifest = self._manifests.current()
        except NoManifestError:
            return document(None, example_at=now)
        return document(manifest.inputs, logarithmic=manifest.logarithmic, example_at=now)

    def predict(self, body: bytes, *, request_id: str) -> dict[str, Any]:
        """Score and decide on one transaction, send its event, and return the answer.

        Raises:
            ApiError: 400 or 413 where the body is at fault, 503 where nothing can be asked or nothing answers.
        """
        started_s, limits = time.perf_counter(), self._settings.single
        scoring = Deadline.after(limits.scoring_s)
        manifest = self._current_manifest()
        transaction = parse_transaction(
            body, manifest, max_body_bytes=self._settings.max_body_bytes, now=datetime.now(UTC)
        )
        accepted = [(transaction, Row.of(manifest, transaction.features))]
        (made,) = self._predictions.make(manifest, accepted, limits=limits, scoring=scoring, started_s=started_s)
        if isinstance(made, ScoringUnavailableError):
            raise made
        latency_s = time.perf_counter() - started_s
        self.metrics.duration("PredictLatency", latency_s)
        logger.info(
            "predict",
            extra={
                "request_id": request_id,
                "transaction_id": transaction.transaction_id,
                "manifest_version": manifest.version,
                "decision": made.decision,
                "degraded": made.degraded,
                "latency_ms": round(latency_s * 1000, 3),
            },
        )
        return made.answer(manifest)

    def predict_batch(self, body: bytes, *, request_id: str) -> dict[str, Any]:
        """Do with each transaction of a batch what ``predict`` does with one, all by the same manifest.

        Returns:
            ``{"results": [...]}`` in the order sent: an answer of ``predict``, or the error of a transaction that was refused.

        Raises:
            ApiError: 400 or 413 where the body is no batch, 503 where nothing can be asked or no model answers.
        """
        started_s, limits = time.perf_counter(), self._settings.batch
        scoring = Deadline.after(limits.scoring_s)
        manifest = self._current_manifest()
        items = parse_batch(
            body,
            manifest,
            max_body_bytes=self._settings.max_batch_bytes,
            max_transactions=self._settings.max_batch_transactions,
            now=datetime.now(UTC),
        )
        accepted = [(item, Row.of(manifest, item.features)) for item in items if isinstance(item, Transaction)]
        made = self._predictions.make(manifest, accepted, limits=limits, scoring=scoring, started_s=started_s)
        if made and all(isinstance(result, ScoringUnavailableError) for result in made):
            raise ScoringUnavailableError("models_unavailable", "no model answered; try again")
        waiting = iter(made)
        results = [next(waiting) if isinstance(item, Transaction) else item for item in items]
        self._log_batch(results, manifest, request_id=request_id, latency_s=time.perf_counter() - started_s)
        return {"results": [_result(result, manifest, request_id) for result in results]}

    def feedback(self, body: bytes) -> dict[str, Any]:
        """Send the event of a label and return that it was accepted, and what failed on the way.

        Raises:
            ApiError: 400 or 413 where the body is at fault, 503 where neither Kinesis nor S3 took it.
        """
        feedback = parse_feedback(body, max_body_bytes=self._settings.max_body_bytes, now=datetime.now(UTC))
        (failed,) = self._events.deliver([label_event(feedback)], self._settings.feedback)
        if "dead_letters" in failed:
            raise ApiError(503, "feedback_lost", "the label could not be kept; send it again")
        return {"transaction_id": feedback.transaction_id, "accepted": True, "degraded": failed}

    def _current_manifest(self) -> Manifest:
        try:
            return self._manifests.current()
        except NoManifestError as error:
            logger.error("no manifest", extra={"reason": str(error)})
            raise ScoringUnavailableError("no_manifest", "no model is being served; try again later") from error

    def _log_batch(
        self,
        results: Sequence[Prediction | ApiError],
        manifest: Manifest,
        *,
        request_id: str,
        latency_s: float,
    ) -> None:
        made = [result for result in results if isinstance(result, Prediction)]
        errors = Counter(result.code for result in results if isinstance(result, ApiError))
        for code, number in errors.items():
            self.metrics.count("Errors", number, code=code)
        logger.info(
            "predict_batch",
            extra={
                "request_id": request_id,
                "manifest_version": manifest.version,
                "transactions": len(results),
                "errors": errors.total(),
                "degraded": sorted({part for prediction in made for part in prediction.degraded}),
                "latency_ms": round(latency_s * 1000, 3),
            },
        )

    def _probes(self, manifest: Manifest | None) -> dict[str, Probe]:
        probes: dict[str, Probe] = {
            "manifest": self._manifests.probe,
            "events": self._events.probe,
            "keys": self._probe_keys,
        }
        if manifest is not None:
            for model in (manifest.classifier, manifest.detector):
                probes[model.name] = partial(self._models.probe, model)
        if self._alerts.is_set:
            probes["alerts"] = self._alerts.probe
        return probes

    def _probe_keys(self) -> None:
        self._secrets.get_secret_value(SecretId=self._settings.api_keys_secret)


def _result(result: Prediction | ApiError, manifest: Manifest, request_id: str) -> dict[str, Any]:
    if isinstance(result, Prediction):
        return result.answer(manifest)
    return error_body(result.code, result.message, request_id=request_id, field=result.field)


_lock = threading.Lock()
_service: Service | None = None


def service() -> Service:
    """Return the service of this process, made from the environment on first use."""
    global _service  # noqa: PLW0603 - one per process, kept between the invocations of a Lambda
    with _lock:
        if _service is None:
            settings = Settings.from_environment()
            _service = Service(settings, Clients.connect(region=settings.aws_region))
        return _service

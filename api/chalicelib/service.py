"""What the routes do, put together from the other modules.

Belongs here: the order of things in one request. Does not: HTTP, and how any single step works.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from chalicelib.aws import MAX_CONNECTIONS, Clients
from chalicelib.decision import Decision
from chalicelib.errors import ScoringUnavailableError
from chalicelib.events import Alerts, EventStream, prediction_event
from chalicelib.keys import KeyRing
from chalicelib.manifest import Manifest
from chalicelib.manifest_store import ManifestStore, NoManifestError
from chalicelib.observability import Metrics, logger
from chalicelib.scoring import Models, Scores
from chalicelib.settings import Settings
from chalicelib.transactions import parse_transaction


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
        self._max_body_bytes = settings.max_body_bytes
        self._manifests = ManifestStore(
            clients.s3, self.metrics, bucket=settings.model_bucket, max_age_s=settings.manifest_max_age_s
        )
        self._models = Models(
            clients.runtime,
            ThreadPoolExecutor(MAX_CONNECTIONS, thread_name_prefix="models"),
            self.metrics,
            deadline_s=settings.models_deadline_s,
            reasons_deadline_s=settings.reasons_deadline_s,
        )
        self._events = EventStream(
            clients.kinesis, clients.s3, self.metrics, stream=settings.stream_name, bucket=settings.stream_bucket
        )
        self._alerts = Alerts(clients.sns, self.metrics, topic_arn=settings.alerts_topic_arn)

    def health(self) -> dict[str, Any]:
        """Return ``{"status", "manifest_version"}``.

        ``ok``: a current manifest; ``degraded``: the last good one, since S3 cannot be read; ``down``: none, so that
        nothing can be scored.
        """
        try:
            manifest = self._manifests.current()
        except NoManifestError:
            return {"status": "down", "manifest_version": None}
        return {"status": "degraded" if self._manifests.stale else "ok", "manifest_version": manifest.version}

    def predict(self, body: bytes, *, request_id: str) -> dict[str, Any]:
        """Score and decide on one transaction, send its event, and return the answer.

        Raises:
            ApiError: 400 or 413 where the body is at fault, 503 where nothing can be asked or nothing answers.
        """
        started = time.perf_counter()
        manifest = self._current_manifest()
        now = datetime.now(UTC)
        transaction = parse_transaction(body, manifest, max_body_bytes=self._max_body_bytes, now=now)
        scores = self._models.score(manifest, transaction.features)
        if scores.probability is None and scores.anomaly is None:
            raise ScoringUnavailableError("models_unavailable", "no model answered; try again")

        decision = manifest.policy.decide(probability=scores.probability, anomaly=scores.anomaly)
        degraded = list(scores.failed)
        reasons = []
        if decision != Decision.APPROVE and scores.probability is not None:
            explanation = self._models.explain(manifest, transaction.features)
            degraded += ["reasons"] if explanation is None else []
            reasons = explanation or []
        event = prediction_event(
            transaction,
            manifest,
            scores,
            decision=decision,
            reasons=reasons,
            degraded=degraded,
            latency_ms=round((time.perf_counter() - started) * 1000, 3),
        )
        degraded = degraded + self._events.deliver(event)
        if decision == Decision.BLOCK:
            self._alerts.publish_block(event)

        latency_s = time.perf_counter() - started
        self.metrics.duration("PredictLatency", latency_s)
        self.metrics.count("Decisions", decision=decision)
        logger.info(
            "predict",
            extra={
                "request_id": request_id,
                "transaction_id": transaction.transaction_id,
                "manifest_version": manifest.version,
                "decision": decision,
                "degraded": degraded,
                "latency_ms": round(latency_s * 1000, 3),
            },
        )
        return {
            "transaction_id": transaction.transaction_id,
            "decision": decision,
            **_answers(manifest, scores),
            "reasons": [asdict(reason) for reason in reasons],
            "degraded": degraded,
        }

    def _current_manifest(self) -> Manifest:
        try:
            return self._manifests.current()
        except NoManifestError as error:
            logger.error("no manifest", extra={"reason": str(error)})
            raise ScoringUnavailableError("no_manifest", "no model is being served; try again later") from error


def _answers(manifest: Manifest, scores: Scores) -> dict[str, Any]:
    probability = scores.probability
    return {
        "fraud_classifier": {
            "pred_proba": probability,
            "prediction": None if probability is None else int(manifest.policy.flags(probability)),
            "model_version": manifest.classifier.version,
        },
        "anomaly_detector": {"score": scores.anomaly, "model_version": manifest.detector.version},
    }


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

"""Where the time of a prediction goes, step by step: ``api_steps.py EVENT COUNT``, with ``api/`` on the path.

The environment is that of the API's server, EVENT a file with an event of API Gateway. Does what the service does for one
request, in its order, with its own parts, and prints the medians in one JSON object: for each step wall time, and processor time
of all threads, in milliseconds. The log goes nowhere.
"""

import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from types import SimpleNamespace

WARM = 20


class Watch:
    """Takes the times of steps."""

    def __init__(self) -> None:
        self._spent: dict[str, list[tuple[float, float]]] = {}

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Take the time of the block."""
        wall_s, processor_s = time.perf_counter(), time.process_time()
        yield
        spent = (time.perf_counter() - wall_s) * 1000, (time.process_time() - processor_s) * 1000
        self._spent.setdefault(name, []).append(spent)

    def medians(self) -> dict[str, tuple[float, float]]:
        """Return wall and processor time by step, without the first times."""
        return {
            name: (statistics.median(wall), statistics.median(processor))
            for name, spent in self._spent.items()
            for wall, processor in [zip(*spent[WARM:], strict=True)]
        }


def prediction(body: bytes) -> Callable[[Watch], None]:
    """Return what the service does for a transaction that is approved, as steps."""
    from chalicelib.aws import Clients
    from chalicelib.decision import Decision
    from chalicelib.events import EventStream, prediction_event
    from chalicelib.manifest_store import ManifestStore
    from chalicelib.observability import Metrics, logger
    from chalicelib.scoring import Models, Row
    from chalicelib.settings import Settings
    from chalicelib.transactions import parse_transaction

    settings = Settings.from_environment()
    clients, metrics = Clients.connect(region=settings.aws_region), Metrics(stage=settings.stage)
    models = Models(clients.runtime, metrics)
    events = EventStream(
        clients.kinesis, clients.s3, metrics, stream=settings.stream_name, bucket=settings.stream_bucket
    )
    manifest = ManifestStore(
        clients.s3,
        metrics,
        bucket=settings.model_bucket,
        contract=None,
        max_age_s=settings.manifest_max_age_s,
        wait_s=settings.manifest_wait_s,
        first_wait_s=settings.manifest_first_wait_s,
    ).current()

    def run(watch: Watch) -> None:
        with watch.step("body"):
            transaction = parse_transaction(
                body, manifest, max_body_bytes=settings.max_body_bytes, now=datetime.now(UTC)
            )
            row = Row.of(manifest, transaction.features)
        with watch.step("models"):
            (scores,) = models.score(manifest, [row], timeout_s=settings.single.models_s)
        with watch.step("event"):
            event = prediction_event(
                transaction, manifest, scores, decision=Decision.APPROVE, reasons=[], degraded=[], latency_ms=1.0
            )
        with watch.step("put"):
            events.deliver([event], settings.single)
        with watch.step("lines"):
            metrics.count("Decisions", decision="approve")
            metrics.duration("PredictLatency", 0.01)
            for message in ("predict", "request"):
                logger.info(message, extra={"request_id": "bench", "status": 200, "latency_ms": 1.0})

    return run


def main() -> None:
    """Measure and print."""
    event, count = json.loads(Path(sys.argv[1]).read_text()), int(sys.argv[2])
    watch = Watch()
    with redirect_stdout(StringIO()):
        from app import app

        context = SimpleNamespace(aws_request_id="bench")
        steps = prediction(event["body"].encode())
        for _ in range(WARM + count):
            with watch.step("whole"):
                answer = app(event, context)
            if answer["statusCode"] != 200:  # noqa: PLR2004 - HTTP
                sys.exit(f"it answered {answer}")
            steps(watch)
    sys.stdout.write(json.dumps(watch.medians()) + "\n")


if __name__ == "__main__":
    main()

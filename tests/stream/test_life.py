"""The job begins no work where there is no stream, or where it was asked to stop while Spark starts; and Spark is ended then.

What else it does in its life is shown by jobs that are processes (``test_faults_*.py``).
"""

import signal
from collections.abc import Callable, Iterator

import pytest
from fraudit_stream import job
from fraudit_stream.arguments import Arguments, parse_arguments
from fraudit_stream.kinesis_api import KinesisSourceError


class Session:
    """Stands for Spark's: nothing can be asked of it but to stop."""

    def __init__(self) -> None:
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True


@pytest.fixture
def start_as(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[], Session]], None]]:
    """Sets what starts Spark; what the job does about signals is undone."""
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield lambda start: monkeypatch.setattr(job, "start_session", lambda _: start())
    for number, handler in before.items():
        signal.signal(number, handler)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, before)


def arguments(stream: str) -> Arguments:
    given = {
        "JOB_NAME": "fraudit-streaming-job",
        "postgres_host": "nowhere",
        "postgres_secret_arn": "none",
        "postgres_db": "fraudit",
        "kinesis_stream": stream,
        "aws_region": "eu-west-1",
        "checkpoint_location": "/nowhere",
    }
    return parse_arguments([part for name, value in given.items() for part in (f"--{name}", value)])


@pytest.mark.usefixtures("aws")
def test_a_stream_that_is_missing_ends_the_job(start_as: Callable[[Callable[[], Session]], None]) -> None:
    session = Session()
    start_as(lambda: session)
    with pytest.raises(KinesisSourceError, match=r"cannot read Kinesis stream 'nowhere'.*ResourceNotFoundException"):
        job.run(arguments("nowhere"))
    assert session.stopped


def test_a_job_that_is_asked_to_stop_while_it_starts_stops(
    start_as: Callable[[Callable[[], Session]], None], stream: str, caplog: pytest.LogCaptureFixture
) -> None:
    session = Session()

    def start() -> Session:
        signal.raise_signal(signal.SIGTERM)
        return session

    start_as(start)
    with caplog.at_level("INFO"):
        job.run(arguments(stream))
    assert session.stopped
    assert "asked to stop by SIGTERM" in caplog.text

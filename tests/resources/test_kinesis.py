"""How the stream is."""

from collections.abc import Callable
from typing import Any

import pytest

from resources.kinesis import Kinesis, KinesisError
from tests.conftest import unique
from tests.resources.conftest import REGION


def test_a_stream_is_summed_up(boto: Callable[[str], Any]) -> None:
    name = unique("stream")
    boto("kinesis").create_stream(StreamName=name, ShardCount=3)
    summary = Kinesis(region=REGION, stream_name=name).summary()
    assert summary == {"status": "ACTIVE", "open_shards": 3, "retention_h": 24}


def test_a_stream_that_is_not_there_is_named() -> None:
    with pytest.raises(KinesisError, match="cannot describe stream 'none'") as caught:
        Kinesis(region=REGION, stream_name="none").summary()
    assert caught.value.code == "ResourceNotFoundException"


@pytest.mark.usefixtures("nobody_answers")
def test_a_kinesis_that_does_not_answer_is_said() -> None:
    with pytest.raises(KinesisError, match="stream 'any': Could not connect") as caught:
        Kinesis(region=REGION, stream_name="any").summary()
    assert caught.value.code == "Unreachable"

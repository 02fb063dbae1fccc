"""The commands of ``docs/api.md`` work as printed, one after the other, against an API on the embedded AWS."""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from fraudit_dagster.api_keys import id_of
from fraudit_dagster.cli.world import api_environment
from fraudit_dagster.contract import load_contract
from fraudit_dagster.settings import PROJECT_DIR, load_settings
from tests.api.conftest import MANIFEST, start_server
from tests.api.stand_ins import SageMakerRuntime, serving
from tests.operate.conftest import Deployment, said

PAGE = PROJECT_DIR / "docs" / "api.md"


@pytest.fixture
def environment(deployment: Deployment, boto: Callable[[str], Any], tmp_path: Path) -> Iterator[dict[str, str]]:
    """What ``fraudit env`` prints, after a bootstrap with models that are stand-ins."""
    served = {**MANIFEST, "inputs": list(load_contract().inputs)}
    boto("s3").put_object(Bucket=deployment.bucket, Key="serving/manifest.json", Body=json.dumps(served))
    with ExitStack() as stack:
        server = {
            **os.environ,
            **api_environment(load_settings()),
            "model_bucket": deployment.bucket,
            "AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME": stack.enter_context(serving(SageMakerRuntime())),
        }
        url, _ = start_server(stack, server, tmp_path / "log")
        yield {**os.environ, "CHALICE_API_URL": url, "FRAUDIT_API_KEY": said("keys", "create", "--label", "page")}


def test_every_command_of_the_page_does_what_it_says(environment: dict[str, str], tmp_path: Path) -> None:
    outputs = []
    other_id = ""
    for block in re.findall(r"```sh\n(.*?)```", PAGE.read_text(), re.DOTALL):
        if block.startswith("fraudit "):  # in this process, which has loaded everything
            for line in block.splitlines():
                words = [other_id if word == "0123abcd" else word for word in shlex.split(line)[1:]]
                outputs.append(said(*words))
                other_id = id_of(outputs[-1]) if words[:2] == ["keys", "create"] else other_id
        else:
            script = ["bash", "-euo", "pipefail", "-c", block]
            done = subprocess.run(script, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            outputs.append(done.stdout)
    key, listed, revoked, predicted, batch, labelled, errors, dry, replayed, subscribed, subscriptions = outputs
    assert key.startswith("fraudit_")
    assert "shop" in listed
    assert revoked.startswith(f"{other_id} is revoked: the API refuses it within 120 s")
    assert (json.loads(predicted)["decision"], json.loads(predicted)["degraded"]) == ("approve", [])
    good, refused = json.loads(batch)["results"]
    assert (good["transaction_id"], "error" in refused) == (json.loads(predicted)["transaction_id"], True)
    assert json.loads(labelled)["accepted"] is True
    assert [code in errors for code in ("missing_field", "unauthorized")] == [True, True]
    assert "would be put" in dry
    assert "put" in replayed
    assert "before it is followed" in subscribed
    assert "fraud-team@example.com" in subscriptions

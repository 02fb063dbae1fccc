"""Command line: ``python -m localaws.cloudwatch --port P --state DIR``."""

import argparse
import logging
import os
from functools import cache
from pathlib import Path
from typing import Any

from localaws.cloudwatch import logs, service
from localaws.wire import json_app, serve


@cache
def _client(name: str, region: str) -> Any:
    """Return a client; imported late, so that the service answers before boto3 is there."""
    import boto3
    from botocore.config import Config

    timeout_s, attempts = {"sns": (service.SNS_TIMEOUT_S, service.SNS_ATTEMPTS)}.get(
        name, (logs.TIMEOUT_S, logs.ATTEMPTS)
    )
    retries: Any = {"mode": "standard", "max_attempts": attempts}
    config = Config(connect_timeout=timeout_s, read_timeout=timeout_s, retries=retries)
    return boto3.session.Session().client(name, region_name=region, config=config)  # type: ignore[call-overload]  # any service


def main() -> None:
    """Serve CloudWatch on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.cloudwatch", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument(
        "--state", type=Path, required=True, help="folder of all state; its own is in cloudwatch/ below"
    )
    options = parser.parse_args()
    logging.getLogger("botocore").setLevel(logging.WARNING)
    region, state_dir = os.environ["AWS_REGION"], options.state.resolve()
    shipper = logs.Shipper(state_dir, lambda: _client("logs", region), state_dir / "cloudwatch" / "shipped.json")
    cloudwatch = service.CloudWatch(
        region=region, state_dir=state_dir, sns=lambda: _client("sns", region), shipper=shipper
    )
    serve(json_app("cloudwatch", cloudwatch.actions(), lifespan=cloudwatch.lifespan), options.port)


if __name__ == "__main__":
    main()

"""Command line: ``python -m localaws.sagemaker --port P --state DIR``."""

import argparse
import os
from pathlib import Path

from localaws.sagemaker.service import make_app
from localaws.wire import serve


def main() -> None:
    """Serve SageMaker on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.sagemaker", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder of all local services")
    arguments = parser.parse_args()
    serve(make_app(state=arguments.state, region=os.environ["AWS_REGION"]), arguments.port)


if __name__ == "__main__":
    main()

"""Command line: ``python -m localaws.glue --port P --state DIR``."""

import argparse
import os
from pathlib import Path

from localaws.glue.service import make_app
from localaws.wire import serve


def main() -> None:
    """Serve Glue on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.glue", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder of all state; Glue's is glue/ below")
    options = parser.parse_args()
    serve(make_app(state=options.state.resolve(), region=os.environ["AWS_REGION"]), options.port)


if __name__ == "__main__":
    main()

"""Command line: ``python -m localaws.small_services --port P --state DIR``."""

import argparse
import fcntl
import logging
import os
import signal
import sys
from pathlib import Path
from typing import IO

from moto.moto_server.werkzeug_app import MotoRequestHandler
from werkzeug.serving import make_server

from localaws.ports import HOST
from localaws.small_services.keeper import Keeper

REPLY_BUFFER_BYTES = 64 << 10


class _Handler(MotoRequestHandler):
    """moto's handler of requests, which sends a small reply as a whole, and does not log it.

    Of a reply in two pieces a client may get the first alone when this process is killed, and take it for all.
    """

    wbufsize = REPLY_BUFFER_BYTES

    def handle_expect_100(self) -> bool:
        """Let the client send its body."""
        is_expected = super().handle_expect_100()
        self.wfile.flush()
        return is_expected

    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        """Log nothing."""


def main() -> None:
    """Serve the small services of AWS on 127.0.0.1."""
    parser = argparse.ArgumentParser(prog="python -m localaws.small_services", description=main.__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--state", type=Path, required=True, help="folder of all state; its own is in aws/ below")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    os.environ.setdefault("MOTO_PORT", str(options.port))
    folder = options.state.resolve() / "aws"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)  # secrets are in the journal
    with (folder / "lock").open("ab") as lock:
        _take(lock, folder)
        keeper = Keeper(folder)
        keeper.restore()
        make_server(HOST, options.port, keeper, threaded=True, request_handler=_Handler).serve_forever()


def _take(lock: IO[bytes], folder: Path) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"{folder} is in use by other small services: stop those, or give another folder")


if __name__ == "__main__":
    main()

"""Start the dashboard: ``python -m dashboard.server --port 8501``.

Belongs here: how Streamlit listens. Does not: anything that is shown (``app.py``).
"""

import argparse
import sys
from pathlib import Path

APP = Path(__file__).with_name("app.py")
OPTIONS = {
    "server.headless": "true",
    "server.fileWatcherType": "none",
    "browser.gatherUsageStats": "false",
    "client.toolbarMode": "viewer",
    "client.showErrorDetails": "none",
    "runner.magicEnabled": "false",
}
"""Of Streamlit: no browser is opened, no file watched, nothing told to its makers, no stack trace shown to a visitor, nor any value
that merely stands in the code."""


def main() -> None:
    """Listen until interrupted, or refuse to."""
    from dashboard.access import refusal

    parser = argparse.ArgumentParser(description="The fraudit dashboard.")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; beyond loopback only with sign-in")
    parser.add_argument("--port", type=int, default=8501)
    asked = parser.parse_args()
    if reason := refusal(asked.host):
        sys.exit(reason)

    from streamlit.web.cli import main as streamlit

    options = {**OPTIONS, "server.address": asked.host, "server.port": str(asked.port)}
    streamlit(["run", str(APP), *(f"--{name}={value}" for name, value in options.items())])


if __name__ == "__main__":
    main()

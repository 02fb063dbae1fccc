"""A command that an interrupt ends: says ``ready``, waits, cleans up with a child of its own, says how it ended.

Run by test_interrupts.py.
"""

import subprocess
import sys
import time

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.cli.interrupts import interruptible, uninterrupted

CLEANING = "print('cleaning', flush=True); input(); print('cleaned', flush=True)"


def main() -> int:
    """Wait to be interrupted; return the exit code."""
    try:
        with interruptible("nothing is left"):
            try:
                print("ready", flush=True)  # noqa: T201
                time.sleep(60)
            finally:
                with uninterrupted():
                    subprocess.run([sys.executable, "-c", CLEANING], check=True)
    except CommandError as error:
        print(error, flush=True)  # noqa: T201
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())

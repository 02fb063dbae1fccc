# ruff: noqa: INP001 -- a script, in no package
"""The script of the Glue job; all it does is in the wheel ``fraudit_stream``. Runs as ``python glue_job.py --name value ...`` too."""

import sys

from fraudit_stream.arguments import parse_arguments
from fraudit_stream.job import run

if __name__ == "__main__":
    run(parse_arguments(sys.argv[1:]))

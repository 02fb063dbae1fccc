"""Runs commands of ``fraudit`` one after the other in this process, the environment read anew for each, as a shell would.

Standard input has them, a JSON list of lists of words; standard output is what they print, each after a line ``$ fraudit ...``.
"""

import json
import os
import sys
import warnings

from fraudit_dagster.cli import app as command
from fraudit_dagster.cli.errors import known_errors

warnings.filterwarnings("ignore", message=".* is currently in beta")  # as the command does
before = dict(os.environ)
for words in json.loads(sys.argv[1]):
    os.environ.clear()
    os.environ.update(before)
    print(f"$ fraudit {' '.join(words)}", flush=True)  # noqa: T201 - what is read
    try:
        command.app(words, standalone_mode=False)
    except known_errors() as error:
        print(f"fraudit: {error}", flush=True)  # noqa: T201 - what is read

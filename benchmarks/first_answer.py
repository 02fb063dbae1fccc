"""Imports the packaged API and asks it twice, as Lambda does: ``first_answer.py EVENT``, beside the package and its runtime only.

Prints one JSON object: milliseconds of the import, of the first answer, of both, and of the second answer.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

started = time.perf_counter()
from app import app  # noqa: E402 - this import is what is measured

imported = time.perf_counter()
event = json.loads(Path(sys.argv[1]).read_text())
context = SimpleNamespace(aws_request_id="bench")
marks = [started, imported]
for _ in range(2):
    answer = app(event, context)
    marks.append(time.perf_counter())
    if answer["statusCode"] != 200 or json.loads(answer["body"])["degraded"]:  # noqa: PLR2004 - HTTP
        sys.exit(f"it answered {answer}")
steps = {"import": (0, 1), "first": (1, 2), "both": (0, 2), "second": (2, 3)}
spent_ms = {step: (marks[end] - marks[begin]) * 1000 for step, (begin, end) in steps.items()}
sys.stdout.write(json.dumps(spent_ms) + "\n")

"""What a Lambda runtime does, with the package in the current folder: import the handler, then answer events.

Reads events of API Gateway, a JSON list, from standard input; the last line that it writes is a JSON object.
"""

import json
import sys
import time
import types

sys.path.insert(0, ".")
started = time.perf_counter()
import app  # noqa: E402 - what is measured

imported = time.perf_counter()
modules = sorted(sys.modules)
context = types.SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 15_000)
answers = [app.app(event, context) for event in json.load(sys.stdin)]
answered = time.perf_counter()
seconds = {"import_s": imported - started, "answer_s": answered - imported}
print(json.dumps({"modules": modules, "answers": answers, **seconds}))  # noqa: T201 - the program's result

"""What a Lambda runtime does, with the package in the current folder: one event from standard input, one answer as the last line."""

import importlib
import json
import sys
import types

sys.path.insert(0, ".")
module, _, name = sys.argv[1].rpartition(".")
context = types.SimpleNamespace(aws_request_id="request-1", get_remaining_time_in_millis=lambda: 15_000)
answer = getattr(importlib.import_module(module), name)(json.load(sys.stdin), context)
print(json.dumps(answer))  # noqa: T201 - the answer

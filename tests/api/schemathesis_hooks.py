"""What schemathesis must know beyond the OpenAPI document, to send only good data where it means to.

Loaded by schemathesis itself: ``SCHEMATHESIS_HOOKS`` in ``test_openapi.py``.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import schemathesis
from hypothesis import strategies

NOW = datetime.now(UTC).replace(microsecond=0)
HOURS_TAKEN = strategies.integers(min_value=-89 * 24, max_value=23)

# The window of times moves with the clock, which no schema can say.
schemathesis.openapi.format("date-time", HOURS_TAKEN.map(lambda hours: (NOW + timedelta(hours=hours)).isoformat()))


@schemathesis.hook
def filter_body(_context: schemathesis.HookContext, body: Any) -> bool:
    """Leave out CSV with numbers that are larger than any float: a regular expression cannot count."""
    line = body.get("data") if isinstance(body, dict) else None
    return not isinstance(line, str) or not any(map(_overflows, line.split(",")))


def _overflows(cell: str) -> bool:
    try:
        return abs(float(cell)) == float("inf")
    except ValueError:
        return False

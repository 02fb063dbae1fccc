"""The three daily tables of one day as the assets make them, each timed; a program, so that its memory is its own.

Belongs here: ours beside ``peers/daily_pandas.py``, with the same arguments and the same JSON. Does not: what is compared (``daily``).

Usage: ``python -m benchmarks.daily_steps CONNECTION DAY PROFILES`` (libpq connection, UTC day, JSON with edges and shares by feature).
"""

import json
import re
import sys
import time
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psycopg2.extensions import parse_dsn

from assets.analytics import LABEL_AGES
from assets.drift import SCORES, Known, compare, replace
from benchmarks.servers import REGION
from fraudit_dagster.records import Profiles
from resources.secrets import Secrets
from resources.warehouse import Warehouse

if TYPE_CHECKING:
    from collections.abc import Callable

CONTRACT, MANIFEST = "creditcard", "m1"
FIGURES = {
    "summary": "select sum(amount)::double precision from fraud.daily_fraud_summary where day = %(day)s",
    "performance": (
        "select average_precision from fraud.daily_model_performance where day = %(day)s order by label_age_days desc limit 1"
    ),
    "drift": "select sum(ks) from fraud.daily_feature_drift where day = %(day)s",
}
"""What a peer must agree with."""


def warehouse_at(connection: str) -> Warehouse:
    """Return the client of the graph for a libpq connection."""
    place = parse_dsn(connection)
    return Warehouse(
        secrets=Secrets(region=REGION),
        host=place["host"],
        port=int(place["port"]),
        database=place["dbname"],
        user=place["user"],
        password=place["password"],
    )


def main() -> None:
    """Make all three and print what they took."""
    connection, text, path = sys.argv[1:]
    warehouse, day = warehouse_at(connection), date.fromisoformat(text)
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    end = start + timedelta(days=1)
    profiles = Profiles.model_validate({"profiles": json.loads(Path(path).read_text())["profiles"]}).profiles
    inputs = [name for name in profiles if name not in SCORES]
    known = Known(CONTRACT, MANIFEST, {name: place for place, name in enumerate(inputs, start=1)}, profiles, "")
    numbers = Path(path).with_suffix(".csv")

    def drift() -> None:
        replace(list(compare(known, warehouse, day=day, path=numbers)), warehouse, start=start, end=end)
        numbers.unlink()

    steps: dict[str, Callable[[], Any]] = {
        "summary": lambda: warehouse.replace_days("daily_fraud_summary", start=start, end=end),
        "performance": lambda: warehouse.replace_days(
            "daily_model_performance", start=start, end=end, ages=list(LABEL_AGES)
        ),
        "drift": drift,
    }
    seconds, figures = {}, {}
    for name, step in steps.items():
        begun = time.perf_counter()
        step()
        seconds[name] = time.perf_counter() - begun
        ((figures[name],),) = (row.values() for row in warehouse.query(FIGURES[name], {"day": day}))
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    peak_mib = int(found[1]) / 1024 if found else 0.0  # ru_maxrss would begin with the memory of the parent
    sys.stdout.write(json.dumps({"seconds": seconds, "figures": figures, "peak_mib": peak_mib}) + "\n")


if __name__ == "__main__":
    main()

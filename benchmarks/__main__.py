"""Command line: ``python -m benchmarks [--only localaws] [--quick] [--dataset FILE]``.

Belongs here: which subjects there are, in which order, and where their results go. Does not: any measurement.
"""

import argparse
import os
import sys
from dataclasses import replace
from functools import partial
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from benchmarks import api, daily, endpoints, forest, graph, kinesis, quality, startup, stream, stream_batch
from benchmarks.report import show, write_json, write_markdown
from benchmarks.servers import BENCH_DIR, PROJECT_DIR

GROUPS = {
    "localaws": {"kinesis": kinesis.run, "endpoints": endpoints.run, "forest": forest.run, "startup": startup.run},
    "training": {"graph": graph.run},
    "api": {"prediction": api.run, "steps": api.run_steps},
    "stream": {"flow": stream.run, "batch": stream_batch.run},
    "daily": {"daily": daily.run},
}
ASKED_FOR = "quality"
"""The subject that is about models, not speed: measured only where it is named, and written into a page of its own."""
PAGE = PROJECT_DIR / "docs" / "benchmarks.md"
PERFORMANCE = PROJECT_DIR / "docs" / "performance.md"
PAGES = {ASKED_FOR: PROJECT_DIR / "docs" / "quality.md", "steps": PERFORMANCE, "batch": PERFORMANCE}
"""Pages of subjects that are not on the common one."""


def main() -> int:
    """Measure, show and write; the exit code is 0 whether or not the goals were met."""
    subjects = {name: run for group in GROUPS.values() for name, run in group.items()}
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Speed beside named peers, and quality.")
    names = ", ".join([*GROUPS, *subjects, ASKED_FOR])
    parser.add_argument(
        "--only", default="", metavar="NAME,NAME", help=f"these of: {names} (default: all but {ASKED_FOR})"
    )
    parser.add_argument(
        "--dataset", type=Path, metavar="FILE", help=f"the table that {ASKED_FOR} is measured on (default: synthetic)"
    )
    parser.add_argument(
        "--quick", action="store_true", help="small and few, to see that it runs; the page stays as it is"
    )
    arguments = parser.parse_args()
    subjects[ASKED_FOR] = partial(quality.run, dataset=arguments.dataset)
    wanted = [name for name in arguments.only.split(",") if name] or list(GROUPS)
    unknown = [name for name in wanted if name not in GROUPS and name not in subjects]
    if unknown:
        parser.error(f"there is no {', '.join(unknown)}; there are {names}")
    chosen = {name for each in wanted for name in GROUPS.get(each, (each,))}
    console = Console(width=None if sys.stdout.isatty() else 160)
    for name in filter(chosen.__contains__, subjects):
        load = os.getloadavg()[0]
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as progress:
            report = replace(subjects[name](quick=arguments.quick, progress=progress), load=load)
        show(report, console)
        write_json(report, BENCH_DIR)
        if not arguments.quick:
            write_markdown(report, PAGES.get(name, PAGE))
    return 0


if __name__ == "__main__":
    sys.exit(main())

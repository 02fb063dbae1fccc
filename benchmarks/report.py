"""What a benchmark found: shown on the terminal, kept as JSON, and written into ``docs/benchmarks.md``.

Belongs here: figures, tables, the machine, how they are laid out. Does not: measuring.
"""

import json
import math
import os
import platform
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import psutil
from rich.console import Console
from rich.table import Table as RichTable

from benchmarks.measure import Series

HEAD = """# Benchmarks

Made by `make bench`. Each table was measured in one run, ours and the peers in turn: the median of the repetitions, the least and the
greatest in brackets. "2.0 x" says that ours is twice as good as that peer, by the ratio of the medians. Compare within a table only:
another machine, or another load on it, gives other numbers.
"""
GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Goal:
    """What a figure should be, and whether it is."""

    text: str
    met: bool


@dataclass(frozen=True, slots=True)
class Figure:
    """One row of a table.

    Attributes:
        what: What was measured.
        unit: Of the values.
        results: The series by column; the first column is ours.
        higher_is_better: Whether more is better.
        compared: Whether a ratio to ours says anything.
        goal: What ours should be.
    """

    what: str
    unit: str
    results: Mapping[str, Series]
    higher_is_better: bool = True
    compared: bool = True
    goal: Goal | None = None

    def advantage(self, ours: str, peer: str) -> float:
        """Return how many times better than a peer ours is."""
        mine, its = self.results[ours].median, self.results[peer].median
        return mine / its if self.higher_is_better else its / mine


@dataclass(frozen=True, slots=True)
class Table:
    """Figures with the same columns.

    Attributes:
        title: What they are about.
        columns: Who was measured; the first is ours.
        figures: The rows.
        notes: What a reader must know to read them rightly.
    """

    title: str
    columns: Sequence[str]
    figures: Sequence[Figure]
    notes: Sequence[str] = ()

    def headings(self) -> list[str]:
        """Return what stands above the cells."""
        return [self.title, "unit", *self.columns, "goal"]

    def rows(self) -> list[list[str]]:
        """Return the cells as text: what, unit, one for each column, the goal."""
        return [
            [
                figure.what,
                figure.unit,
                *(self._cell(figure, column) for column in self.columns),
                "" if figure.goal is None else f"{figure.goal.text}: {'met' if figure.goal.met else 'missed'}",
            ]
            for figure in self.figures
        ]

    def _cell(self, figure: Figure, column: str) -> str:
        series = figure.results.get(column)
        if series is None:
            return ""
        spread = "" if series.low == series.high else f" ({_number(series.low)} - {_number(series.high)})"
        ours = self.columns[0]
        compares = figure.compared and column != ours and ours in figure.results
        return f"{_number(series.median)}{spread}{f', {_number(figure.advantage(ours, column))} x' if compares else ''}"


@dataclass(frozen=True, slots=True)
class Report:
    """All that one subject found.

    Attributes:
        name: Of the file and the section.
        title: Of the section.
        packages: Whose versions matter, as distributions of this environment.
        tables: What was measured.
        versions: Versions that this environment cannot tell, by package.
        load: What else the machine did when it began: processes that were ready to run, over one minute.
    """

    name: str
    title: str
    packages: Sequence[str]
    tables: Sequence[Table]
    versions: Mapping[str, str] = field(default_factory=dict)
    load: float = 0.0

    def setting(self) -> dict[str, Any]:
        """Return when and on what it was measured."""
        return {
            "date": datetime.now(UTC).date().isoformat(),
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": round(psutil.virtual_memory().total / GIB, 1),
            "system": f"{platform.system()} {platform.release().partition('-')[0]}",
            "python": platform.python_version(),
            "load_at_start": round(self.load, 1),
            "versions": {**{name: _version(name) for name in self.packages}, **self.versions},
        }


def show(report: Report, console: Console) -> None:
    """Print the tables."""
    for table in report.tables:
        shown = RichTable(title=f"{report.title}: {table.title}", title_justify="left")
        for heading in table.headings():
            justify = _justify(table, heading)
            shown.add_column("" if heading == table.title else heading, justify=justify)
        for row in table.rows():
            shown.add_row(*row)
        console.print(shown)
        for note in table.notes:
            console.print(f"  {note}", highlight=False)


def write_json(report: Report, folder: Path) -> Path:
    """Write everything, each repetition included, and return the path."""
    path = folder / f"{report.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    content = {"setting": report.setting(), **asdict(report)}
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path


def write_markdown(report: Report, path: Path) -> None:
    """Replace the report's section of the page, or add it at the end; the page is made where there is none."""
    page = path.read_text() if path.exists() else HEAD
    begin, finish = f"<!-- {report.name}: begin -->", f"<!-- {report.name}: end -->"
    section = f"{begin}\n{markdown(report)}{finish}\n"
    pattern = re.compile(re.escape(begin) + ".*" + re.escape(finish) + "\n", re.DOTALL)
    page = pattern.sub(lambda _: section, page) if pattern.search(page) else f"{page}\n{section}"
    path.write_text(page)


def markdown(report: Report) -> str:
    """Return a report as a section of a page."""
    setting = report.setting()
    versions = ", ".join(f"{name} {number}" for name, number in setting["versions"].items())
    lines = [
        f"## {report.title}",
        "",
        (
            f"{setting['date']}, {setting['processor']}, {setting['cores']} cores, {setting['memory_gib']:g} GiB, "
            f"{setting['system']}, Python {setting['python']}, load {setting['load_at_start']:g} at the start; {versions}."
        ),
        "",
    ]
    for table in report.tables:
        headings = table.headings()
        marks = ("---:" if _justify(table, heading) == "right" else "---" for heading in headings)
        lines += [f"| {' | '.join(headings)} |", f"|{'|'.join(marks)}|"]
        lines += [f"| {' | '.join(row)} |" for row in table.rows()]
        lines += ["", *(f"- {note}" for note in table.notes), *([""] if table.notes else [])]
    return "\n".join(lines)


def _justify(table: Table, heading: str) -> Literal["left", "right"]:
    """Return the side on which a column's cells stand: numbers on the right."""
    return "right" if heading in table.columns else "left"


def _number(value: float) -> str:
    """Return three digits that count, and all those before the point."""
    decimals = 0 if float(value).is_integer() else max(0, 2 - max(-1, math.floor(math.log10(abs(value)))))
    return f"{value:,.{decimals}f}"


def _processor() -> str:
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    except OSError:
        found = None
    return found[1] if found else platform.processor() or platform.machine()


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "of this checkout"

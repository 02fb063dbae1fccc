"""What ``make demo`` shows at its end, made from ``report.json`` alone: a table for the terminal, and a page with pictures.

Belongs here: words and layout. Does not: gathering what is reported (``cli/demo.py``), drawing (``fraudit_dagster/figures.py``).
"""

from collections.abc import Iterator, Mapping
from datetime import datetime
from html import escape
from typing import Any

from rich.table import Table

from fraudit_dagster import figures
from fraudit_dagster.records import CostOfThreshold, PrecisionOverRecall

STYLE = """
:root { color-scheme: light dark; --ground: #ffffff; --page: #f5f6f8; --ink: #1c2430; --muted: #6b7280; --line: #dfe3e8;
  --good: #3b6ea8; --fraud: #c8403f; --review: #b7791f; --block: #5b3a8e }
@media (prefers-color-scheme: dark) { :root { --ground: #1a2029; --page: #11151b; --ink: #e4e8ee; --muted: #9aa4b2;
  --line: #2f3945; --good: #79aee6; --fraud: #f0807e; --review: #e0ab57; --block: #b797ea } }
* { box-sizing: border-box }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif }
main { max-width: 1180px; margin: 0 auto; padding: 2rem 1rem 3rem }
h1 { font-size: 1.6rem; line-height: 1.2; margin: 0 } h2 { font-size: 1.1rem; margin: 2rem 0 .6rem }
p { margin: .4rem 0; color: var(--muted) }
.badge { border: 1px solid var(--review); color: var(--review); border-radius: 1rem; padding: 0 .6rem; font-size: .8rem;
  vertical-align: middle; white-space: nowrap; font-weight: 400 }
.tiles, .pictures { display: grid; gap: 1rem }
.tiles { grid-template-columns: repeat(auto-fit, minmax(170px, 1fr)); margin: 1.4rem 0 }
.pictures { grid-template-columns: repeat(auto-fit, minmax(min(100%, 440px), 1fr)) }
.tile, figure, .table { background: var(--ground); border: 1px solid var(--line); border-radius: .5rem; padding: .8rem 1rem; margin: 0 }
.tile b { display: block; font-size: 1.5rem; line-height: 1.3; font-variant-numeric: tabular-nums }
.tile span, figcaption { color: var(--muted); font-size: .9rem }
figcaption { margin-bottom: .4rem }
figure svg { display: block; width: 100%; height: auto; fill: currentColor }
.table { overflow-x: auto } table { border-collapse: collapse; width: 100% }
th { text-align: left; font-weight: 600; white-space: nowrap; padding-right: 1.2rem !important }
th, td { padding: .35rem 0; vertical-align: top; border-top: 1px solid var(--line) } tr:first-child > * { border-top: 0 }
"""


def rows_of(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield what was found out, a name and a sentence each."""
    dataset, policy, stream, api = (report[key] for key in ("dataset", "policy", "stream", "api"))
    kind = "synthetic transactions" if dataset["synthetic"] else "transactions"
    yield "data", f"{dataset['rows']:,} {kind}, {dataset['frauds']:,} frauds"
    for name, score in report["models"].items():
        words = f"average precision {score['average_precision']:.3f}, ROC-AUC {score['roc_auc']:.3f}"
        yield name.replace("_", " "), words
    yield "decision", f"review from {policy['review_at']:.3g}, block from {policy['block_at']:.3g}"
    spent, without = policy["expected_cost"], policy["cost_without_model"]
    yield "cost", f"{spent:,.0f} on the test part; without a model {without:,.0f}"
    yield (
        "API",
        f"{api['requests']:,} requests, {api['errors']} errors, p50 {api['p50_ms']} ms, p99 {api['p99_ms']} ms",
    )
    yield (
        "stream",
        (
            f"{stream['sent']:,} sent, {stream['stored']:,} stored, {stream['duplicates']} twice, "
            f"{stream['quarantined']} in quarantine, p95 {stream['p95_delay_ms']:,.0f} ms"
        ),
    )
    for day in report["daily"]:
        yield day["day"], f"{day['transactions']:,} transactions, {day['flagged']:,} flagged"
    yield "time", ", ".join(f"{name} {seconds:.0f} s" for name, seconds in report["timings_s"].items())
    yield "used again", "; ".join(report["used_again"]) or "nothing"


def closing_table(report: Mapping[str, Any]) -> Table:
    """Return the table that ends a demo on the terminal."""
    table = Table(show_header=False, title=_title(report))
    for label, text in rows_of(report):
        table.add_row(label, text)
    return table


def page(report: Mapping[str, Any]) -> str:
    """Return the report as one HTML document that needs no network and no script, for light and dark screens."""
    badge = '<span class="badge">synthetic data</span>' if report["dataset"]["synthetic"] else ""
    rows = "".join(f"<tr><th>{escape(name)}</th><td>{escape(text)}</td></tr>" for name, text in rows_of(report))
    tiles = "".join(
        f'<div class="tile"><b>{escape(n)}</b><span>{escape(text)}</span></div>' for n, text in _tiles(report)
    )
    drawn = "".join(
        f"<figure><figcaption>{escape(picture.title)}</figcaption>{picture.svg()}</figure>"
        for picture in _pictures(report)
    )
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_title(report)}</title><style>{STYLE}</style></head><body><main>"
        f"<h1>fraudit demo {badge}</h1><p>{escape(report['ended_at'])}, {escape(report['machine'])}. "
        f"Table: {escape(report['dataset']['source'])}.</p>"
        f'<div class="tiles">{tiles}</div><h2>In pictures</h2><div class="pictures">{drawn}</div>'
        f'<h2>In words</h2><div class="table"><table>{rows}</table></div></main></body></html>\n'
    )


def _title(report: Mapping[str, Any]) -> str:
    return "fraudit demo" + (" (synthetic data)" if report["dataset"]["synthetic"] else "")


def _tiles(report: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    policy, stream, api = report["policy"], report["stream"], report["api"]
    yield f"{report['models']['xgboost']['average_precision']:.3f}", "average precision of the classifier, test part"
    if policy["cost_without_model"] > 0:
        saved = 1 - policy["expected_cost"] / policy["cost_without_model"]
        yield f"{saved:.0%}", "of the cost of fraud saved, test part"
    yield f"{api['p50_ms']:.0f} / {api['p99_ms']:.0f} ms", "a decision: median / 99th percentile"
    yield f"{stream['stored']:,} of {stream['sent']:,}", "transactions stored, each once"
    yield f"{report['timings_s']['total']:.0f} s", "for all of it"


def _pictures(report: Mapping[str, Any]) -> Iterator[figures.Picture]:
    curves, policy, hours, api = (report[key] for key in ("curves", "policy", "hours", "api"))
    ranking = PrecisionOverRecall.model_validate(curves["precision_over_recall"])
    yield figures.precision_recall(ranking, rows="test part")
    thresholds = {"review": policy["review_at"], "block": policy["block_at"]}
    yield figures.cost(CostOfThreshold.model_validate(curves["cost"]), thresholds, rows="validation part")
    traffic = f"{api['requests']:,} requests"
    if api["latency_counts"]:
        marks = {"p50": api["p50_ms"], "p99": api["p99_ms"]}
        yield figures.latencies(api["latency_edges_ms"], api["latency_counts"], marks, of=traffic)
    if hours:
        yield figures.decisions(
            [datetime.fromisoformat(hour["hour"]) for hour in hours],
            {name: [hour[name] for hour in hours] for name in figures.DECISIONS},
            of=traffic,
        )

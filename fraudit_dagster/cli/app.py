"""The command ``fraudit``.

Belongs here: turning words on a command line into calls, and errors into one clear message. Does not: any work.
Everything heavy is imported by the command that needs it.
"""

import sys
import warnings
from datetime import datetime
from pathlib import Path
from typing import Annotated, Literal

import typer

from fraudit_dagster.cli.deploy.commands import DryRun, deploy_app

app = typer.Typer(
    no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, help="Real-time card fraud detection."
)
keys_app = typer.Typer(no_args_is_help=True, help="Keys of the prediction API.")
stream_app = typer.Typer(no_args_is_help=True, help="The Spark stream job.")
warehouse_app = typer.Typer(no_args_is_help=True, help="The database behind the stream.")
replay_app = typer.Typer(no_args_is_help=True, help="What was put aside, back to where it belongs.")
alerts_app = typer.Typer(no_args_is_help=True, help="Who is told of blocked transactions and of what is wrong.")
graph_app = typer.Typer(no_args_is_help=True, help="Jobs of the graph, as the Dagster UI runs them.")
data_app = typer.Typer(no_args_is_help=True, help="The table of transactions.")
app.add_typer(keys_app, name="keys")
app.add_typer(stream_app, name="stream")
app.add_typer(warehouse_app, name="warehouse")
app.add_typer(replay_app, name="replay")
app.add_typer(alerts_app, name="alerts")
app.add_typer(graph_app, name="graph")
app.add_typer(data_app, name="data")
app.add_typer(deploy_app, name="deploy")

State = Annotated[Path, typer.Option(help="Folder with everything the local world keeps.", envvar="FRAUDIT_STATE_DIR")]
DEFAULT_STATE = Path("var")


@app.command()
def up(
    *,
    state: State = DEFAULT_STATE,
    only: Annotated[str | None, typer.Option(help="Services to start, with commas; others stay off.")] = None,
    foreground: Annotated[bool, typer.Option(help="Stay until Ctrl-C.")] = False,
) -> None:
    """Start the local world: embedded AWS, PostgreSQL, API, stream, Dagster. Returns when all is healthy."""
    from fraudit_dagster.cli import world

    world.start(state, only=only.split(",") if only else None, foreground=foreground)
    world.show_addresses(state)


@app.command()
def down(*, state: State = DEFAULT_STATE) -> None:
    """Stop the local world; its state stays."""
    from fraudit_dagster.cli import world

    world.stop(state)


@app.command()
def status(
    *, state: State = DEFAULT_STATE, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False
) -> None:
    """Say what lives, where, since when."""
    from fraudit_dagster.cli import world

    world.show_status(state, as_json=as_json)


@app.command()
def env(*, state: State = DEFAULT_STATE) -> None:
    """Print the export lines that point any boto3 program to the local world."""
    from fraudit_dagster.cli import world

    typer.echo(world.export_lines(state))


@app.command()
def prepare() -> None:
    """Make a new environment ready: migrate the warehouse, upload the stream job, know the API key. Safe to repeat."""
    from fraudit_dagster.cli import operate

    for line in operate.prepare():
        typer.echo(line)


@keys_app.command("create")
def create_key(*, label: Annotated[str, typer.Option(help="Who will use it.")]) -> None:
    """Make an API key and print it; only its hash is kept."""
    from fraudit_dagster.cli import keys

    typer.echo(keys.create(label))


@keys_app.command("list")
def list_keys(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Every key that there is or was: id, label, times; never the key."""
    from fraudit_dagster.cli import keys

    keys.show(as_json=as_json)


@keys_app.command("revoke")
def revoke_key(key_id: Annotated[str, typer.Argument(help="As `fraudit keys list` shows it.")]) -> None:
    """Refuse a key from now on; says when the API will have forgotten it. Safe to repeat."""
    from fraudit_dagster.cli import keys

    typer.echo(keys.revoke(key_id))


@stream_app.command("start")
def start_stream() -> None:
    """Start the stream job; does nothing where it runs."""
    from fraudit_dagster.cli import operate

    typer.echo(f"run {operate.start_stream()}")


@stream_app.command("stop")
def stop_stream() -> None:
    """Stop the stream job at the border of a batch, and wait until it has stopped. No monitor starts it again."""
    from fraudit_dagster.cli import operate

    operate.stop_stream()
    typer.echo("stopped")


@stream_app.command("restart")
def restart_stream() -> None:
    """Stop the stream job, if it runs, and start it: what new code or new arguments need."""
    from fraudit_dagster.cli import operate

    typer.echo(f"run {operate.restart_stream()}")


@warehouse_app.command("migrate")
def migrate_warehouse(*, dry_run: DryRun = False) -> None:
    """Bring tables and roles to what this version needs, as the owner of the database. Safe to repeat."""
    from fraudit_dagster.cli import warehouse

    for line in warehouse.pending() if dry_run else warehouse.migrate():
        typer.echo(line)


@warehouse_app.command("drop-day")
def drop_day(day: Annotated[datetime, typer.Argument(formats=["%Y-%m-%d"], help="An archived day, UTC.")]) -> None:
    """Delete the rows of a day that is archived. Safe to interrupt and to repeat."""
    from fraudit_dagster.cli import warehouse

    warehouse.drop_day(day.date())


@replay_app.command("dead-letters")
def replay_dead_letters(
    *,
    day: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only those of this day, UTC; unset: all.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Read and check them; put and delete nothing.")] = False,
) -> None:
    """Put the events that Kinesis would not take on the stream. Safe to interrupt and to repeat."""
    from fraudit_dagster.cli import replay

    replay.dead_letters(day=day.date() if day else None, dry_run=dry_run)


@replay_app.command("quarantine")
def replay_quarantine(
    *,
    reason: Annotated[
        Literal["not_json", "unknown_version", "unknown_type", "invalid", "outside_window"] | None,
        typer.Option(help="Only those that were refused for it; unset: all but conflicts."),
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would become of them; change nothing.")] = False,
) -> None:
    """Store the quarantined events that are valid by now. Safe to interrupt and to repeat."""
    from fraudit_dagster.cli import quarantine

    quarantine.quarantined(reason=reason, dry_run=dry_run)


@alerts_app.command("subscribe")
def subscribe(
    protocol: Annotated[Literal["email", "https", "sqs"], typer.Argument(help="How to tell.")],
    endpoint: Annotated[str, typer.Argument(help="An address, an https:// URL, or the ARN of a queue.")],
    *,
    topic: Annotated[
        Literal["fraud", "operations"],
        typer.Option(help="fraud: a transaction was blocked; operations: something is wrong."),
    ],
) -> None:
    """Tell somebody, by SNS. Safe to repeat."""
    from fraudit_dagster.cli import alerts

    typer.echo(alerts.subscribe(protocol, endpoint, topic=topic))


@alerts_app.command("list")
def list_alerts(*, as_json: Annotated[bool, typer.Option("--json", help="For programs.")] = False) -> None:
    """Who is told of what, and who has yet to confirm it."""
    from fraudit_dagster.cli import alerts

    alerts.show(as_json=as_json)


AsJson = Annotated[bool, typer.Option("--json", help="One JSON object per event, for programs.")]


Config = Annotated[Path | None, typer.Option(help="Run config of the steps, YAML, as in the UI's launchpad.")]


@graph_app.command()
def bootstrap(*, config: Config = None, as_json: AsJson = False) -> None:
    """From the raw table to a served manifest."""
    _run_job("bootstrap", config, as_json=as_json)


@graph_app.command()
def retrain(*, config: Config = None, as_json: AsJson = False) -> None:
    """New candidates from the raw table as it stands; they serve only if they are no worse."""
    _run_job("retrain", config, as_json=as_json)


@graph_app.command()
def promote(*, as_json: AsJson = False) -> None:
    """The newest candidate serves, if the registry has approved it and it passes the gate."""
    _run_job("promote", None, as_json=as_json)


@graph_app.command()
def rollback(
    *,
    to: Annotated[str | None, typer.Option(help="Manifest version; none: the one that served before.")] = None,
    as_json: AsJson = False,
) -> None:
    """An earlier manifest serves again."""
    from fraudit_dagster.cli import graph

    graph.run("rollback", as_json=as_json, config={"ops": {"roll_back": {"config": {"to": to}}}})


@graph_app.command()
def clean_up(*, as_json: AsJson = False) -> None:
    """Delete the endpoints of rejected, superseded and long replaced models."""
    _run_job("clean_up", None, as_json=as_json)


def _run_job(job: str, config: Path | None, *, as_json: bool) -> None:
    from fraudit_dagster.cli import graph

    graph.run(job, as_json=as_json, config=graph.read_config(config) if config else None)


@graph_app.command()
def daily(
    *,
    first: Annotated[str, typer.Option(help="First day, YYYY-MM-DD, UTC.")],
    last: Annotated[str, typer.Option(help="Last day, YYYY-MM-DD, UTC.")],
    as_json: AsJson = False,
) -> None:
    """Recompute the daily tables of a range of days, in one run."""
    from fraudit_dagster.cli import graph

    graph.run("daily", as_json=as_json, days=(first, last))


@graph_app.command()
def backtest(
    *,
    days: Annotated[int, typer.Option(min=1, help="So many archived days, the newest ones.")] = 7,
    as_json: AsJson = False,
) -> None:
    """The newest candidate against what serves, on transactions that have happened."""
    from fraudit_dagster.cli import graph

    graph.run("backtest", as_json=as_json, config={"ops": {"model__backtest": {"config": {"days": days}}}})


@data_app.command("download")
def download_data(
    *,
    source: Annotated[
        Literal["kaggle", "openml"] | None, typer.Option(help="Unset: kaggle where there is a token, else openml.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Also where the file is there already.")] = False,
) -> None:
    """Fetch the public credit card table to dataset/creditcard.csv; continues what broke off."""
    from fraudit_dagster.cli import data

    typer.echo(data.download(source=source, force=force))


@data_app.command("upload")
def upload_data(
    *,
    file: Annotated[Path | None, typer.Option(help="Unset: dataset/creditcard.csv.")] = None,
    landing: Annotated[bool, typer.Option("--landing", help="Where the sensor new_data takes it.")] = False,
    dry_run: DryRun = False,
) -> None:
    """Upload a table to the data bucket, unless it is there already."""
    from fraudit_dagster.cli import data

    typer.echo(data.upload(file=file, landing=landing, dry_run=dry_run))


@app.command()
def simulate(
    *,
    events: Annotated[
        int, typer.Option(min=1, help="Transactions to send; more than rows: again from the first.")
    ] = 1000,
    rate: Annotated[float | None, typer.Option(min=0.001, help="Per second; unset: flat out.")] = None,
    concurrency: Annotated[
        int | None, typer.Option(min=1, help="Requests under way at most; unset: 4 flat out, 64 at a rate.")
    ] = None,
    order: Annotated[Literal["time", "shuffled"], typer.Option(help="Of sending.")] = "time",
    days: Annotated[float, typer.Option(min=0.01, max=89, help="That the transactions are spread over.")] = 2,
    end: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Day before which they end, UTC; unset: today.")
    ] = None,
    feedback: Annotated[float, typer.Option(min=0, max=1, help="Share of them whose label is sent later.")] = 0.1,
    label_delay: Annotated[
        float | None, typer.Option(min=0.0001, help="Median days to a chargeback; unset: a quarter of --days.")
    ] = None,
    drift: Annotated[
        float | None,
        typer.Option(min=0.001, help="Standard deviations by which the inputs move in the second half of the days."),
    ] = None,
    seed: Annotated[int | None, typer.Option(min=0, help="Same seed, same requests; unset: a new one.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object at the end, for programs.")] = False,
) -> None:
    """Send the test part of the data to the API as its customers would. Ctrl-C ends it and sums up."""
    from fraudit_dagster.cli import simulate as traffic

    plan = traffic.planned(
        events=events,
        seed=seed,
        days=days,
        end=end,
        order=order,
        feedback=feedback,
        label_delay=label_delay,
        drift=drift,
        rate=rate,
        concurrency=concurrency,
    )
    raise typer.Exit(traffic.run(plan, as_json=as_json))


@app.command()
def verify(
    *,
    run: Annotated[
        str | None, typer.Option(help="Only this run of the simulator; unset: all that Kinesis keeps.")
    ] = None,
    answered: Annotated[
        int | None, typer.Option(min=0, help="Transactions that the client says were answered.")
    ] = None,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait while nothing more arrives.")] = 60.0,
) -> None:
    """Compare client, Kinesis, warehouse and quarantine, event by event; fails where something is missing."""
    from fraudit_dagster.cli import verify as account

    account.verify(run=run, answered=answered, patience_s=patience)


@app.command()
def smoke(
    *,
    events: Annotated[int, typer.Option(min=1, help="Transactions to send.")] = 100,
    patience: Annotated[float, typer.Option(min=0, help="Seconds to wait while nothing more is stored.")] = 60.0,
) -> None:
    """Send some transactions through all parts; fails unless each became a row of the warehouse."""
    from fraudit_dagster.cli import smoke as test

    test.run(events=events, patience_s=patience)


@app.command()
def demo(
    *,
    dataset: Annotated[str | None, typer.Option(help="A path, an s3:// URI or synthetic.")] = None,
    contract: Annotated[Path | None, typer.Option(help="A data contract.")] = None,
    events: Annotated[int, typer.Option(min=1, help="Transactions to send.")] = 1000,
    keep: Annotated[bool, typer.Option(help="Leave everything running afterwards.")] = False,
    state: Annotated[Path, typer.Option(help="Folder of the demo's own world; emptied first.")] = Path("var/demo"),
    setup_s: Annotated[float, typer.Option(hidden=True, help="What the set-up before took, for the report.")] = 0.0,
) -> None:
    """Everything once, on this machine: train, deploy, predict, stream, store, sum up."""
    from fraudit_dagster.cli import demo as show

    show.run(folder=state, dataset=dataset, contract=contract, events=events, keep=keep, setup_s=setup_s)


def main() -> None:
    """Run the command; an error of ours is one message and exit code 1, never a stack trace."""
    from fraudit_dagster.cli.errors import known_errors

    warnings.filterwarnings("ignore", message=".* is currently in beta, and may have breaking changes")
    try:
        app()
    except known_errors() as error:
        typer.secho(f"fraudit: {error}", fg="red", err=True)
        sys.exit(getattr(error, "exit_code", 1))

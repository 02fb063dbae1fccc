"""Why a run failed, as people are told it."""

import dagster as dg
import pytest

from jobs.failures import reasons_of


class LostError(RuntimeError):
    """An error of ours."""


@dg.op
def step_that_loses_its_table() -> None:
    """Fail because something below failed."""
    try:
        raise KeyError("NoSuchKey")  # noqa: TRY301
    except KeyError as error:
        raise LostError("the table is gone: materialize it first") from error


@dg.op(out=dg.Out(int))
def step_that_gives_text() -> str:
    """Fail by Dagster's own check."""
    return "text"


@dg.asset(check_specs=[dg.AssetCheckSpec("fits", asset="thing", blocking=True)])
def thing() -> dg.MaterializeResult:
    """Fail by a check."""
    return dg.MaterializeResult(
        check_results=[dg.AssetCheckResult(passed=False, description="3 rows do not", check_name="fits")]
    )


def reasons(job: dg.JobDefinition) -> list[str]:
    with dg.DagsterInstance.ephemeral() as instance:
        return reasons_of(instance, job.execute_in_process(instance=instance, raise_on_error=False).run_id)


@pytest.mark.parametrize(
    ("op", "said"),
    [
        (step_that_loses_its_table, "step_that_loses_its_table: the table is gone: materialize it first"),
        (step_that_gives_text, 'step_that_gives_text: Type check failed for step output "result"'),
    ],
)
def test_a_step_is_told_in_the_words_of_its_own_error(op: dg.OpDefinition, said: str) -> None:
    (reason,) = reasons(dg.GraphDefinition("job", node_defs=[op]).to_job())
    assert reason.startswith(said)
    assert "NoSuchKey" not in reason


def test_a_blocking_check_is_told_with_what_it_found() -> None:
    definitions = dg.Definitions(assets=[thing])
    (reason,) = reasons(definitions.resolve_implicit_global_asset_job_def())
    assert reason == "thing: check fits: 3 rows do not"

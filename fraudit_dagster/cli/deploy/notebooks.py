"""``fraudit deploy notebooks``: what the notebook instance takes when it starts, in a folder of the model bucket.

Belongs here: which files these are, what each holds, and bringing the folder to that. Does not: what the instance does with them
(``infra/terraform/modules/training/on_start.sh``).
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.checksums import CHECKSUMS, as_file, digests, read_sums
from fraudit_dagster.cli.deploy.wheels import build_wheel
from fraudit_dagster.contract import SHIPPED_CONTRACT, load_contract
from fraudit_dagster.settings import PROJECT_DIR, Settings
from resources.deployment import build_storage

SOURCE = PROJECT_DIR / "notebooks"
FOLDER = "notebooks/instance"
"""In the model bucket; ``on_start.sh`` names it too."""
CONTRACT, SETTINGS = "contract.yaml", "settings.env"
LOCKS = ("requirements.lock", "requirements-uv.lock")
"""The first only limits, with hashes: what the notebooks do not ask for, such as Spark, stays out."""
REQUIREMENTS = "requirements.txt"
KERNEL = {"name": "fraudit", "display_name": "fraudit", "language": "python"}


def as_notebook(source: Path) -> bytes:
    """Return the notebook that a percent script is, the same bytes each time."""
    import jupytext
    import nbformat

    notebook = jupytext.read(source, fmt="py:percent")
    notebook.metadata = nbformat.from_dict({"kernelspec": KERNEL})
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place}"  # else a random one
    return (str(nbformat.writes(notebook)) + "\n").encode()


def wanted_files(settings: Settings) -> dict[str, bytes]:
    """Return what belongs into the folder, by name.

    Raises:
        CommandError: The wheel could not be built.
        ContractError: The contract is wrong.
    """
    contract = settings.contract or SHIPPED_CONTRACT
    load_contract(contract)
    files = {
        "workbench.py": (SOURCE / "workbench.py").read_bytes(),
        CONTRACT: contract.read_bytes(),
        SETTINGS: _environment(settings).encode(),
        REQUIREMENTS: (SOURCE / REQUIREMENTS).read_bytes(),
        **{name: (PROJECT_DIR / name).read_bytes() for name in LOCKS},
    }
    for source in sorted(SOURCE.glob("train_*.py")):
        files[source.with_suffix(".ipynb").name] = as_notebook(source)
    name, wheel = build_wheel(PROJECT_DIR)
    return {**files, name: wheel}


def changes(settings: Settings) -> Iterator[Change]:
    """Yield what differs between the folder and what it should hold.

    Raises:
        CommandError: The wheel could not be built.
        ContractError: The contract is wrong.
        StorageError: S3 refused, or could not be reached.
    """
    storage = build_storage(settings)
    prefix = f"s3://{storage.model_bucket}/{FOLDER}"
    wanted = wanted_files(settings)
    sums = digests(wanted)
    before = read_sums(storage, prefix)
    there = {found.uri.removeprefix(f"{prefix}/") for found in storage.objects(f"{prefix}/")} - {CHECKSUMS}
    for name, body in wanted.items():
        uri = f"{prefix}/{name}"
        if name not in there or before.get(name) != sums[name]:
            known = f"sha256 {before.get(name, 'unknown')[:12]}" if name in there else None
            yield Change(uri, known, f"sha256 {sums[name][:12]}", partial(storage.write, uri, body))
    for name in sorted(there - set(wanted)):
        yield Change(f"{prefix}/{name}", "not of this version", None, partial(storage.delete, [f"{prefix}/{name}"]))
    if before != sums:
        # Last: the instance takes the folder only when it fits this file.
        uri = f"{prefix}/{CHECKSUMS}"
        yield Change(uri, "older" if before else None, "of these files", partial(storage.write, uri, as_file(sums)))


def _environment(settings: Settings) -> str:
    """The settings of a notebook: no secret is among them."""
    values = {
        "AWS_REGION": settings.aws_region,
        "AWS_DEFAULT_REGION": settings.aws_region,
        "FRAUDIT_STAGE": settings.stage,
        "FRAUDIT_SOLUTION_PREFIX": settings.solution_prefix,
        "FRAUDIT_CONTRACT": CONTRACT,
        "SPARK_DATA_BUCKET": settings.data_bucket,
        "SPARK_STREAMING_BUCKET": settings.stream_bucket,
        "MODEL_BUCKET": settings.model_bucket,
        "SAGEMAKER_ROLE_ARN": settings.sagemaker_role_arn,
        "FRAUDIT_REVIEW_COST": settings.review_cost,
        "FRAUDIT_FALSE_BLOCK_COST": settings.false_block_cost,
        "FRAUDIT_LOST_SHARE": settings.lost_share,
    }
    return "".join(f"{name}={value}\n" for name, value in values.items())

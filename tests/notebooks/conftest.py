"""A deployment whose table is divided, and one Jupyter kernel: SageMaker's SDK takes seconds to import, once for all notebooks."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import nbformat
import numpy as np
import pandas as pd
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

from fraudit_dagster.cli.deploy.notebooks import as_notebook
from fraudit_dagster.contract import Contract, load_contract
from fraudit_dagster.settings import PROJECT_DIR, Settings, load_settings
from fraudit_dagster.synthetic import write_synthetic
from tests.conftest import unique

NOTEBOOKS = PROJECT_DIR / "notebooks"
NARROW = PROJECT_DIR / "tests" / "graph" / "narrow.yaml"
LONGEST_CELL_S = 300

NOTE_CALLS = """
from botocore.client import BaseClient
if not hasattr(BaseClient, "calls"):
    BaseClient.calls, BaseClient.unnoted = [], BaseClient._make_api_call
    def noted(self, operation, arguments):
        self.calls.append([self.meta.service_model.signing_name, operation, arguments])
        return self.unnoted(operation, arguments)
    BaseClient._make_api_call = noted
BaseClient.calls.clear()
"""
"""A cell before the others: what is asked of AWS, by whichever of the SDK's clients."""
TELL = """
import json
print(json.dumps({name: globals()[name] for name in ("money", "found", "problem") if name in globals()}
    | {"metrics": metrics.as_dict(), "calls": BaseClient.calls, "name": bench.name}, default=str))
"""
"""A cell after the others: what was found, as numbers."""


@dataclass(frozen=True)
class Ran:
    """A notebook with its outputs, and what it says that it found."""

    notebook: Any
    told: dict[str, Any]

    def pictures(self) -> list[str]:
        """The pictures among the outputs, encoded."""
        return [
            output.data["image/png"]
            for cell in self.notebook.cells
            for output in cell.get("outputs", [])
            if "image/png" in output.get("data", {})
        ]


@dataclass(frozen=True)
class Lab:
    """A deployment as a notebook instance sees it, and its kernel."""

    settings: Settings
    contract: Contract
    kernel: KernelManager

    def run(self, name: str, *, change: Callable[[str], str] = str) -> Ran:
        """Run a notebook as "Run all" does, in a namespace of its own.

        Args:
            name: Of its source.
            change: Of the source of each cell.

        Raises:
            CellExecutionError: A cell failed; those after it did not run.
        """
        notebook = nbformat.reads(as_notebook(NOTEBOOKS / f"{name}.py").decode(), as_version=4)
        for cell in notebook.cells:
            cell.source = change(cell.source)
        for place, source in ((0, NOTE_CALLS), (0, "%reset -f"), (len(notebook.cells) + 2, TELL)):
            notebook.cells.insert(place, nbformat.v4.new_code_cell(source))
        client = NotebookClient(notebook, km=self.kernel, timeout=LONGEST_CELL_S)
        try:
            client.execute()
        finally:
            assert client.kc is not None
            client.kc.stop_channels()
        return Ran(notebook, json.loads(notebook.cells[-1].outputs[-1].text))

    def left_over(self) -> list[str]:
        """Names of what SageMaker still has of the notebooks: endpoints, their configurations, models."""
        client: Any = boto3.client("sagemaker")
        start = f"{self.settings.solution_prefix}-notebook-"
        found = [
            *(item["EndpointName"] for item in client.list_endpoints(NameContains=start)["Endpoints"]),
            *(
                item["EndpointConfigName"]
                for item in client.list_endpoint_configs(NameContains=start)["EndpointConfigs"]
            ),
            *(item["ModelName"] for item in client.list_models(NameContains=start)["Models"]),
        ]
        return sorted(found)


def put_parts(settings: Settings, contract: Contract, table: pd.DataFrame) -> None:
    """Write what the graph writes of a table: parts by time, as Parquet and as the CSV of each model's channel."""
    s3: Any = boto3.client("s3")
    start = f"split/{contract.name}/0123456789ab-{contract.sha256[:12]}"
    ordered = table.sort_values(contract.time or contract.inputs[0], kind="stable")
    first, second = int(len(table) * 0.7), int(len(table) * 0.85)
    parts = {"train": ordered[:first], "validation": ordered[first:second], "test": ordered[second:]}
    for name, rows in parts.items():
        labelled = np.column_stack([rows[contract.label], contract.models.xgboost.apply(rows)])
        bodies = {
            "table/part-0.parquet": rows.to_parquet(index=False),
            "xgboost/part-0.csv": pd.DataFrame(labelled).to_csv(index=False, header=False),
            "random_cut_forest/part-0.csv": pd.DataFrame(contract.models.random_cut_forest.apply(rows)).to_csv(
                index=False, header=False
            ),
        }
        for key, body in bodies.items():
            s3.put_object(Bucket=settings.data_bucket, Key=f"{start}/{name}/{key}", Body=body)
    s3.put_object(Bucket=settings.data_bucket, Key=f"{start}/train/profile.json", Body=b"{}")


@pytest.fixture(scope="module")
def lab(local_cloud: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """Buckets and names of its own on the embedded AWS."""
    folder = tmp_path_factory.mktemp("notebooks")
    with pytest.MonkeyPatch.context() as patch:
        variables = {
            **local_cloud,
            **{name: unique("bucket") for name in ("SPARK_DATA_BUCKET", "SPARK_STREAMING_BUCKET", "MODEL_BUCKET")},
            "FRAUDIT_SOLUTION_PREFIX": unique("lab"),
            "FRAUDIT_CONTRACT": str(NARROW),
            "IPYTHONDIR": str(folder / "ipython"),
            "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        }
        for name, value in variables.items():
            patch.setenv(name, value)
        settings, contract = load_settings(env_file=None), load_contract(NARROW)
        s3: Any = boto3.client("s3")
        for bucket in (settings.data_bucket, settings.model_bucket):
            s3.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": settings.aws_region})
        table = folder / "table.parquet"
        write_synthetic(table, rows=6_000, frauds=180, seed=3)
        put_parts(settings, contract, pd.read_parquet(table))
        kernel = KernelManager(kernel_name="python3", transport="ipc", ip=str(folder / "kernel"))
        kernel.start_kernel(cwd=str(NOTEBOOKS))
        try:
            yield Lab(settings, contract, kernel)
        finally:
            kernel.shutdown_kernel(now=True)

"""What this deployment is about: its data contract, its data set, its costs. Settings as the assets see them.

Belongs here: values. Does not: anything remote.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory

import dagster as dg
from pydantic import Field

from fraudit_dagster.contract import Contract, load_contract


class Project(dg.ConfigurableResource):
    """The data contract, the data set and the costs that decisions are made by."""

    contract_file: str | None = Field(
        default=None, description="YAML file of the data contract; none: the shipped creditcard."
    )
    dataset: str | None = Field(default=None, description="A path, an s3:// URI or synthetic; none: the default order.")
    user_file: str = Field(description="Where a user puts a downloaded data set.")
    work_dir: str = Field(description="Scratch space of runs on this machine.")
    code_version: str = Field(description="Version of fraudit that runs.")
    review_cost: float = Field(description="Cost of one review, in the currency of the amounts.")
    false_block_cost: float = Field(
        description="Cost of blocking one good transaction, in the currency of the amounts."
    )
    lost_share: float = Field(description="Share of an approved fraud's amount that is lost, 0 to 1.")
    champion_margin: float = Field(
        description="Average precision that a challenger may lack against the champion on the same rows."
    )
    landing_folder: str = Field(
        default="landing", description="Folder of the data bucket where new files of a table arrive."
    )
    landing_settle_s: float = Field(
        default=60.0, ge=0, description="How long nothing may have arrived before a delivery is complete, in seconds."
    )
    automatic_approval: bool = Field(description="Approve a candidate that is no worse than the champion.")

    @cached_property
    def contract(self) -> Contract:
        """The data contract.

        Raises:
            ContractError: With every wrong line and field.
        """
        return load_contract(Path(self.contract_file) if self.contract_file else None)

    @contextmanager
    def scratch(self) -> Iterator[Path]:
        """Yield an empty folder that is gone afterwards."""
        Path(self.work_dir).mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(dir=self.work_dir) as folder:
            yield Path(folder)

"""BentoML as a peer: both models behind one service.

Runs in the environment of ``benchmarks/requirements.lock``. The folder that ``BENCH_MODELS`` names holds ``forest/`` and
``xgboost/``, as a training job leaves them. A request is ``{"csv": "..."}``, the least that BentoML takes; the scores are
computed by the same code that answers behind InvokeEndpoint, so what differs is the server.
"""

import os
from pathlib import Path

import bentoml
from localaws.algorithms.random_cut_forest import RandomCutForest
from localaws.algorithms.xgboost_container import XGBoost


@bentoml.service(workers=1)
class Peer:
    """Both models in one worker; its methods are coroutines, which spares BentoML a thread for each request."""

    def __init__(self) -> None:
        models = Path(os.environ["BENCH_MODELS"])
        self._forest = RandomCutForest().load(models / "forest")
        self._xgboost = XGBoost().load(models / "xgboost")

    @bentoml.api  # type: ignore[untyped-decorator]  # it is not in the project's environment
    async def forest(self, csv: str) -> str:
        """Score rows by the forest."""
        return self._forest.answer(csv.encode(), content_type="text/csv", accept="").body.decode()

    @bentoml.api  # type: ignore[untyped-decorator]  # it is not in the project's environment
    async def xgboost(self, csv: str) -> str:
        """Score rows by the boosted trees."""
        return self._xgboost.answer(csv.encode(), content_type="text/csv", accept="application/json").body.decode()

"""Amazon CloudWatch: the metrics of the API and of the stream, and the heartbeats of what is watched.

Belongs here: reading metrics by the minute, putting heartbeats. Does not: what a number means (``fraudit_dagster/monitoring.py``);
alarms, which are infrastructure.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any

import dagster as dg
from pydantic import Field

from resources.aws import BRIEF, AwsError, client, translated

NAMESPACE = "fraudit"
PERIOD_S = 60


class CloudWatchError(AwsError):
    """CloudWatch refused a request or could not be reached."""


@dataclass(frozen=True)
class Metric:
    """A statistic of a metric of ours.

    Attributes:
        name: As in ``PredictLatency``.
        statistic: ``Sum``, ``SampleCount``, ``Maximum``, or a percentile as in ``p95``.
        dimensions: Without ``stage``, which every metric has.
    """

    name: str
    statistic: str
    dimensions: Mapping[str, str] = field(default_factory=dict)


class CloudWatch(dg.ConfigurableResource):
    """Metrics of this deployment in Amazon CloudWatch."""

    region: str = Field(description="AWS region.")
    stage: str = Field(description="The dimension that every metric of this deployment has.")
    brief: bool = Field(default=False, description=BRIEF)

    @cached_property
    def _client(self) -> Any:
        return client("cloudwatch", region=self.region, brief=self.brief)

    def minutes(self, metrics: Sequence[Metric], *, last: int, now: datetime) -> list[dict[datetime, float]]:
        """Return for each metric its value by the minute's start, oldest first; minutes without data are left out.

        Args:
            metrics: At most 500.
            last: Minutes before that of ``now``, which is added as far as it has come.
            now: The time.

        Raises:
            CloudWatchError: It was refused, or CloudWatch could not be reached.
        """
        this_minute = now.replace(second=0, microsecond=0)
        queries: list[dict[str, Any]] = [
            {
                "Id": f"m{number}",
                "MetricStat": {
                    "Metric": {
                        "Namespace": NAMESPACE,
                        "MetricName": metric.name,
                        "Dimensions": self._dimensions(metric.dimensions),
                    },
                    "Period": PERIOD_S,
                    "Stat": metric.statistic,
                },
            }
            for number, metric in enumerate(metrics)
        ]
        values: dict[str, dict[datetime, float]] = {query["Id"]: {} for query in queries}
        with translated(
            CloudWatchError, f"read {', '.join(sorted({metric.name for metric in metrics}))} in CloudWatch"
        ):
            pages = self._client.get_paginator("get_metric_data").paginate(
                MetricDataQueries=queries,
                StartTime=this_minute - timedelta(minutes=last),
                EndTime=this_minute + timedelta(minutes=1),
                ScanBy="TimestampAscending",
            )
            for page in pages:
                for result in page["MetricDataResults"]:
                    values[result["Id"]].update(zip(result["Timestamps"], result["Values"], strict=True))
        return list(values.values())

    def beat(self, components: Sequence[str]) -> None:
        """Put one ``Heartbeat`` for each component.

        Raises:
            CloudWatchError: It was refused, or CloudWatch could not be reached.
        """
        with translated(CloudWatchError, "put heartbeats in CloudWatch"):
            self._client.put_metric_data(
                Namespace=NAMESPACE,
                MetricData=[
                    {
                        "MetricName": "Heartbeat",
                        "Dimensions": self._dimensions({"component": component}),
                        "Value": 1,
                        "Unit": "Count",
                    }
                    for component in components
                ],
            )

    def _dimensions(self, more: Mapping[str, str]) -> list[dict[str, str]]:
        return [{"Name": name, "Value": value} for name, value in {"stage": self.stage, **more}.items()]

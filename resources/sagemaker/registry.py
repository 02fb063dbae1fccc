"""The model registry: one package group for each algorithm, in it the versions with their approval.

Belongs here: registering, reading and approving packages. Does not: what earns an approval (``assets/evaluation.py``).
"""

import unicodedata
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fraudit_dagster.records import Algorithm
from resources.aws import translated
from resources.sagemaker.common import SHORT_NAMES, SageMakerClientResource, SageMakerError

if TYPE_CHECKING:
    from mypy_boto3_sagemaker.type_defs import MetadataPropertiesTypeDef

PROPERTIES_LIMIT = 50
KEY_LIMIT_CHARS = 128
VALUE_LIMIT_CHARS = 256
"""Of ``CustomerMetadataProperties``: https://docs.aws.amazon.com/sagemaker/latest/APIReference/API_CreateModelPackage.html."""


@dataclass(frozen=True, slots=True)
class PackageSummary:
    """A model version as a list shows it; ``status`` is its approval: Approved, Rejected or PendingManualApproval."""

    arn: str
    algorithm: Algorithm
    version: str
    status: str
    created_at: datetime


@dataclass(frozen=True, slots=True)
class ModelPackage:
    """A model version with all that deploying it takes; ``status`` is its approval."""

    arn: str
    algorithm: Algorithm
    version: str
    status: str
    image: str
    artifact_uri: str
    created_at: datetime
    properties: dict[str, str]


class Registry(SageMakerClientResource):
    """Model packages in the registry of SageMaker."""

    def register(
        self,
        *,
        algorithm: Algorithm,
        image: str,
        artifact_uri: str,
        token: str,
        properties: Mapping[str, str],
        generated_by: str | None = None,
        commit_id: str | None = None,
    ) -> tuple[str, str]:
        """Put a model into its package group, waiting for approval, and return its ARN and version.

        Args:
            algorithm: Names the package group.
            image: URI of the container that serves it.
            artifact_uri: S3 URI of its ``model.tar.gz``.
            token: Of any length; the same one gives the same version again, so that a retry registers nothing twice.
            properties: What to know of it: at most 50, key up to 128 and value up to 256 letters, digits, spaces, ``_.:/=+-@``.
            generated_by: Lineage: what made it, as the training job.
            commit_id: Lineage: version of the code that made it.

        Raises:
            SageMakerError: A property is none (code ``InvalidRequest``), SageMaker refused, or could not be reached.
        """
        group = self._name(algorithm)
        _check(properties)
        lineage: MetadataPropertiesTypeDef = {}
        if generated_by is not None:
            lineage["GeneratedBy"] = generated_by
        if commit_id is not None:
            lineage["CommitId"] = commit_id
        try:
            with translated(SageMakerError, f"create model package group {group}"):
                self._client.create_model_package_group(ModelPackageGroupName=group)
        except SageMakerError as error:
            if "already exists" not in str(error):
                raise
        with translated(SageMakerError, f"register {artifact_uri} in {group}"):
            arn = self._client.create_model_package(
                ModelPackageGroupName=group,
                InferenceSpecification={
                    "Containers": [{"Image": image, "ModelDataUrl": artifact_uri}],
                    "SupportedContentTypes": ["text/csv"],
                    "SupportedResponseMIMETypes": ["application/json"],
                },
                ModelApprovalStatus="PendingManualApproval",
                MetadataProperties=lineage,
                ClientToken=str(uuid.uuid5(uuid.NAMESPACE_URL, token)),  # SageMaker takes at most 36 characters
                **_described(properties),
            )["ModelPackageArn"]
        return arn, arn.rsplit("/", 1)[1]

    def package(self, algorithm: Algorithm, version: str) -> ModelPackage:
        """Return a model version of an algorithm.

        Raises:
            SageMakerError: There is no such version, or SageMaker could not be reached.
        """
        name = self._name(algorithm)
        with translated(SageMakerError, f"find version {version} in model package group {name}"):
            group = self._client.describe_model_package_group(ModelPackageGroupName=name)
        arn = group["ModelPackageGroupArn"].replace(":model-package-group/", ":model-package/")
        return self.package_by_arn(f"{arn}/{version}")

    def package_by_arn(self, arn: str) -> ModelPackage:
        """Return a model version by its ARN.

        Raises:
            SageMakerError: There is no such version, it is of no algorithm of this solution (code ``NotOurs``), or SageMaker could
                not be reached.
        """
        with translated(SageMakerError, f"describe model package {arn}"):
            package = self._client.describe_model_package(ModelPackageName=arn)
        algorithm = next((key for key in SHORT_NAMES if self._name(key) == package.get("ModelPackageGroupName")), None)
        if algorithm is None:
            raise SageMakerError(f"model package {arn} is no model of {self.solution_prefix}", code="NotOurs")
        container = package["InferenceSpecification"]["Containers"][0]
        return ModelPackage(
            arn=package["ModelPackageArn"],
            algorithm=algorithm,
            version=str(package["ModelPackageVersion"]),
            status=package["ModelApprovalStatus"],
            image=container["Image"],
            artifact_uri=container["ModelDataUrl"],
            created_at=package["CreationTime"],
            properties=dict(package.get("CustomerMetadataProperties", {})),
        )

    def packages(self, algorithm: Algorithm) -> list[PackageSummary]:
        """Return every model version of an algorithm, the newest first; none where nothing was ever registered.

        Raises:
            SageMakerError: SageMaker could not be reached.
        """
        group = self._name(algorithm)
        pages = self._client.get_paginator("list_model_packages").paginate(
            ModelPackageGroupName=group, PaginationConfig={"PageSize": 100}
        )
        try:
            with translated(SageMakerError, f"list the versions in model package group {group}"):
                found = [item for page in pages for item in page["ModelPackageSummaryList"]]
        except SageMakerError as error:
            if "does not exist" not in str(error):
                raise
            found = []
        found.sort(key=lambda item: item["ModelPackageVersion"], reverse=True)
        return [
            PackageSummary(
                arn=item["ModelPackageArn"],
                algorithm=algorithm,
                version=str(item["ModelPackageVersion"]),
                status=item["ModelApprovalStatus"],
                created_at=item["CreationTime"],
            )
            for item in found
        ]

    def approval(self, package_arn: str) -> str:
        """Return the approval status of a model package: Approved, Rejected or PendingManualApproval."""
        with translated(SageMakerError, f"describe model package {package_arn}"):
            return str(self._client.describe_model_package(ModelPackageName=package_arn)["ModelApprovalStatus"])

    def set_approval(self, package_arn: str, *, status: str, reason: str, properties: Mapping[str, str]) -> None:
        """Approve or reject a model package, with the reason and what was measured.

        Raises:
            SageMakerError: A property is none (see `register`), SageMaker refused, or could not be reached.
        """
        _check(properties)
        with translated(SageMakerError, f"update model package {package_arn}"):
            self._client.update_model_package(
                ModelPackageArn=package_arn,
                ModelApprovalStatus=status,  # type: ignore[arg-type]
                ApprovalDescription=" ".join(reason.split())[:1024],  # of one line, SageMaker says
                **_described(properties),
            )


def _described(properties: Mapping[str, str]) -> dict[str, Any]:
    return {"CustomerMetadataProperties": dict(properties)} if properties else {}  # SageMaker takes no empty map


def _check(properties: Mapping[str, str]) -> None:
    """Refuse, by name, a property that SageMaker would refuse for all of them.

    Raises:
        SageMakerError: Code ``InvalidRequest``.
    """
    problems = [
        f"property {key!r}: {what} {text!r} is not 1 to {limit} letters, digits, spaces and _.:/=+-@"
        for key, value in properties.items()
        for what, text, limit in (("key", key, KEY_LIMIT_CHARS), ("value", value, VALUE_LIMIT_CHARS))
        if not 1 <= len(text) <= limit or not all(map(_allowed, text))
    ]
    if len(properties) > PROPERTIES_LIMIT:
        problems.append(f"{len(properties)} properties, SageMaker takes {PROPERTIES_LIMIT}")
    if problems:
        raise SageMakerError(f"cannot describe a model package: {'; '.join(problems)}", code="InvalidRequest")


def _allowed(character: str) -> bool:
    return character in "_.:/=+-@" or unicodedata.category(character)[0] in "LNZ"

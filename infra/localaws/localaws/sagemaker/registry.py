"""The model registry: package groups, and numbered packages in them.

A package has the tags of its group, and no other when it is created.

Belongs here: versions and their approval. Does not: what approval means to anybody.
"""

from localaws.sagemaker.records import Kind, Record, Records, page, pick, utc_now
from localaws.sagemaker.tags import Tags
from localaws.wire import Action, AwsError

CREATABLE = (
    *(
        "ModelPackageGroupName",
        "ModelPackageDescription",
        "InferenceSpecification",
        "ModelMetrics",
        "MetadataProperties",
    ),
    *(
        "CustomerMetadataProperties",
        "DriftCheckBaselines",
        "Domain",
        "Task",
        "SamplePayloadUrl",
        "SourceUri",
        "ModelCard",
    ),
    *("SkipModelValidation", "AdditionalInferenceSpecifications", "CertifyForMarketplace"),
)
"""Members of CreateModelPackage that DescribeModelPackage shows again."""

UPDATABLE = ("ModelApprovalStatus", "ApprovalDescription", "InferenceSpecification", "SourceUri", "ModelCard")


class Registry:
    """All model package groups and model packages."""

    def __init__(self, records: Records, tags: Tags) -> None:
        self._records = records
        self._tags = tags

    def actions(self) -> dict[str, Action]:
        """Return the handlers by the name of their action."""
        return {
            "CreateModelPackageGroup": self.create_group,
            "DescribeModelPackageGroup": self.describe_group,
            "ListModelPackageGroups": self.list_groups,
            "DeleteModelPackageGroup": self.delete_group,
            "CreateModelPackage": self.create,
            "DescribeModelPackage": self.describe,
            "ListModelPackages": self.list,
            "UpdateModelPackage": self.update,
            "DeleteModelPackage": self.delete,
        }

    def create_group(self, params: Record) -> Record:
        """Note a group."""
        name = params["ModelPackageGroupName"]
        arn = self._records.arn(Kind.MODEL_PACKAGE_GROUP, name)
        if self._records.find(Kind.MODEL_PACKAGE_GROUP, name) is not None:
            raise AwsError("ValidationException", f"Model Package Group already exists: {arn}")
        record = {
            **pick(params, "ModelPackageGroupName", "ModelPackageGroupDescription"),
            "ModelPackageGroupArn": arn,
            "ModelPackageGroupStatus": "Completed",
            "CreatedBy": {},
            "CreationTime": utc_now(),
        }
        self._tags.create(arn, params.get("Tags", []))
        self._records.put(Kind.MODEL_PACKAGE_GROUP, name, {"Described": record, "LastVersion": 0, "Tokens": {}})
        return {"ModelPackageGroupArn": arn}

    def describe_group(self, params: Record) -> Record:
        """Describe a group."""
        record: Record = self._group(params["ModelPackageGroupName"])["Described"]
        return record

    def list_groups(self, params: Record) -> Record:
        """List groups."""
        groups = [group["Described"] for group in self._records.all(Kind.MODEL_PACKAGE_GROUP)]
        found, token = page(groups, params, name="ModelPackageGroupName", order="Ascending")
        members = (
            *("ModelPackageGroupName", "ModelPackageGroupArn", "ModelPackageGroupDescription", "CreationTime"),
            "ModelPackageGroupStatus",
        )
        return {"ModelPackageGroupSummaryList": [pick(group, *members) for group in found], "NextToken": token}

    def delete_group(self, params: Record) -> Record:
        """Forget a group that holds no packages."""
        name = _last(params["ModelPackageGroupName"])
        arn = self._group(name)["Described"]["ModelPackageGroupArn"]
        held = sum(package["ModelPackageGroupName"] == name for package in self._records.all(Kind.MODEL_PACKAGE))
        if held:
            raise AwsError(
                "ConflictException", f"Model Package Group {arn} cannot be deleted: it holds {held} model packages."
            )
        self._records.remove(Kind.MODEL_PACKAGE_GROUP, name)
        self._tags.forget(arn)
        return {}

    def create(self, params: Record) -> Record:
        """Register the next version in a group; a repeated ``ClientToken`` gives the version that it gave before."""
        if "ModelPackageGroupName" not in params or "InferenceSpecification" not in params:
            raise AwsError(
                "ValidationException", "a model package needs ModelPackageGroupName and InferenceSpecification here"
            )
        if params.get("Tags"):
            raise AwsError("ValidationException", "Tags: a model package in a group has the tags of the group")
        group_name = _last(params["ModelPackageGroupName"])
        group = self._group(group_name)
        token = params.get("ClientToken")
        if token is not None and token in group["Tokens"]:
            return {"ModelPackageArn": group["Tokens"][token]}
        version = group["LastVersion"] + 1
        arn = self._records.arn(Kind.MODEL_PACKAGE, f"{group_name}/{version}")
        now = utc_now()
        record = {
            **pick(params, *CREATABLE),
            "ModelPackageName": f"{group_name}/{version}",
            "ModelPackageGroupName": group_name,
            "ModelPackageVersion": version,
            "ModelPackageArn": arn,
            "ModelPackageStatus": "Completed",
            "ModelPackageStatusDetails": {"ValidationStatuses": []},
            "ModelApprovalStatus": params.get("ModelApprovalStatus", "PendingManualApproval"),
            "CreationTime": now,
            "LastModifiedTime": now,
        }
        self._records.put(Kind.MODEL_PACKAGE, arn, record)
        tokens = group["Tokens"] if token is None else {**group["Tokens"], token: arn}
        self._records.update(Kind.MODEL_PACKAGE_GROUP, group_name, LastVersion=version, Tokens=tokens)
        return {"ModelPackageArn": arn}

    def describe(self, params: Record) -> Record:
        """Describe a package."""
        return self._package(params["ModelPackageName"])

    def list(self, params: Record) -> Record:
        """List packages, of one group where the request names it."""
        packages = self._records.all(Kind.MODEL_PACKAGE)
        if "ModelPackageGroupName" in params:
            group_name = _last(params["ModelPackageGroupName"])
            self._group(group_name)
            packages = [package for package in packages if package["ModelPackageGroupName"] == group_name]
        status = params.get("ModelApprovalStatus")
        found, token = page(
            packages,
            params if status is None else {**params, "StatusEquals": status},
            name="ModelPackageName",
            status="ModelApprovalStatus",
            order="Ascending",
        )
        members = (
            *("ModelPackageGroupName", "ModelPackageVersion", "ModelPackageArn", "ModelPackageDescription"),
            *("CreationTime", "ModelPackageStatus", "ModelApprovalStatus"),
        )
        return {"ModelPackageSummaryList": [pick(package, *members) for package in found], "NextToken": token}

    def update(self, params: Record) -> Record:
        """Change a package's approval and metadata; properties that are given are merged into those it has."""
        arn = params["ModelPackageArn"]
        package = self._package(arn)
        unknown = params.keys() - {
            *UPDATABLE,
            *("ModelPackageArn", "CustomerMetadataProperties", "CustomerMetadataPropertiesToRemove", "ClientToken"),
        }
        if unknown:
            raise AwsError(
                "ValidationException", f"UpdateModelPackage does not change {', '.join(sorted(unknown))} here"
            )
        removed = set(params.get("CustomerMetadataPropertiesToRemove", []))
        properties = {**package.get("CustomerMetadataProperties", {}), **params.get("CustomerMetadataProperties", {})}
        kept = {key: value for key, value in properties.items() if key not in removed}
        self._records.update(
            Kind.MODEL_PACKAGE,
            package["ModelPackageArn"],
            **pick(params, *UPDATABLE),
            CustomerMetadataProperties=kept,
            LastModifiedTime=utc_now(),
        )
        return {"ModelPackageArn": arn}

    def delete(self, params: Record) -> Record:
        """Forget a package; its version number is not used again."""
        arn = self._package(params["ModelPackageName"])["ModelPackageArn"]
        self._records.remove(Kind.MODEL_PACKAGE, arn)
        self._tags.forget(arn)
        return {}

    def _group(self, name: str) -> Record:
        group = self._records.find(Kind.MODEL_PACKAGE_GROUP, _last(name))
        if group is None:
            arn = self._records.arn(Kind.MODEL_PACKAGE_GROUP, _last(name))
            raise AwsError("ValidationException", f"ModelPackageGroup {arn} does not exist.")
        return group

    def _package(self, arn: str) -> Record:
        package = self._records.find(Kind.MODEL_PACKAGE, arn)
        if package is None:
            raise AwsError("ValidationException", f"ModelPackage {arn} does not exist.")
        return package


def _last(name_or_arn: str) -> str:
    return name_or_arn.rpartition("/")[2]

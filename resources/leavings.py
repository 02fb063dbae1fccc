"""What stands in the way of taking a deployment down, or would go on costing after it.

Belongs here: calls that find and remove it. Does not: the infrastructure itself, which is Terraform's to remove.
"""

from collections.abc import Iterator
from typing import Any

from resources.aws import AwsError, client, translated

IMAGES_MISSING = "RepositoryNotFoundException"


class LeavingsError(AwsError):
    """AWS refused a request or could not be reached; the message names what was asked for."""


class Leavings:
    """Buckets, images and endpoints of one region."""

    def __init__(self, *, region: str) -> None:
        self._region = region

    def _client(self, service: str) -> Any:
        return client(service, region=self._region)

    def versions(self, bucket: str) -> Iterator[list[dict[str, str]]]:
        """Yield the objects of a bucket, their old versions and the marks of deleted ones, up to 1,000 at a time.

        Raises:
            LeavingsError: There is no such bucket, or S3 could not be reached.
        """
        with translated(LeavingsError, f"list the versions in bucket {bucket!r}"):
            for page in self._client("s3").get_paginator("list_object_versions").paginate(Bucket=bucket):
                found = [*page.get("Versions", []), *page.get("DeleteMarkers", [])]
                if found:
                    yield [{"Key": it["Key"], "VersionId": it["VersionId"]} for it in found]

    def empty(self, bucket: str) -> int:
        """Delete everything in a bucket, old versions too, and return how many there were.

        Raises:
            LeavingsError: S3 refused to delete something, or could not be reached.
        """
        count = 0
        for page in self.versions(bucket):
            with translated(LeavingsError, f"empty bucket {bucket!r}"):
                answer = self._client("s3").delete_objects(Bucket=bucket, Delete={"Objects": page, "Quiet": True})
            if refused := answer.get("Errors"):
                first = refused[0]
                raise LeavingsError(
                    f"cannot delete {len(refused)} of bucket {bucket!r}, such as {first['Key']}: {first['Message']}",
                    code=first["Code"],
                )
            count += len(page)
        return count

    def images(self, repository: str) -> int:
        """Return the number of images in a repository of ECR.

        Raises:
            LeavingsError: ECR could not be reached.
        """
        try:
            with translated(LeavingsError, f"list the images of {repository}"):
                pages = self._client("ecr").get_paginator("list_images").paginate(repositoryName=repository)
                return sum(len(page["imageIds"]) for page in pages)
        except LeavingsError as error:
            if error.code == IMAGES_MISSING:
                return 0
            raise

    def endpoints(self, prefix: str) -> list[str]:
        """Return the names of the endpoints that begin so.

        Raises:
            LeavingsError: SageMaker could not be reached.
        """
        with translated(LeavingsError, f"list the endpoints of {prefix}"):
            pages = self._client("sagemaker").get_paginator("list_endpoints").paginate(NameContains=prefix)
            names = [str(it["EndpointName"]) for page in pages for it in page["Endpoints"]]
        return sorted(name for name in names if name.startswith(prefix))

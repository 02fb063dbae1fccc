"""AWS ECR, as a deployment needs it: whether an image is there, and a login for whoever pushes one.

Belongs here: calls to ECR and their errors. Does not: building and pushing, which is Docker's.
"""

import base64
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from resources.aws import AwsError, client, translated

MISSING = "ImageNotFoundException"


class ImagesError(AwsError):
    """ECR refused a request or could not be reached; the message names the repository."""


@dataclass(frozen=True)
class Login:
    """Of the registry, for twelve hours."""

    user: str
    password: str = field(repr=False)


class Images:
    """The repositories of one region."""

    def __init__(self, *, region: str) -> None:
        self._region = region

    @cached_property
    def _client(self) -> Any:
        return client("ecr", region=self._region)

    def has(self, repository: str, tag: str) -> bool:
        """Whether a repository has an image of this tag.

        Raises:
            ImagesError: There is no such repository, or ECR could not be reached.
        """
        try:
            with translated(ImagesError, f"look for the image {repository}:{tag}"):
                self._client.describe_images(repositoryName=repository, imageIds=[{"imageTag": tag}])
        except ImagesError as error:
            if error.code == MISSING:
                return False
            raise
        return True

    def login(self) -> Login:
        """Return what Docker logs in with.

        Raises:
            ImagesError: ECR refused, or could not be reached.
        """
        with translated(ImagesError, "get a login for the registry"):
            (given,) = self._client.get_authorization_token()["authorizationData"]
        user, _, password = base64.b64decode(given["authorizationToken"]).decode().partition(":")
        return Login(user, password)

"""``fraudit deploy image``: the image ``graph``, pushed once for each content, and its tag for the next ``tf.apply``.

Belongs here: what the tag is, and the words for Docker. Does not: what is in the image (``Dockerfile``), nor what runs it
(``infra/terraform/modules/orchestration``).
"""

import hashlib
import json
import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path

from fraudit_dagster.cli.deploy import terraform
from fraudit_dagster.cli.deploy.changes import Change
from fraudit_dagster.cli.deploy.files import replace_file
from fraudit_dagster.cli.deploy.outputs import Outputs
from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR
from resources.images import Images

TARGET = "graph"
PLATFORM = "linux/amd64"
"""Of the tasks, whatever this machine is."""
VARIABLES = "image.auto.tfvars.json"
TAG_LENGTH = 16


def changes(outputs: Outputs, *, project: Path = PROJECT_DIR) -> Iterator[Change]:
    """Yield the push of the image, where the repository has none of this content, and the tag, where Terraform knows another.

    Raises:
        CommandError: There is no Docker, or it failed; what it said is above.
        ImagesError: ECR refused, or could not be reached.
    """
    tag = tag_of(project)
    registry, _, repository = outputs.repository_url.partition("/")
    images = Images(region=outputs.region)
    image = f"{outputs.repository_url}:{tag}"

    def push() -> None:
        if shutil.which("docker") is None:
            raise CommandError("there is no docker on the PATH: the image is built and pushed with it")
        _docker("build", "--platform", PLATFORM, "--target", TARGET, "--tag", image, str(project))
        login = images.login()
        _docker("login", "--username", login.user, "--password-stdin", registry, typed=login.password)
        _docker("push", image)

    if not images.has(repository, tag):
        yield Change(f"image {repository}", None, f"tag {tag}, built and pushed", push)
    file = terraform.folder(project) / VARIABLES
    before = json.loads(file.read_text()).get("image_tag") if file.exists() else None
    if before != tag:
        text = json.dumps({"image_tag": tag}, indent=2) + "\n"
        yield Change(f"image_tag in {VARIABLES}", before, tag, lambda: _write(file, text))


def _write(file: Path, text: str) -> str:
    replace_file(file, text)
    return "`make tf.apply` lets it run"


def _docker(*words: str, typed: str | None = None) -> None:
    code = subprocess.run(["docker", *words], input=typed, text=True, check=False).returncode
    if code:
        raise CommandError(f"docker {words[0]} failed with exit code {code}; why is above")


def tag_of(project: Path = PROJECT_DIR) -> str:
    """Return the tag of what would be built: a hash of the Dockerfile and of every file that the image's stages copy.

    Raises:
        CommandError: The Dockerfile copies what is not there.
    """
    digest = hashlib.sha256()
    for path in sorted({project / "Dockerfile", project / ".dockerignore", *_copied(project)}):
        executable = "x" if path.stat().st_mode & 0o100 else "-"
        name = path.relative_to(project).as_posix()
        digest.update(f"{name} {executable} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:TAG_LENGTH]


def _copied(project: Path) -> Iterator[Path]:
    left_out = [
        line.strip().removeprefix("**/")
        for line in (project / ".dockerignore").read_text().splitlines()
        if line.startswith("**/")
    ]
    for source in sources((project / "Dockerfile").read_text()):
        path = project / source
        if not path.exists():
            raise CommandError(f"the Dockerfile copies {source}, which is not in {project}")
        for file in path.rglob("*") if path.is_dir() else [path]:
            parts = file.relative_to(project).parts
            if file.is_file() and not any(fnmatch(part, pattern) for part in parts for pattern in left_out):
                yield file


def sources(dockerfile: str) -> set[str]:
    """Return the paths of the context that the target copies, or a stage that it stands on or copies from."""
    stages: dict[str, tuple[set[str], set[str]]] = {}  # by name: stages before, paths
    name = ""
    for line in re.sub(r"\\\n", " ", dockerfile).splitlines():
        word, _, text = line.partition(" ")
        if word == "FROM":
            base, _, name = text.partition(" AS ")
            stages[name.strip()] = ({base.strip()}, set())
            name = name.strip()
        elif word == "COPY":
            before, paths = stages[name]
            if source := re.match(r"--from=(\S+)", text):
                before.add(source[1])
            else:
                paths.update(shlex.split(text)[:-1])
    found, waiting = set(), [TARGET]
    while waiting:
        before, paths = stages.get(waiting.pop(), (set(), set()))
        found |= paths
        waiting += before
    return found

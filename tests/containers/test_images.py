"""The images and compose.yaml, as far as they can be told without an engine: what they copy, run, and as whom.

docs/containers.md says what was built and run by hand.
"""

import fnmatch
import re
import subprocess
import tomllib
from typing import Any

import click
import pytest
import yaml

from fraudit_dagster.cli.app import app
from fraudit_dagster.settings import PROJECT_DIR
from tests.containers.dockerfile import Dockerfile

DOCKERFILE = Dockerfile.read(PROJECT_DIR / "Dockerfile")
IMAGES = ("graph", "local")
COMPOSE: dict[str, Any] = yaml.safe_load((PROJECT_DIR / "compose.yaml").read_text())
WORLD = COMPOSE["services"]["world"]
STATE = "/var/lib/fraudit"
each_image = pytest.mark.parametrize("image", IMAGES)


def environment(image: str) -> dict[str, str]:
    texts = [text for stage in DOCKERFILE.with_its_bases(image) for text in stage.all("ENV")]
    return dict(pair.split("=", 1) for text in texts for pair in text.split())


def copied(image: str) -> list[str]:
    return [path for stage in DOCKERFILE.with_its_bases(image) for path in stage.copied()]


def is_in_context(path: str) -> bool:
    """Whether .dockerignore lets a path in: the last line that matches it, or a folder that it lies in, decides."""
    allowed = True
    for line in (PROJECT_DIR / ".dockerignore").read_text().splitlines():
        pattern = line.removeprefix("!")
        parents = [path, *(path.rsplit("/", depth)[0] for depth in range(1, path.count("/") + 1))]
        if line and not line.startswith("#") and any(fnmatch.fnmatch(name, pattern) for name in parents):
            allowed = line.startswith("!")
    return allowed


def command_of(words: list[str]) -> click.Command:
    """Return the command that a list of words names, after checking each of its options.

    Raises:
        click.UsageError: There is no such command or option.
    """
    from dagster._cli import create_dagster_cli
    from dagster._daemon.cli import create_dagster_daemon_cli
    from dagster_webserver.cli import dagster_webserver
    from typer.main import get_command

    program, *rest = words
    programs: dict[str, Any] = {
        "fraudit": lambda: get_command(app),
        "dagster": create_dagster_cli,
        "dagster-daemon": create_dagster_daemon_cli,
        "dagster-webserver": lambda: dagster_webserver,
    }
    command: Any = programs[program]()
    while hasattr(command, "get_command"):
        context = click.Context(command)
        found = command.get_command(context, rest[0])
        assert found is not None, f"{program} has no command {rest[0]}"
        command, rest = found, rest[1:]
    command.make_context(program, list(rest))
    return command  # type: ignore[no-any-return]


def documented() -> list[list[str]]:
    """Return the commands of the table of docs/containers.md."""
    text = (PROJECT_DIR / "docs" / "containers.md").read_text()
    return [row.split() for row in re.findall(r"^\| [^|]+ \| `([^`]+)` \|", text, re.MULTILINE)]


@each_image
def test_what_an_image_copies_is_there_and_tracked(image: str) -> None:
    tracked = subprocess.run(["git", "ls-files"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True).stdout
    for path in copied(image):
        assert re.search(rf"^{re.escape(path.rstrip('/'))}(/|$)", tracked, re.MULTILINE), path
        assert is_in_context(path.rstrip("/")), f".dockerignore keeps {path} away"


def test_secrets_and_state_of_the_checkout_stay_out_of_the_build() -> None:
    for path in (
        ".env",
        ".git",
        "var",
        "dataset/creditcard.csv",
        ".streamlit/secrets.toml",
        ".venv",
        "glue/__pycache__",
    ):
        assert not is_in_context(path), path


@each_image
def test_an_image_has_every_package_of_the_project(image: str) -> None:
    project = tomllib.loads((PROJECT_DIR / "pyproject.toml").read_text())
    packages = set(project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
    assert packages | {"glue"} <= set(copied(image))


def test_the_world_has_what_its_services_run(service_files: set[str]) -> None:
    folders = tuple(f"{path}/" for path in copied("local"))
    assert all(path in copied("local") or path.startswith(folders) for path in service_files)
    assert service_files >= {"infra/local/resources.yaml", "api/server.py", "workspace.yaml"}


@pytest.fixture
def service_files() -> set[str]:
    """The files that the commands of infra/local/services.yaml name."""
    services = yaml.safe_load((PROJECT_DIR / "infra" / "local" / "services.yaml").read_text())["services"]
    words = {word for service in services.values() for word in service["command"]}
    return {word for word in words if (PROJECT_DIR / word).is_file()}


@each_image
def test_an_image_runs_as_nobody_special_and_tells_its_health(image: str) -> None:
    stage = DOCKERFILE.stages[image]
    assert stage.all("USER") == ["10001:10001"]
    assert len(stage.all("HEALTHCHECK")) == 1
    assert not [name for name in environment(image) if re.search("PASSWORD|SECRET|KEY|TOKEN", name)]


def test_the_base_is_pinned_to_a_patch_release_of_a_python_that_the_project_supports() -> None:
    image = DOCKERFILE.arguments["PYTHON_IMAGE"]
    found = re.fullmatch(r"python:3\.(\d+)\.\d+-slim-bookworm", image)
    assert found is not None
    assert 11 <= int(found[1]) < 14
    assert {stage.base for stage in DOCKERFILE.stages.values()} <= {"${PYTHON_IMAGE}", *DOCKERFILE.stages}


def test_packages_are_those_of_the_lock() -> None:
    runs = [text for stage in DOCKERFILE.stages.values() for text in stage.all("RUN") if "pip install" in text]
    for text in runs:
        for step in re.findall(r"pip install[^&]*", text):
            assert re.search(r"--require-hashes|--constraint requirements\.lock|--no-deps", step), step


@pytest.mark.parametrize(
    "words",
    [DOCKERFILE.stages[image].command(kind) for image in IMAGES for kind in ("CMD", "HEALTHCHECK")],
    ids=" ".join,
)
def test_a_command_of_an_image_is_one(words: list[str]) -> None:
    assert command_of(words).name


@pytest.mark.parametrize("words", documented(), ids=" ".join)
def test_a_command_of_the_page_is_one(words: list[str]) -> None:
    match words:
        case ["python", "-m", *_]:
            pass
        case ["python", script]:
            assert script.startswith(tuple(copied("graph")))
            assert (PROJECT_DIR / script).is_file()
        case _:
            assert command_of(words).name


def test_the_page_names_the_commands_of_the_deployment() -> None:
    assert {words[0] for words in documented()} == {
        "dagster",
        "dagster-webserver",
        "dagster-daemon",
        "python",
        "fraudit",
    }


def test_what_tasks_on_aws_write_to_belongs_to_their_user() -> None:
    tasks = (PROJECT_DIR / "infra" / "terraform" / "modules" / "orchestration" / "tasks.tf").read_text()
    (written,) = re.findall(r"^  writable = \{(.*)\}$", tasks, re.MULTILINE)
    (volumes,) = DOCKERFILE.stages["graph"].all("VOLUME")
    assert re.findall(r'"(/[^"]+)"', written) == re.findall(r'"(/[^"]+)"', volumes)


def test_compose_builds_the_world_and_keeps_its_state() -> None:
    assert WORLD["build"] == {"context": ".", "target": "local"}
    assert f"state:{STATE}" in WORLD["volumes"]
    assert environment("local")["FRAUDIT_STATE_DIR"] == STATE
    assert DOCKERFILE.stages["local"].all("VOLUME") == [STATE]
    assert "state" in COMPOSE["volumes"]


def test_compose_opens_no_port_beyond_this_machine() -> None:
    """Every service listens on loopback alone, so the container shares that of the machine and publishes nothing."""
    assert WORLD["network_mode"] == "host"
    assert WORLD["hostname"] == "localhost"  # Spark looks it up, and the machine's own may not be known in there
    assert "ports" not in WORLD


def test_compose_gives_the_world_no_rights_and_the_time_to_end() -> None:
    assert WORLD["cap_drop"] == ["ALL"]
    assert WORLD["security_opt"] == ["no-new-privileges:true"]
    assert WORLD["init"] is True
    assert WORLD["stop_grace_period"] == "90s"  # `localaws down` waits no longer


def test_make_starts_it() -> None:
    done = subprocess.run(
        ["make", "--dry-run", "compose.up"], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    )
    assert "docker compose up --build --detach --wait" in done.stdout

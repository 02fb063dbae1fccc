"""Resolve every dependency into ``requirements.lock`` and ``requirements-uv.lock``, and what has an environment of its own into its own lock.

Requirements form, for every supported Python and platform, with hashes and without the address of any index. The first line
holds a hash of what was resolved, so that a test can tell that the lock is in step without asking a registry.

The benchmarks' peers (``benchmarks/requirements.in``), what makes the site (``docs/requirements.in``), what proves the infrastructure
(``infra/terraform/requirements.in``) and what looks at the locks (``scripts/requirements.in``) must not get into the project's
environment, nor decide its versions; what the models need is of the project's version among the peers too.
``infra/terraform/schema.in`` is downloaded and read, never installed.
``glue/requirements.in`` is for one Python on one platform, AWS Glue's, and of the project's versions.
"""

import hashlib
import re
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from fraudit_dagster.cli.deploy.stream_environment import GLUE

PROJECT_DIR = Path(__file__).parents[1]
PROJECTS = ("pyproject.toml", "infra/localaws/pyproject.toml", "glue/pyproject.toml")
LOCK = PROJECT_DIR / "requirements.lock"
UV_LOCK = PROJECT_DIR / "requirements-uv.lock"
BENCH_REQUIREMENTS = PROJECT_DIR / "benchmarks" / "requirements.in"
BENCH_LOCK = PROJECT_DIR / "benchmarks" / "requirements.lock"
DOCS_REQUIREMENTS = PROJECT_DIR / "docs" / "requirements.in"
DOCS_LOCK = PROJECT_DIR / "docs" / "requirements.lock"
TERRAFORM_REQUIREMENTS = PROJECT_DIR / "infra" / "terraform" / "requirements.in"
TERRAFORM_LOCK = PROJECT_DIR / "infra" / "terraform" / "requirements.lock"
SCHEMA_REQUIREMENTS = PROJECT_DIR / "infra" / "terraform" / "schema.in"
SCHEMA_LOCK = PROJECT_DIR / "infra" / "terraform" / "schema.lock"
GLUE_REQUIREMENTS = PROJECT_DIR / "glue" / "requirements.in"
GLUE_LOCK = PROJECT_DIR / "glue" / "requirements.lock"
SUPPLY_REQUIREMENTS = PROJECT_DIR / "scripts" / "requirements.in"
SUPPLY_LOCK = PROJECT_DIR / "scripts" / "requirements.lock"
SHARED = ("numba", "numpy", "orjson", "xgboost")
"""What computes the models that the benchmarks' peers serve."""


def inputs_hash() -> str:
    """Return the hash of all that the projects ask for."""
    asked = []
    for name in PROJECTS:
        document = tomllib.loads((PROJECT_DIR / name).read_text())
        asked += [
            repr(document["project"]["requires-python"]),
            repr(sorted(document["project"]["dependencies"])),
            repr(sorted(document.get("dependency-groups", {}).items())),
            repr(sorted(document.get("tool", {}).get("uv", {}).items())),
        ]
    return hashlib.sha256("\n".join(asked).encode()).hexdigest()


def shared_pins() -> list[str]:
    """Return the project's pins of what the benchmarks' peers share with it."""
    pins = re.findall(r"^([a-z0-9-]+)(==.+) \\$", LOCK.read_text(), re.MULTILINE)
    return [name + version for name, version in pins if name in SHARED]


def bench_inputs_hash() -> str:
    """Return the hash of all that the benchmarks' peers ask for."""
    return hashlib.sha256("\n".join([BENCH_REQUIREMENTS.read_text(), *shared_pins()]).encode()).hexdigest()


def docs_inputs_hash() -> str:
    """Return the hash of all that the site asks for."""
    return file_hash(DOCS_REQUIREMENTS)


def file_hash(requirements: Path) -> str:
    """Return the hash of what one file asks for."""
    return hashlib.sha256(requirements.read_bytes()).hexdigest()


def resolve(*asked: str, lock: Path) -> list[str]:
    """Resolve into a lock; what it held already is kept where it still fits."""
    common = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    common += ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    compile_ = [str(Path(sys.executable).with_name("uv")), "pip", "compile", *common]
    target = str(lock.relative_to(PROJECT_DIR))
    subprocess.run([*compile_, *asked, "--output-file", target], cwd=PROJECT_DIR, check=True)
    return [line for line in lock.read_text().splitlines() if not line.startswith("# inputs ")]


def main() -> None:
    """Write all locks."""
    pins = resolve(*PROJECTS, "--group", "dev", lock=LOCK)
    LOCK.write_text("\n".join([f"# inputs sha256:{inputs_hash()}", *pins]) + "\n")
    start = next(index for index, line in enumerate(pins) if line.startswith("uv=="))
    end = next(index for index in range(start + 1, len(pins)) if not pins[index].startswith(" "))
    UV_LOCK.write_text("\n".join(pins[start:end]) + "\n")
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write("\n".join(shared_pins()))
        constraints.flush()
        peers = resolve(
            str(BENCH_REQUIREMENTS.relative_to(PROJECT_DIR)), "--constraint", constraints.name, lock=BENCH_LOCK
        )
    BENCH_LOCK.write_text("\n".join([f"# inputs sha256:{bench_inputs_hash()}", *peers]) + "\n")
    site = resolve(str(DOCS_REQUIREMENTS.relative_to(PROJECT_DIR)), lock=DOCS_LOCK)
    DOCS_LOCK.write_text("\n".join([f"# inputs sha256:{docs_inputs_hash()}", *site]) + "\n")
    lock_glue()
    lock_tools()


def lock_glue() -> None:
    """Write the lock of the stream job's environment on AWS Glue."""
    done = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("uv")),
                "pip",
                "compile",
                "--generate-hashes",
                "--no-header",
                "--no-annotate",
            ),
            *("--quiet", "--python-version", GLUE.python, "--python-platform", GLUE.platform, "--only-binary", ":all:"),
            *("--constraint", LOCK.name, str(GLUE_REQUIREMENTS.relative_to(PROJECT_DIR))),
        ],
        cwd=PROJECT_DIR,
        check=True,
        capture_output=True,
        text=True,
    )
    GLUE_LOCK.write_text(f"# inputs sha256:{file_hash(GLUE_REQUIREMENTS)}\n{done.stdout}")


def lock_tools() -> None:
    """Write the locks of what proves the infrastructure, and of what looks at all the locks."""
    for requirements, lock, options in (
        (TERRAFORM_REQUIREMENTS, TERRAFORM_LOCK, ()),
        (SCHEMA_REQUIREMENTS, SCHEMA_LOCK, ("--no-deps",)),
        (SUPPLY_REQUIREMENTS, SUPPLY_LOCK, ()),
    ):
        pins = resolve(str(requirements.relative_to(PROJECT_DIR)), *options, lock=lock)
        lock.write_text("\n".join([f"# inputs sha256:{file_hash(requirements)}", *pins]) + "\n")


if __name__ == "__main__":
    main()

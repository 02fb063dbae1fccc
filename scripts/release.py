"""``make version`` and ``make release``: one version for the three projects, and what is released of it.

Belongs here: where the version is written, what must hold before a release, and what it is made of. Does not: pushing anything
anywhere, nor running the tests: ``.ci/run`` is run by whoever releases.

    python -m scripts.release set 0.2.0
    python -m scripts.release make 0.2.0 [--dry-run]
"""

import argparse
import hashlib
import re
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from fraudit_dagster.cli.deploy.stream_environment import build_environment
from fraudit_dagster.cli.deploy.wheels import build_wheel
from scripts import package, sbom

PROJECT_DIR = Path(__file__).resolve().parents[1]
PROJECTS = ("pyproject.toml", "glue/pyproject.toml", "infra/localaws/pyproject.toml")
CHANGELOG = "CHANGELOG.md"
UNRELEASED = "## [Unreleased]"
_VERSION = re.compile(r'^version = "(.*)"$', re.MULTILINE)
_NUMBER = re.compile(r"\d+\.\d+\.\d+")


class ReleaseError(RuntimeError):
    """Something does not hold that a release needs; the message says what to do."""


def versions(project: Path = PROJECT_DIR) -> dict[str, str]:
    """Return the version of each project, by its file."""
    return {name: _VERSION.findall((project / name).read_text())[0] for name in PROJECTS}


def set_version(version: str, project: Path = PROJECT_DIR) -> None:
    """Write a version into the projects, and make what is unreleased in the changelog that version's.

    Raises:
        ReleaseError: It is no version, or is in the changelog already.
    """
    if not _NUMBER.fullmatch(version):
        raise ReleaseError(f"{version!r} is no version: say VERSION=major.minor.patch")
    changelog = project / CHANGELOG
    if has_entry(version, project):
        raise ReleaseError(f"{CHANGELOG} has an entry of {version}: take the next number")
    for name in PROJECTS:
        path = project / name
        path.write_text(_VERSION.sub(f'version = "{version}"', path.read_text(), count=1))
    entry = f"{UNRELEASED}\n\n## [{version}] - {datetime.now(UTC):%Y-%m-%d}"
    changelog.write_text(changelog.read_text().replace(UNRELEASED, entry, 1))


def has_entry(version: str, project: Path = PROJECT_DIR) -> bool:
    """Whether the changelog has an entry of a version, with its date."""
    line = rf"^## \[{re.escape(version)}\] - \d{{4}}-\d{{2}}-\d{{2}}$"
    return re.search(line, (project / CHANGELOG).read_text(), re.MULTILINE) is not None


def obstacles(version: str, project: Path = PROJECT_DIR) -> list[str]:
    """Return what stands against releasing what is checked out under this version, each with what to do."""
    found = []
    if changed := _git(project, "status", "--porcelain"):
        found.append(f"{len(changed.splitlines())} files are not committed: commit or remove them")
    if other := {name: said for name, said in versions(project).items() if said != version}:
        found.append(
            f"{', '.join(f'{name} says {said}' for name, said in other.items())}: `make version VERSION={version}`"
        )
    if not has_entry(version, project):
        found.append(f"{CHANGELOG} has no entry of {version}: `make version VERSION={version}`")
    if _git(project, "tag", "--list", f"v{version}"):
        found.append(f"the tag v{version} is there: take the next number")
    return found


def artefacts(folder: Path) -> None:
    """Write all that is released into a folder: wheels, the API's package, the stream's environment, bills of material."""
    for project in (PROJECT_DIR, PROJECT_DIR / "glue", PROJECT_DIR / "infra" / "localaws"):
        name, wheel = build_wheel(project)
        (folder / name).write_bytes(wheel)
    (folder / "environment.tar.gz").write_bytes(build_environment())
    package.build(folder / "api.zip")
    sbom.write(folder)


def release(
    version: str, *, dry_run: bool, project: Path = PROJECT_DIR, build: Callable[[Path], None] = artefacts
) -> list[str]:
    """Build what is checked out to ``dist/<version>`` with ``SHA256SUMS``, and tag it; nothing is pushed. Return what was done.

    The tag is annotated, and signed where Git is set to sign tags (``tag.gpgSign``).

    Raises:
        ReleaseError: Something stands against it; the message names all of it.
    """
    if found := obstacles(version, project):
        raise ReleaseError("\n".join(found))
    folder = project / "dist" / version
    if dry_run:
        return [f"dist/{version}: to be built", f"v{version}: to be tagged; nothing was changed (dry run)"]
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.iterdir():
        old.unlink()
    build(folder)
    built = sorted(folder.iterdir())
    lines = [f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}" for path in built]
    (folder / "SHA256SUMS").write_text("\n".join(lines) + "\n")
    _git(project, "tag", "--annotate", f"v{version}", "--message", f"Version {version}")
    return [*lines, f"v{version} is tagged here; `git push origin v{version}` is yours to say"]


def _git(project: Path, *words: str) -> str:
    done = subprocess.run(["git", *words], cwd=project, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ReleaseError(f"git {words[0]}: {done.stderr.strip()}")
    return done.stdout.strip()


def main() -> None:
    """Do what was asked, or say what stands against it."""
    parser = argparse.ArgumentParser(description="One version, and what is released of it.")
    parser.add_argument("what", choices=["set", "make"])
    parser.add_argument("version")
    parser.add_argument("--dry-run", action="store_true")
    asked = parser.parse_args()
    try:
        if asked.what == "set":
            set_version(asked.version)
        else:
            print("\n".join(release(asked.version, dry_run=asked.dry_run)))  # noqa: T201 - the command's output
    except (ReleaseError, sbom.SbomError) as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

"""What is installed is pinned with hashes, what is built is the same bytes twice, and a release is one version of all."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from fraudit_dagster.cli.deploy.wheels import build_wheel
from fraudit_dagster.settings import PROJECT_DIR
from scripts import release, sbom
from scripts.lock import SUPPLY_LOCK, SUPPLY_REQUIREMENTS, file_hash

VERSION = "0.2.0"


def committed(pattern: str) -> list[Path]:
    found = subprocess.run(
        ["git", "ls-files", "--", pattern], cwd=PROJECT_DIR, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    return [PROJECT_DIR / name for name in found]


def test_every_lock_pins_every_package_by_hash() -> None:
    locks = [path for path in committed("*.lock") if not path.name.startswith(".terraform")]
    assert {"requirements.lock", "requirements-uv.lock", "schema.lock"} <= {path.name for path in locks}
    for path in locks:
        text = path.read_text()
        lines = [line for line in text.splitlines() if line and not line.startswith(("#", " "))]
        assert lines, path
        assert all(re.match(r"[a-z0-9-]+(\[[a-z,-]+\])?==\S+( ;.*)? \\$", line) for line in lines), path
        assert len(re.findall(r"\\\n    --hash=sha256:[0-9a-f]{64}", text)) >= len(lines), path
        assert "://" not in text, path


def test_make_audit_asks_for_every_lock() -> None:
    named = re.search(r"^LOCKS := (.*)$", (PROJECT_DIR / "Makefile").read_text(), re.MULTILINE)
    assert named is not None
    installed = [path for path in committed("*requirements.lock") if path.name == "requirements.lock"]
    assert {PROJECT_DIR / name for name in named[1].split()} == set(installed)


def test_the_lock_of_the_tools_is_in_step() -> None:
    assert SUPPLY_LOCK.read_text().splitlines()[0] == f"# inputs sha256:{file_hash(SUPPLY_REQUIREMENTS)}", (
        "run `make lock`"
    )


def test_what_is_installed_without_a_lock_has_hashes() -> None:
    for path in (PROJECT_DIR / "Makefile", PROJECT_DIR / "Dockerfile"):
        for line in path.read_text().splitlines():
            if re.search(r"pip (install|sync|download)", line) and not re.search(r"--no-deps .*-(e|-editable)", line):
                # A constraint with hashes is checked by uv like a lock.
                assert "--require-hashes" in line or "--constraint requirements.lock" in line or "--no-deps" in line, (
                    line
                )


def test_a_wheel_is_the_same_bytes_wherever_and_whenever_it_is_built(tmp_path: Path) -> None:
    for project in ("glue", "infra/localaws"):
        other = tmp_path / Path(project).name
        shutil.copytree(
            PROJECT_DIR / project, other, ignore=shutil.ignore_patterns("__pycache__"), copy_function=shutil.copyfile
        )
        assert build_wheel(other) == build_wheel(PROJECT_DIR / project)
    assert build_wheel(PROJECT_DIR) == build_wheel(PROJECT_DIR)


def test_a_bill_names_what_the_artefact_is_made_of_in_the_same_bytes_each_time(tmp_path: Path) -> None:
    (api,) = sbom.write(tmp_path / "once", artefacts=["api"])
    (component,) = json.loads(api.read_bytes())["components"]
    assert component["name"] == "chalice"
    assert component["externalReferences"][0]["hashes"]
    (again,) = sbom.write(tmp_path / "again", artefacts=["api"])
    assert again.read_bytes() == api.read_bytes()


def test_the_bill_of_the_stream_is_of_its_environment_and_not_of_spark() -> None:
    pins, project = sbom.bill("stream-environment")
    assert project == PROJECT_DIR / "glue" / "pyproject.toml"
    assert "psycopg2-binary==" in pins
    assert "pyspark==" not in pins


def test_the_bill_of_the_image_is_of_what_it_installs_and_not_of_the_tools_of_the_tests() -> None:
    dockerfile = (PROJECT_DIR / "Dockerfile").read_text()
    assert re.search(r"python:3\.11\.\d+-slim-bookworm", dockerfile)
    assert "--constraint requirements.lock --requirement pyproject.toml --requirement glue/pyproject.toml" in dockerfile
    installed = sbom.image_pins()
    names = set(re.findall("^[a-z0-9-]+(?===)", sbom.pins_of(sbom.ALL, *installed), re.MULTILINE))
    assert names == {pin.split("==")[0] for pin in installed}, "each has its entry in the lock"
    assert {"dagster", "streamlit", "pyspark", "orjson"} <= names
    assert not {"pytest", "moto", "mypy", "playwright", "colorama"} & names


def test_the_projects_have_one_version_and_the_changelog_has_it() -> None:
    (version,) = set(release.versions().values())
    assert release.has_entry(version)
    assert release.UNRELEASED in (PROJECT_DIR / release.CHANGELOG).read_text()


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A checkout with the three projects and the changelog."""
    folder = tmp_path / "project"
    for name in (*release.PROJECTS, release.CHANGELOG):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(PROJECT_DIR / name, folder / name)
    (folder / ".gitignore").write_text("dist\n")
    git(folder, "init", "--quiet")
    git(folder, "config", "user.email", "nobody@example.com")
    git(folder, "config", "user.name", "nobody")
    git(folder, "config", "tag.gpgSign", "false")
    commit(folder)
    return folder


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout.strip()


def commit(folder: Path) -> None:
    git(folder, "add", "--all")
    git(folder, "-c", "commit.gpgSign=false", "commit", "--quiet", "--message", "a commit")


def build(folder: Path) -> None:
    (folder / "fraudit.whl").write_bytes(b"a wheel")


def test_a_release_is_built_and_tagged_and_only_then(project: Path) -> None:
    release.set_version(VERSION, project)
    assert set(release.versions(project).values()) == {VERSION}
    commit(project)
    assert release.release(VERSION, dry_run=True, project=project, build=build)[-1].endswith("(dry run)")
    assert git(project, "tag") == ""
    assert not (project / "dist").exists()

    release.release(VERSION, dry_run=False, project=project, build=build)
    assert git(project, "cat-file", "-t", f"v{VERSION}") == "tag"
    folder = project / "dist" / VERSION
    done = subprocess.run(
        ["sha256sum", "--check", "SHA256SUMS"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.stdout == "fraudit.whl: OK\n"


def test_what_stands_against_a_release_is_named_all_at_once(project: Path) -> None:
    git(project, "tag", f"v{VERSION}")
    (project / "left").write_text("over")
    with pytest.raises(release.ReleaseError) as told:
        release.release(VERSION, dry_run=True, project=project, build=build)
    said = str(told.value)
    for part in (
        "1 files are not committed",
        "glue/pyproject.toml says",
        "has no entry",
        f"the tag v{VERSION} is there",
    ):
        assert part in said


@pytest.mark.parametrize("version", ["", "1.0", "v1.0.0", "1.0.0; rm"])
def test_what_is_no_version_is_refused(project: Path, version: str) -> None:
    with pytest.raises(release.ReleaseError, match="is no version"):
        release.set_version(version, project)


def test_a_version_is_taken_once(project: Path) -> None:
    release.set_version(VERSION, project)
    with pytest.raises(release.ReleaseError, match="take the next number"):
        release.set_version(VERSION, project)
    assert json.dumps(release.versions(project)).count(VERSION) == len(release.PROJECTS)

"""``make sbom``: what each artefact holds of others, as CycloneDX JSON, to ``dist/sbom/``.

Belongs here: which artefact is made from which pins. Does not: the format, which is ``cyclonedx-py``'s, in an environment of its own
(``scripts/requirements.in``).

The image holds a part of ``requirements.lock``: what uv installs for the project and the stream, without what only the tests need; uv is
asked, and needs a package index. The API's package holds Chalice's runtime alone (``scripts/package.py``).
"""

import re
import subprocess
import sys
from collections.abc import Collection
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
FOLDER = PROJECT_DIR / "dist" / "sbom"
TOOL = PROJECT_DIR / "var" / "supply" / "venv" / "bin" / "cyclonedx-py"
ALL, GLUE = PROJECT_DIR / "requirements.lock", PROJECT_DIR / "glue" / "requirements.lock"
API = ("chalice",)
IMAGE = ("--python-version", "3.11", "--python-platform", "x86_64-manylinux_2_36")
"""Python and platform of the image, as ``Dockerfile`` has them: Debian 12 on x86_64."""
ARTEFACTS = ("image", "stream-environment", "api")


class SbomError(RuntimeError):
    """A bill could not be written; the message is what the program said that failed."""


def pins_of(lock: Path, *names: str) -> str:
    """Return the entries of a lock with their hashes: those of these names, or names with versions; all where none is named."""
    entries = re.findall(r"^[a-z0-9][^\n]*\\\n(?:    --hash[^\n]*\n)+", lock.read_text() + "\n", re.MULTILINE)
    return "".join(entry for entry in entries if not names or {entry.split("==")[0], entry.split()[0]} & set(names))


def image_pins() -> list[str]:
    """Return what the image installs, as ``name==version``: resolved as in ``Dockerfile``, with the lock as the limit.

    Raises:
        SbomError: No package index could be reached.
    """
    asked = ("pyproject.toml", "glue/pyproject.toml", "--constraint", ALL.name)
    uv = Path(sys.executable).with_name("uv")
    return _run([str(uv), "pip", "compile", *asked, *IMAGE, "--no-header", "--no-annotate", "--quiet"]).split()


def bill(artefact: str) -> tuple[str, Path | None]:
    """Return the pins of what an artefact holds, and the project that it is of."""
    match artefact:
        case "image":
            return pins_of(ALL, *image_pins()), PROJECT_DIR / "pyproject.toml"
        case "stream-environment":
            return pins_of(GLUE), PROJECT_DIR / "glue" / "pyproject.toml"
        case _:
            return pins_of(ALL, *API), None


def write(folder: Path = FOLDER, *, artefacts: Collection[str] = ARTEFACTS) -> list[Path]:
    """Write a bill of each artefact, the same bytes from the same locks, and return the files.

    Raises:
        SbomError: The tool is not there, or refused; or no package index could be reached.
    """
    if not TOOL.exists():
        raise SbomError(f"there is no {TOOL}: `make sbom` sets it up")
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name in artefacts:
        pins, project = bill(name)
        written.append(folder / f"{name}.cdx.json")
        said = [*("--output-reproducible", "--of", "JSON", "--output-file", str(written[-1]))]
        said += ["--pyproject", str(project)] if project else []
        _run([str(TOOL), "requirements", *said, "-"], given=pins)
    return written


def _run(command: list[str], *, given: str = "") -> str:
    done = subprocess.run(command, cwd=PROJECT_DIR, input=given, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SbomError(f"{Path(command[0]).name}: {done.stderr.strip()[-500:]}")
    return done.stdout


def main() -> None:
    """Write them and say where they are."""
    try:
        for path in write():
            print(path.relative_to(PROJECT_DIR))  # noqa: T201 - the command's output
    except SbomError as error:
        sys.exit(str(error))


if __name__ == "__main__":
    main()

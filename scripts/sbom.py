"""``make sbom``: what each artefact holds of others, as CycloneDX JSON, to ``dist/sbom/``.

Belongs here: which artefact is made from which pins. Does not: the format, which is ``cyclonedx-py``'s, in an environment of its own
(``scripts/requirements.in``).

The image holds a part of ``requirements.lock``: the project's and the stream's packages, without those of the tests. The API's package
holds Chalice's runtime alone (``scripts/package.py``).
"""

import os
import re
import subprocess
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
FOLDER = PROJECT_DIR / "dist" / "sbom"
TOOL = PROJECT_DIR / "var" / "supply" / "venv" / "bin" / "cyclonedx-py"
ALL, GLUE = PROJECT_DIR / "requirements.lock", PROJECT_DIR / "glue" / "requirements.lock"
API = ("chalice",)


def pins_of(lock: Path, *names: str) -> str:
    """Return the entries of a lock with their hashes; all of them where none is named."""
    entries = re.findall(r"^[a-z0-9][^\n]*\\\n(?:    --hash[^\n]*\n)+", lock.read_text() + "\n", re.MULTILINE)
    return "".join(entry for entry in entries if not names or entry.split("==")[0] in names)


def bills() -> dict[str, tuple[str, Path | None]]:
    """Return for each artefact the pins of what it holds, and the project that it is of."""
    return {
        "image": (pins_of(ALL), PROJECT_DIR / "pyproject.toml"),
        "stream-environment": (pins_of(GLUE), PROJECT_DIR / "glue" / "pyproject.toml"),
        "api": (pins_of(ALL, *API), None),
    }


def write(folder: Path = FOLDER, *, tool: Path = TOOL) -> list[Path]:
    """Write a bill of each artefact, the same bytes from the same locks, and return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, (pins, project) in bills().items():
        written.append(folder / f"{name}.cdx.json")
        said = [*("--output-reproducible", "--of", "JSON", "--output-file", str(written[-1]))]
        said += ["--pyproject", str(project)] if project else []
        # It warns that a lock does not say which package asks for which.
        environment = {**os.environ, "PYTHONWARNINGS": "ignore::UserWarning"}
        subprocess.run([str(tool), "requirements", *said, "-"], input=pins, text=True, check=True, env=environment)
    return written


def main() -> None:
    """Write them and say where they are."""
    for path in write():
        print(path.relative_to(PROJECT_DIR))  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()

"""Resolve every dependency into ``requirements.lock`` and ``requirements-uv.lock``.

Requirements form, for every supported Python and platform, with hashes and without the address of any index. The first line
holds a hash of what was resolved, so that a test can tell that the lock is in step without asking a registry.
"""

import hashlib
import subprocess
import sys
import tomllib
from pathlib import Path

PROJECT_DIR = Path(__file__).parents[1]
PROJECTS = ("pyproject.toml", "infra/localaws/pyproject.toml", "glue/pyproject.toml")
LOCK = PROJECT_DIR / "requirements.lock"
UV_LOCK = PROJECT_DIR / "requirements-uv.lock"


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


def main() -> None:
    """Write both locks."""
    common = ["--universal", "--python-version", "3.11", "--generate-hashes", "--no-header", "--no-annotate", "--quiet"]
    common += ["--upgrade"] if "--upgrade" in sys.argv[1:] else []
    compile_ = [str(Path(sys.executable).with_name("uv")), "pip", "compile", *common]
    subprocess.run([*compile_, *PROJECTS, "--group", "dev", "--output-file", LOCK.name], cwd=PROJECT_DIR, check=True)
    pins = [line for line in LOCK.read_text().splitlines() if not line.startswith("# inputs ")]
    LOCK.write_text("\n".join([f"# inputs sha256:{inputs_hash()}", *pins]) + "\n")
    start = next(index for index, line in enumerate(pins) if line.startswith("uv=="))
    end = next(index for index in range(start + 1, len(pins)) if not pins[index].startswith(" "))
    UV_LOCK.write_text("\n".join(pins[start:end]) + "\n")


if __name__ == "__main__":
    main()

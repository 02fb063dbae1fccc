"""``make package``: the zip of the API for Lambda, to ``dist/api.zip``.

Belongs here: building it, the same bytes from the same files. Does not: what is in it, which is Chalice's to say: ``app.py``,
``chalicelib/`` and its own runtime; boto3 is part of the Lambda runtime.
"""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

PROJECT_DIR = Path(__file__).resolve().parents[1]
API = PROJECT_DIR / "api"
LONG_AGO = (1980, 1, 1, 0, 0, 0)


def build(target: Path, *, api: Path = API) -> None:
    """Write the deployment package of the Chalice project ``api`` to ``target``."""
    with TemporaryDirectory() as folder:
        # A copy, since Chalice takes what it once made for what it is asked to make, and everything below chalicelib.
        project = Path(
            shutil.copytree(api, Path(folder, "api"), ignore=shutil.ignore_patterns("__pycache__", "deployments"))
        )
        done = subprocess.run(
            [Path(sys.executable).with_name("chalice"), "package", str(Path(folder, "out"))],
            cwd=project,
            # The region is that of a template which is not used; without the other, it would package its own bytecode.
            env={**os.environ, "AWS_DEFAULT_REGION": "eu-west-1", "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            sys.exit(f"chalice package failed: {done.stderr.strip()}")
        target.parent.mkdir(parents=True, exist_ok=True)
        _normalised(Path(folder, "out", "deployment.zip"), target)


def _normalised(source: Path, target: Path) -> None:
    """Copy a zip, its files in the order of their names, without their times and owners."""
    with zipfile.ZipFile(source) as made, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as zipped:
        for name in sorted(made.namelist()):
            entry = zipfile.ZipInfo(name, date_time=LONG_AGO)
            entry.external_attr = 0o644 << 16
            entry.compress_type = zipfile.ZIP_DEFLATED
            zipped.writestr(entry, made.read(name))


def main() -> None:
    """Build it and say where it is."""
    target = PROJECT_DIR / "dist" / "api.zip"
    build(target)
    print(f"{target}: {target.stat().st_size:,} bytes")  # noqa: T201 - the command's output


if __name__ == "__main__":
    main()

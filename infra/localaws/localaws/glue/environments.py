"""Virtual environments of ``--python-virtual-env``: fetched, unpacked once for each version, shared by the runs that want it.

Belongs here: the cache and the unpacking. Does not: what a run's process sees of it (``launch``).

The archive is what ``venv-pack`` makes ("Using Python virtual environments with AWS Glue"): ``bin/python`` at its root. A version is a
URI with its ETag; it is in ``STATE/glue/venvs/<digest>``, and each run's folder has a link ``venv`` to it: what no run's folder links
to is removed.
"""

import gzip
import hashlib
import lzma
import os
import re
import shutil
import tarfile
import threading
import zlib
from pathlib import Path

from localaws.glue.source import LaunchError, Source

MAX_UNPACKED_BYTES = 8 << 30
LINK = "venv"
_INTERPRETER = re.compile(r"(\./)?bin/python[0-9.]*")


class Environments:
    """The environments that are unpacked.

    Args:
        folder: Where they are.
        runs_folder: Where the folders of the runs are.
        max_bytes: How large one may be, unpacked.
    """

    def __init__(self, folder: Path, runs_folder: Path, *, max_bytes: int = MAX_UNPACKED_BYTES) -> None:
        self._folder = folder
        self._runs_folder = runs_folder
        self._max_bytes = max_bytes
        self._lock = threading.Lock()

    def python(self, source: Source, uri: str, run_folder: Path) -> Path:
        """Return the interpreter of an environment. Blocks while it is fetched and unpacked, where it is not there yet.

        Raises:
            LaunchError: It cannot be fetched, is no archive, or has no interpreter that runs here.
            OSError: It cannot be written.
        """
        version = hashlib.sha256(f"{uri} {source.etag(uri)}".encode()).hexdigest()[:32]
        root = self._folder / version
        with self._lock:
            (run_folder / LINK).symlink_to(root)
            if not root.exists():
                draft = self._folder / f"{version}.part"
                shutil.rmtree(draft, ignore_errors=True)
                archive = source.download(uri, draft / "archive")
                try:
                    self._unpack(archive, uri, draft / "root")
                    (draft / "root").rename(root)
                finally:
                    shutil.rmtree(draft, ignore_errors=True)
        python = root / "bin" / "python"
        if not os.access(python, os.X_OK):
            leads = f", which leads to {os.path.realpath(python)}," if python.is_symlink() else ""
            raise LaunchError(
                f"--python-virtual-env {uri}: its bin/python{leads} cannot be run on this machine: build it with a Python that is "
                "here, then pack it with venv-pack"
            )
        return python

    def prune(self) -> None:
        """Remove what no run's folder links to, and what was left half unpacked. Blocks."""
        with self._lock:
            linked = {link.readlink().name for link in self._runs_folder.glob(f"*/{LINK}") if link.is_symlink()}
            for folder in self._folder.glob("*"):
                if folder.name not in linked:
                    shutil.rmtree(folder, ignore_errors=True)

    def _unpack(self, archive: Path, uri: str, target: Path) -> None:
        """Unpack an archive; nothing of it lands outside of ``target``, and no link leads out but that of the interpreter."""
        left_bytes = self._max_bytes

        def checked(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo | None:
            nonlocal left_bytes
            left_bytes -= member.size
            if left_bytes < 0:
                raise LaunchError(
                    f"--python-virtual-env {uri} is more than {self._max_bytes} bytes, unpacked: leave out what the job does "
                    "not import"
                )
            if member.issym() and Path(member.linkname).is_absolute() and _INTERPRETER.fullmatch(member.name):
                return member
            return tarfile.data_filter(member, path)

        try:
            with tarfile.open(archive) as content:
                content.extractall(target, filter=checked)  # noqa: S202 - each member is checked
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError) as error:
            raise LaunchError(
                f"--python-virtual-env {uri} is not an archive that can be unpacked: {error}; pack it with venv-pack, as .tar.gz"
            ) from error
        if not os.path.lexists(target / "bin" / "python"):
            raise LaunchError(
                f"--python-virtual-env {uri} has no bin/python at its root: pack the environment itself, not the folder that it is "
                "in; venv-pack does so"
            )

"""Files that a step changes: all of the new one, or all of the old one."""

import os
import stat
import tempfile
from pathlib import Path


def replace_file(path: Path, text: str, *, mode: int | None = None) -> None:
    """Write a file at once.

    Args:
        path: Of the file.
        text: All of it.
        mode: Of the new file; None: that of the old one, or 0644.

    Raises:
        OSError: It cannot be written; the old one is as it was.
    """
    if mode is None:
        mode = stat.S_IMODE(path.stat().st_mode) if path.exists() else 0o644
    number, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    written = Path(name)
    try:
        with os.fdopen(number, "w") as file:
            file.write(text)
        written.chmod(mode)
        written.replace(path)
    except OSError:
        written.unlink(missing_ok=True)
        raise

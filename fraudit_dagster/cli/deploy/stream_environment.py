"""The virtual environment of the stream job on AWS Glue, as an archive, made on any machine (docs/decisions/0021-environment-archive.md).

Belongs here: its packages, its form, and that they fit the machine they are for. Does not: where it goes (``stream.py``), what is in it
(``glue/requirements.in``).
"""

import gzip
import io
import re
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from fraudit_dagster.cli.errors import CommandError
from fraudit_dagster.settings import PROJECT_DIR

LOCK = PROJECT_DIR / "glue" / "requirements.lock"
ACTIVATE = """\
# `. bin/activate`: the environment is the folder that this file's folder is in, wherever it was unpacked.
VIRTUAL_ENV="$(cd "$(dirname "${BASH_SOURCE[0]:-$0}")/.." && pwd)"
PATH="$VIRTUAL_ENV/bin:$PATH"
export VIRTUAL_ENV PATH
"""
COMMANDS = ("bin/", "../")
"""How a package's record names them."""
_GLIBC = re.compile(rb"\x00GLIBC_2\.(\d+)")
_CPYTHON = re.compile(r"\.cpython-(\d+)")


@dataclass(frozen=True)
class Machine:
    """What an environment is for.

    Attributes:
        python: Version of its Python, as ``3.13``.
        platform: In uv's words.
        glibc: Second number of the newest glibc 2 that its libraries may ask for.
        interpreter: Where Python is on it.
    """

    python: str
    platform: str
    glibc: int
    interpreter: str


GLUE = Machine(python="3.13", platform="x86_64-manylinux_2_34", glibc=34, interpreter="/usr/bin/python3.13")
"""AWS Glue 6.0: Python 3.13 on Amazon Linux 2023, as AWS's page on virtual environments builds for it."""


def build_environment(lock: Path = LOCK, *, machine: Machine = GLUE) -> bytes:
    """Return a ``.tar.gz`` of what ``venv-pack`` would make there: the same bytes from the same lock.

    Args:
        lock: Requirements with hashes.
        machine: What it is for; this one need not be like it.

    Raises:
        CommandError: A package cannot be had for that machine or has another hash than the lock says, or asks for a newer glibc or
            another Python.
    """
    with TemporaryDirectory() as folder:
        packages = Path(folder)
        _install(lock, packages, machine)
        _check(packages, machine)
        archive = io.BytesIO()
        with (
            gzip.GzipFile(filename="", fileobj=archive, mode="wb", mtime=0, compresslevel=6) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as content,
        ):
            members: dict[str, tuple[tarfile.TarInfo, bytes | Path]] = {
                **_skeleton(machine),
                **dict(_packages(packages, machine)),
            }
            for name in sorted(members):
                member, source = members[name]
                if isinstance(source, Path):
                    with source.open("rb") as file:
                        content.addfile(member, file)
                else:
                    content.addfile(member, io.BytesIO(source))
        return archive.getvalue()


def _install(lock: Path, target: Path, machine: Machine) -> None:
    done = subprocess.run(
        [
            *(
                str(Path(sys.executable).with_name("uv")),
                "pip",
                "install",
                "--quiet",
                "--no-config",
                "--link-mode",
                "copy",
            ),
            *(
                "--python",
                sys.executable,
                "--target",
                str(target),
                "--python-version",
                machine.python,
                "--python-platform",
                machine.platform,
            ),
            *("--only-binary", ":all:", "--no-deps", "--require-hashes", "--requirement", str(lock)),
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise CommandError(f"packages of {lock} cannot be had for {machine.platform}: {done.stderr.strip()[-500:]}")


def _check(packages: Path, machine: Machine) -> None:
    """Look at each library: at the versions of glibc that it names, and the Python that it says it is for."""
    for library in sorted(packages.rglob("*.so*")):
        if library.read_bytes()[:4] != b"\x7fELF":
            continue
        name = library.relative_to(packages)
        newest = max((int(number) for number in _GLIBC.findall(library.read_bytes())), default=0)
        if newest > machine.glibc:
            raise CommandError(
                f"{name} asks for glibc 2.{newest}, and that of {machine.platform} is 2.{machine.glibc}: take another release of it"
            )
        tag = _CPYTHON.search(library.name)
        if tag and tag[1] != machine.python.replace(".", ""):
            raise CommandError(f"{name} is for CPython {tag[1]}, not for {machine.python}")


def _skeleton(machine: Machine) -> dict[str, tuple[tarfile.TarInfo, bytes]]:
    """Return what is a virtual environment before anything is in it; the interpreter is a link, as ``venv-pack`` keeps it."""
    python = f"python{machine.python}"
    home = str(Path(machine.interpreter).parent)
    settings = f"home = {home}\ninclude-system-site-packages = false\nversion = {machine.python}\n"
    members = {
        "pyvenv.cfg": _file("pyvenv.cfg", settings.encode()),
        "bin/activate": _file("bin/activate", ACTIVATE.encode()),
    }
    links = {f"bin/{python}": machine.interpreter, "bin/python": python, "bin/python3": python, "lib64": "lib"}
    for name, leads_to in links.items():
        link = tarfile.TarInfo(name)
        link.type, link.linkname, link.mode = tarfile.SYMTYPE, leads_to, 0o777
        members[name] = (link, b"")
    return members


def _packages(folder: Path, machine: Machine) -> Iterator[tuple[str, tuple[tarfile.TarInfo, bytes | Path]]]:
    """Yield the files of the packages; not uv's lock, nor commands, which name this machine's Python, nor what is recorded of them."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and inside.parts[0] not in {"bin", ".lock"} and "__pycache__" not in inside.parts:
            name = f"lib/python{machine.python}/site-packages/{inside.as_posix()}"
            if inside.name == "RECORD":
                lines = path.read_text().splitlines(keepends=True)
                yield name, _file(name, "".join(line for line in lines if not line.startswith(COMMANDS)).encode())
                continue
            member = tarfile.TarInfo(name)
            member.size = path.stat().st_size
            member.mode = 0o755 if path.stat().st_mode & 0o100 else 0o644
            yield name, (member, path)


def _file(name: str, content: bytes) -> tuple[tarfile.TarInfo, bytes]:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(content), 0o644
    return member, content

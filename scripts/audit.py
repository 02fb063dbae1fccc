"""``make audit``: which packages of the locks are known to be vulnerable.

Belongs here: asking about every lock, and telling "nothing found" from "nothing asked". Does not: the advisories, nor how they are
asked for, which is ``pip-audit``'s, in an environment of its own (``scripts/requirements.in``).

    python -m scripts.audit requirements.lock glue/requirements.lock
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

PROJECT_DIR = Path(__file__).resolve().parents[1]
TOOL = PROJECT_DIR / "var" / "supply" / "venv" / "bin" / "pip-audit"


@dataclass(frozen=True)
class Answer:
    """What is known about the packages of one lock.

    Attributes:
        asked: How many were answered for.
        unknown: Those that were not, as ``name``.
        found: Vulnerabilities, as ``name version: advisory, fixed in version``.
        failure: Why there is no answer at all; empty where there is one.
    """

    asked: int = 0
    unknown: tuple[str, ...] = ()
    found: tuple[str, ...] = ()
    failure: str = ""

    @property
    def clean(self) -> bool:
        """Whether every package was asked about, and nothing found."""
        return not (self.unknown or self.found or self.failure)


def ask(lock: Path, *, tool: Path = TOOL) -> Answer:
    """Ask about every package of a lock that this Python on this platform would install."""
    options = ("--format", "json", "--disable-pip", "--require-hashes", "--progress-spinner", "off")
    done = subprocess.run([tool, *options, "--requirement", lock], capture_output=True, text=True, check=False)
    try:
        packages = json.loads(done.stdout)["dependencies"]
    except (ValueError, KeyError):
        return Answer(failure=(done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1])
    answered = [package for package in packages if "skip_reason" not in package]
    return Answer(
        asked=len(answered),
        unknown=tuple(package["name"] for package in packages if "skip_reason" in package),
        found=tuple(
            f"{package['name']} {package['version']}: {each['id']}, fixed in {', '.join(each['fix_versions']) or 'none'}"
            for package in answered
            for each in package["vulns"]
        ),
    )


def report(lock: str, answer: Answer) -> str:
    """Return what is known about one lock, as lines to read."""
    if answer.failure:
        return f"{lock}: NOT AUDITED, the advisories were not reached: {answer.failure}"
    lines = [f"{lock}: {answer.asked} packages asked about, {len(answer.found)} known vulnerabilities"]
    lines += [f"  {each}" for each in answer.found]
    if answer.unknown:
        lines.append(
            f"  NOT AUDITED: PyPI's advisories know nothing of {len(answer.unknown)} packages, {answer.unknown[0]} first; "
            "where that is all of them, the index is a mirror without advisories: ask from another network"
        )
    return "\n".join(lines)


def main(locks: Sequence[str]) -> int:
    """Ask about all of them, say what is known, and return 1 where one is not clean."""
    clean = True
    for lock in locks:
        answer = ask(PROJECT_DIR / lock)
        clean = clean and answer.clean
        print(report(lock, answer), flush=True)  # noqa: T201 - the command's output
    return 0 if clean else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The audit tells what was found from what could not be asked: either fails it, and each is said for every lock."""

import json
from pathlib import Path
from typing import Any

import pytest

from scripts import audit

CLEAN = {"name": "boto3", "version": "1.44.5", "vulns": []}
VULNERABLE = {"name": "urllib3", "version": "1.0", "vulns": [{"id": "PYSEC-2021-108", "fix_versions": ["1.26.5"]}]}
UNKNOWN = {"name": "numpy", "skip_reason": "Dependency not found on PyPI and could not be audited: numpy (2.4.6)"}


def tool(folder: Path, *packages: dict[str, Any]) -> Path:
    """A program that answers as pip-audit does: by exit code 0 too where it could ask about nothing."""
    program = folder / "pip-audit"
    program.write_text(f"#!/bin/sh\ncat <<'END'\n{json.dumps({'dependencies': packages, 'fixes': []})}\nEND\n")
    program.chmod(0o755)
    return program


def test_all_packages_asked_about_and_nothing_found_is_clean(tmp_path: Path) -> None:
    answer = audit.ask(tmp_path / "a.lock", tool=tool(tmp_path, CLEAN))
    assert answer.clean
    assert audit.report("a.lock", answer) == "a.lock: 1 packages asked about, 0 known vulnerabilities"


def test_a_vulnerability_is_named_with_the_version_that_mends_it(tmp_path: Path) -> None:
    answer = audit.ask(tmp_path / "a.lock", tool=tool(tmp_path, CLEAN, VULNERABLE))
    assert not answer.clean
    assert "urllib3 1.0: PYSEC-2021-108, fixed in 1.26.5" in audit.report("a.lock", answer)


def test_a_package_that_could_not_be_asked_about_is_not_clean(tmp_path: Path) -> None:
    answer = audit.ask(tmp_path / "a.lock", tool=tool(tmp_path, CLEAN, UNKNOWN))
    assert not answer.clean
    said = audit.report("a.lock", answer)
    assert "1 packages asked about" in said
    assert "NOT AUDITED: PyPI's advisories know nothing of 1 packages, numpy first" in said


def test_no_answer_is_not_clean(tmp_path: Path) -> None:
    program = tmp_path / "pip-audit"
    program.write_text("#!/bin/sh\necho 'ERROR: could not connect' >&2\nexit 1\n")
    program.chmod(0o755)
    answer = audit.ask(tmp_path / "a.lock", tool=program)
    assert not answer.clean
    assert audit.report("a.lock", answer) == (
        "a.lock: NOT AUDITED, the advisories were not reached: ERROR: could not connect"
    )


def test_every_lock_is_asked_about_though_the_first_has_no_answer(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = {"a.lock": audit.Answer(failure="away"), "b.lock": audit.Answer(asked=3)}
    monkeypatch.setattr(audit, "ask", lambda lock: answers[lock.name])
    assert audit.main(["a.lock", "b.lock"]) == 1
    assert "b.lock: 3 packages asked about" in capsys.readouterr().out
    assert audit.main(["b.lock"]) == 0

"""``python -m scripts.terraform`` says what it lacks, and touches nothing of the checkout."""

from pathlib import Path

import pytest

from scripts import terraform
from scripts.terraform import MODULES, copy_modules, what_is_missing


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of the PATH."""
    monkeypatch.setenv("PATH", str(tmp_path))
    return tmp_path


def test_without_terraform_it_says_where_to_get_it(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert list(programs.iterdir()) == []
    assert "install 1.10 or newer" in what_is_missing()
    monkeypatch.setattr("sys.argv", ["terraform", "plan"])
    with pytest.raises(SystemExit, match="there is no terraform"):
        terraform.main()


def test_without_the_stand_in_it_says_what_sets_it_up(programs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (programs / "terraform").touch(mode=0o755)
    monkeypatch.setattr(terraform, "STATE_DIR", programs)
    assert "make tf.setup" in what_is_missing()


def test_a_copy_keeps_its_state_beside_itself(tmp_path: Path) -> None:
    copied = copy_modules(tmp_path / "copy")
    assert 'backend "local"' in (copied / "state_override.tf").read_text()
    assert (copied / "modules" / "stream" / "main.tf").exists()
    assert not (copied / "standin").exists()
    assert not (MODULES / "state_override.tf").exists()

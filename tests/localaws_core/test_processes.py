"""Children never outlive their parent."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from localaws import processes

SLEEP = [sys.executable, "-c", "import time; print('ready', flush=True); time.sleep(600)"]


def is_alive(pid: int) -> bool:
    return bool(psutil.pid_exists(pid)) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def await_text(path: Path, text: str) -> str:
    deadline = time.monotonic() + 20
    while not path.exists() or text not in path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return path.read_text()


def test_a_child_has_its_own_group_log_and_environment(tmp_path: Path) -> None:
    log = tmp_path / "logs" / "child.log"
    command = [sys.executable, "-c", "import os; print(os.environ['X'], os.getcwd(), os.getpgrp() == os.getpid())"]
    child = processes.spawn(command, env={"X": "1"}, cwd=tmp_path, log_path=log)
    assert child.wait(20) == 0
    assert log.read_text() == f"1 {tmp_path} True\n"
    with pytest.raises(FileNotFoundError):
        processes.spawn(["/no/such/program"], env={}, log_path=log)


def test_end_asks_first_and_kills_after_the_grace(tmp_path: Path) -> None:
    asked = processes.spawn(SLEEP, env={**os.environ}, log_path=tmp_path / "asked")
    await_text(tmp_path / "asked", "ready")
    assert processes.end(asked, grace_s=60) == -signal.SIGTERM
    deaf = [
        sys.executable,
        "-c",
        "import signal, time; signal.signal(15, signal.SIG_IGN); print('ready', flush=True); time.sleep(600)",
    ]
    stubborn = processes.spawn(deaf, env={**os.environ}, log_path=tmp_path / "stubborn")
    await_text(tmp_path / "stubborn", "ready")
    assert processes.end(stubborn, grace_s=0.2) == -signal.SIGKILL
    assert processes.end(stubborn, grace_s=0.2) == -signal.SIGKILL


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="signals are put back between fork and exec on Linux")
def test_a_child_can_be_asked_to_end_though_its_parent_ignores_the_signal(tmp_path: Path) -> None:
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        child = processes.spawn(SLEEP, env={**os.environ}, log_path=tmp_path / "child")
    finally:
        signal.signal(signal.SIGTERM, before)
    await_text(tmp_path / "child", "ready")
    assert processes.end(child, grace_s=60) == -signal.SIGTERM


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the parent-death signal is Linux's")
def test_a_child_dies_when_its_parent_is_killed(tmp_path: Path) -> None:
    parent_code = f"""
from pathlib import Path
import os, time
from localaws import processes
child = processes.spawn({SLEEP!r}, env=dict(os.environ), log_path=Path({str(tmp_path / "child")!r}))
print("child", child.pid, flush=True)
time.sleep(600)
"""
    with subprocess.Popen([sys.executable, "-c", parent_code], stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        child = psutil.Process(int(parent.stdout.readline().split()[1]))
        parent.kill()
    child.wait(10)


def test_a_mark_finds_descendants_wherever_they_went(tmp_path: Path) -> None:
    escape = f"import subprocess; subprocess.Popen({SLEEP!r}, start_new_session=True)"
    environment = {**os.environ, "LOCALAWS_TEST_MARK": "42"}
    log = tmp_path / "log"
    parent = processes.spawn([sys.executable, "-c", escape], env=environment, log_path=log)
    parent.wait(20)
    await_text(log, "ready")
    assert processes.marked("LOCALAWS_TEST_MARK", "4") == []
    (pid,) = processes.kill_marked("LOCALAWS_TEST_MARK", "42")
    assert not is_alive(pid)

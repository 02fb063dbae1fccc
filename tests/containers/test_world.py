"""What the container of the world runs: in the foreground, until it is told to end."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil


def test_the_end_of_its_container_ends_the_world_in_order(tmp_path: Path) -> None:
    command: list[str | Path] = [
        Path(sys.executable).with_name("fraudit"),
        "up",
        "--foreground",
        "--only",
        "kinesis",
        "--state",
        tmp_path,
    ]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as world:
        assert world.stdout is not None
        assert world.stdout.readline().split()[:2] == ["kinesis", "healthy"]
        world.send_signal(signal.SIGTERM)
        assert world.wait(60) == 0
    assert not [
        line
        for line in (process.info["cmdline"] for process in psutil.process_iter(["cmdline"]))
        if str(tmp_path) in " ".join(line or [])
    ]

"""What a run ends in when time passes: timeouts, maintenance, stops; and what Glue keeps of it. The clock is the test's."""

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import orjson
import psutil
import pytest
from localaws.glue.records import KEPT_FOLDERS, KEPT_FOR
from localaws.glue.runs import restart_time
from localaws.glue.service import Glue
from localaws.wire import AwsError

from .glue_cloud import ENDED, ENDLESS, await_log, put_script, s3_at, wait_for

if TYPE_CHECKING:
    from mypy_boto3_glue import GlueClient
    from mypy_boto3_s3 import S3Client

SUNDAY = datetime(2026, 11, 22, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def moto_url(serve_module: Callable[..., str]) -> str:
    return serve_module("moto.server", "-H", "127.0.0.1", port_option="-p", health="/moto-api/")


@pytest.fixture
def s3(moto_url: str, monkeypatch: pytest.MonkeyPatch) -> "S3Client":
    monkeypatch.setenv("AWS_ENDPOINT_URL", moto_url)
    return s3_at(moto_url)


class Clock:
    """A clock that only the test moves."""

    def __init__(self) -> None:
        self.now = SUNDAY

    def __call__(self) -> datetime:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


class Service:
    """A Glue in this process, with one job."""

    def __init__(self, glue: Glue, folder: Path) -> None:
        self.glue = glue
        self.folder = folder

    def start(self, **request: Any) -> str:
        return str(self.glue.start_job_run({"JobName": "job", **request})["JobRunId"])

    def run(self, run_id: str) -> dict[str, Any]:
        run: dict[str, Any] = self.glue.get_job_run({"JobName": "job", "RunId": run_id})["JobRun"]
        return run

    def states(self) -> list[str]:
        return [run["JobRunState"] for run in self.glue.get_job_runs({"JobName": "job"})["JobRuns"]]

    async def reach(self, run_id: str, *states: str) -> dict[str, Any]:
        deadline = time.monotonic() + 20
        while (run := self.run(run_id))["JobRunState"] not in states:
            assert time.monotonic() < deadline, run
            await asyncio.sleep(0.02)
        return run

    async def ready(self, run_id: str) -> int:
        """Wait until the script listens, and return its pid."""
        return int((await asyncio.to_thread(await_log, self.folder.parent, run_id, "\n")).split()[1])


@asynccontextmanager
async def served(
    folder: Path, clock: Clock, command: dict[str, Any] | None = None, **job: Any
) -> AsyncIterator[Service]:
    glue = Glue(folder / "glue", region="eu-west-1", clock=clock, stop_grace_s=0.5)
    async with glue.lifespan():
        if command is not None:
            glue.create_job({"Name": "job", "Role": "r", "Command": command, **job})
        yield Service(glue, folder / "glue")


STUBBORN = """
import os, signal, time
signal.signal(signal.SIGTERM, lambda *_: None)
print("ready", os.getpid(), flush=True)
while True:
    time.sleep(0.05)
"""
GENTLE = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
print("ready", os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize("script", [ENDLESS, STUBBORN], ids=["endless", "stubborn"])
def test_a_run_over_its_timeout_ends_in_timeout_and_is_not_tried_again(
    s3: "S3Client", tmp_path: Path, clock: Clock, script: str
) -> None:
    async def scenario() -> None:
        command = put_script(s3, "timeout", script, kind="glueetl")
        async with served(tmp_path, clock, command, Timeout=60, MaxRetries=1) as service:
            run_id = service.start(Timeout=5)
            await service.reach(run_id, "RUNNING")
            await service.ready(run_id)
            clock.now += timedelta(minutes=4)
            assert service.run(run_id)["ExecutionTime"] == 240
            clock.now += timedelta(minutes=1)
            run = await service.reach(run_id, *ENDED)
            assert (run["JobRunState"], run["ErrorMessage"]) == ("TIMEOUT", "Job run timed out")
            assert (run["ExecutionTime"], run["Timeout"]) == (300, 5)
            assert service.states() == ["TIMEOUT"]

    asyncio.run(scenario())


def test_a_script_that_does_not_stop_is_killed_after_its_grace(s3: "S3Client", tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "stubborn", STUBBORN)) as service:
            run_id = service.start()
            await service.reach(run_id, "RUNNING")
            await service.ready(run_id)
            service.glue.batch_stop_job_run({"JobName": "job", "JobRunIds": [run_id]})
            assert service.run(run_id)["JobRunState"] == "STOPPING"
            await service.reach(run_id, "STOPPED")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    ("started", "window", "restarted"),
    [
        (SUNDAY, None, SUNDAY + timedelta(days=7)),
        (SUNDAY, "Sun:13", SUNDAY + timedelta(days=7, hours=1)),
        (SUNDAY, "Sun:10", SUNDAY + timedelta(days=7)),
        (SUNDAY, "Sun:9", SUNDAY + timedelta(days=13, hours=21)),
        (SUNDAY, "Mon:0", SUNDAY + timedelta(days=7, hours=12)),
        (SUNDAY - timedelta(hours=11), "Sat:23", SUNDAY + timedelta(days=7, hours=-11)),
    ],
)
def test_a_streaming_run_is_restarted_after_seven_days_in_its_window(
    started: datetime, window: str | None, restarted: datetime
) -> None:
    assert restart_time(started, window) == restarted


def test_a_restarted_run_is_expired_and_followed_by_a_new_one(s3: "S3Client", tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "gentle", GENTLE), MaintenanceWindow="Mon:1") as service:
            first = service.start(Arguments={"--a": "b"})
            await service.reach(first, "RUNNING")
            await service.ready(first)
            clock.now += timedelta(days=7)
            await asyncio.sleep(0.3)  # the run looks at the clock every 0.1 s
            assert service.states() == ["RUNNING"]
            clock.now += timedelta(hours=13)
            assert "ErrorMessage" not in await service.reach(first, "EXPIRED")
            second = await service.reach(f"{first}_restart_1", "RUNNING")
            assert (second["PreviousRunId"], second["Attempt"], second["Arguments"]) == (first, 0, {"--a": "b"})
            assert (second["MaintenanceWindow"], second["ExecutionTime"]) == ("Mon:1", 0)
            await service.ready(second["Id"])
            clock.now += timedelta(days=14)
            await service.reach(second["Id"], "EXPIRED")
            await service.reach(f"{first}_restart_2", "RUNNING")

    asyncio.run(scenario())


def test_a_streaming_run_in_the_middle_of_a_batch_is_not_interrupted_for_another_seven_days(
    s3: "S3Client", tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "busy", STUBBORN)) as service:
            first = service.start()
            await service.reach(first, "RUNNING")
            await service.ready(first)
            clock.now += timedelta(days=8)
            await asyncio.sleep(0.8)  # longer than the grace of a stop
            assert service.states() == ["RUNNING"]
            clock.now += timedelta(days=6)
            await service.reach(first, "EXPIRED")
            restarted = await service.reach(f"{first}_restart_1", "RUNNING")
            os.kill(await service.ready(restarted["Id"]), signal.SIGKILL)
            failed = await service.reach(restarted["Id"], "FAILED")
            assert failed["ErrorMessage"] == "the script was ended by signal 9"

    asyncio.run(scenario())


def test_a_streaming_run_with_a_timeout_is_not_restarted(s3: "S3Client", tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "short", GENTLE), MaintenanceWindow="Sun:13") as service:
            run_id = service.start(Timeout=10_079)
            await service.reach(run_id, "RUNNING")
            await service.ready(run_id)
            clock.now += timedelta(days=7, hours=2)
            assert (await service.reach(run_id, *ENDED))["JobRunState"] == "TIMEOUT"

    asyncio.run(scenario())


def test_the_attempt_after_a_restart_counts_on_and_its_restarts_begin_anew(
    s3: "S3Client", tmp_path: Path, clock: Clock
) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "attempts", GENTLE), MaxRetries=1) as service:
            first = service.start()
            ids = [first, f"{first}_restart_1", f"{first}_attempt_1", f"{first}_attempt_1_restart_1"]
            for run_id, way in zip(ids, ("expire", "fail", "expire", "stop"), strict=True):
                await service.reach(run_id, "RUNNING")
                pid = await service.ready(run_id)
                if way == "expire":
                    clock.now += timedelta(days=7)
                elif way == "fail":
                    os.kill(pid, signal.SIGKILL)
                else:
                    service.glue.batch_stop_job_run({"JobName": "job", "JobRunIds": [run_id]})
                await service.reach(run_id, *ENDED)
            assert service.states() == ["STOPPED", "EXPIRED", "FAILED", "EXPIRED"]
            assert [service.run(run_id)["Attempt"] for run_id in ids] == [0, 0, 1, 1]

    asyncio.run(scenario())


def test_the_folders_of_old_runs_go_and_their_history_stays_for_90_days(
    s3: "S3Client", tmp_path: Path, clock: Clock
) -> None:
    def folders() -> set[str]:
        return {path.name for path in (tmp_path / "glue" / "runs").iterdir()}

    async def scenario() -> None:
        ids = [f"jr_{number}" for number in range(KEPT_FOLDERS + 3)]
        async with served(tmp_path, clock, put_script(s3, "many", "")):
            pass
        path = tmp_path / "glue" / "glue.json"
        ended = {"JobName": "job", "JobRunState": "FAILED", "StartedOn": SUNDAY, "Attempt": 0, "Arguments": {}}
        path.write_bytes(
            orjson.dumps({**orjson.loads(path.read_bytes()), "runs": [{**ended, "Id": run_id} for run_id in ids]})
        )
        for name in ("unknown", *ids):
            (tmp_path / "glue" / "runs" / name).mkdir(parents=True)
        async with served(tmp_path, clock) as service:
            assert folders() == {"unknown", *ids[3:]}
            clock.now += KEPT_FOR - timedelta(minutes=1)
            run_id = service.start()
            await service.reach(run_id, "SUCCEEDED")
            await asyncio.to_thread(wait_for, lambda: folders() == {"unknown", *ids[4:], run_id}, folders)
            assert len(service.states()) == len(ids) + 1
            clock.now += timedelta(minutes=1)
            await service.reach(service.start(), "SUCCEEDED")
            assert service.states() == ["SUCCEEDED", "SUCCEEDED"]

    asyncio.run(scenario())


def test_runs_that_wait_go_on_waiting_over_a_restart(s3: "S3Client", tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock, put_script(s3, "queue", GENTLE), JobRunQueuingEnabled=True) as service:
            first, second, third = (service.start() for _ in range(3))
            await service.reach(first, "RUNNING")
        async with served(tmp_path, clock) as service:
            await service.reach(second, "RUNNING")
            assert service.states() == ["WAITING", "RUNNING", "STOPPED"]
            service.glue.batch_stop_job_run({"JobName": "job", "JobRunIds": [third, second]})
            await service.reach(second, "STOPPED")

    asyncio.run(scenario())


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b'{"jobs": {',
        b"[]",
        b'{"jobs": {"job": {}}, "tags": {}, "runs": []}',
        b'{"jobs": {}, "runs": [{"Id": "jr_1", "JobName": "job"}]}',
        b'{"jobs": {}, "runs": [{"Id": "a", "JobName": "b", "JobRunState": "FAILED", "StartedOn": "?", "Attempt": 0, "Arguments": {}}]}',
    ],
    ids=["empty", "half", "a list", "a bare job", "a bare run", "no time"],
)
def test_a_file_that_is_not_whole_is_set_aside_and_named(
    tmp_path: Path, clock: Clock, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async def scenario() -> None:
        async with served(tmp_path, clock) as service:
            assert service.glue.get_jobs({})["Jobs"] == []
            command = {"ScriptLocation": "s3://b/k.py"}
            service.glue.create_job({"Name": "job", "Role": "r", "Command": command})
        async with served(tmp_path, clock) as service:
            assert [job["Name"] for job in service.glue.get_jobs({})["Jobs"]] == ["job"]

    (tmp_path / "glue").mkdir()
    (tmp_path / "glue" / "glue.json").write_bytes(content)
    (tmp_path / "glue" / "glue.json.new").write_bytes(b"half")
    asyncio.run(scenario())
    assert (tmp_path / "glue" / "glue.json.broken").read_bytes() == content
    assert not (tmp_path / "glue" / "glue.json.new").exists()
    assert "glue.json is not whole" in caplog.text


def test_what_cannot_be_written_is_refused_and_what_runs_goes_on(s3: "S3Client", tmp_path: Path, clock: Clock) -> None:
    async def scenario() -> None:
        draft = tmp_path / "glue" / "glue.json.new"
        command = put_script(s3, "full", GENTLE)
        async with served(tmp_path, clock, command) as service:
            run_id = service.start()
            await service.reach(run_id, "RUNNING")
            await service.ready(run_id)
            draft.symlink_to("/dev/full")
            calls: list[tuple[Callable[[dict[str, Any]], Any], dict[str, Any]]] = [
                (service.glue.create_job, {"Name": "other", "Role": "r", "Command": command}),
                (service.glue.update_job, {"JobName": "job", "JobUpdate": {"Role": "other", "Command": command}}),
                (service.glue.delete_job, {"JobName": "job"}),
            ]
            for call, params in calls:
                with pytest.raises(AwsError, match=r"InternalServiceException.*No space left") as caught:
                    call(params)
                assert caught.value.status == 500
                draft.symlink_to("/dev/full")
            assert [job["Role"] for job in service.glue.get_jobs({})["Jobs"]] == ["r"]
            service.glue.batch_stop_job_run({"JobName": "job", "JobRunIds": [run_id]})
            draft.unlink(missing_ok=True)
            await service.reach(run_id, "STOPPED")
        async with served(tmp_path, clock) as service:
            assert service.states() == ["STOPPED"]

    asyncio.run(scenario())


def test_after_a_kill_the_history_is_there_and_the_run_is_not(
    serve_module: Callable[..., str], s3: "S3Client", moto_url: str, tmp_path: Path
) -> None:
    def client() -> "GlueClient":
        url = serve_module("localaws.glue", "--state", str(tmp_path), AWS_ENDPOINT_URL=moto_url)
        return boto3.client("glue", endpoint_url=url)

    glue = client()
    script = """
    import os, subprocess, sys, time
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    print("pid", os.getpid(), child.pid, flush=True)
    time.sleep(600)
    """
    command: Any = put_script(s3, "endless", script)
    glue.create_job(
        Name="endless", Role="r", Command=command, Tags={"team": "fraud"}, JobRunQueuingEnabled=True, MaxRetries=1
    )
    run_id, waiting = (glue.start_job_run(JobName="endless")["JobRunId"] for _ in range(2))
    processes = [psutil.Process(int(pid)) for pid in await_log(tmp_path, run_id, "\n").split()[1:]]
    os.kill(processes[0].ppid(), signal.SIGKILL)
    processes[0].wait(10)
    glue = client()
    run = glue.get_job_run(JobName="endless", RunId=run_id)["JobRun"]
    assert run["JobRunState"] == "FAILED"
    assert "killed" in run["ErrorMessage"]
    assert not processes[1].is_running() or processes[1].status() == psutil.STATUS_ZOMBIE
    assert glue.get_tags(ResourceArn="arn:aws:glue:eu-west-1:123456789012:job/endless")["Tags"] == {"team": "fraud"}
    for active in (f"{run_id}_attempt_1", waiting):
        await_log(tmp_path, active, "\n")
        glue.batch_stop_job_run(JobName="endless", JobRunIds=[active])

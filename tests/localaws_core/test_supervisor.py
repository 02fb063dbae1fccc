"""``localaws up``, ``status``, ``env`` and ``down``, as a user runs them."""

import asyncio
import json
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil
import psycopg2
import pytest
from localaws import processes, services, state, supervisor

from tests.conftest import free_port

PYTHON = json.dumps(sys.executable)
Localaws = Callable[..., subprocess.CompletedProcess[str]]


def run(*args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [sys.executable, "-m", "localaws.cli", *args], capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == code, done
    return done


@pytest.fixture
def state_dir(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "var"
    yield folder
    run("down", "--state", str(folder))
    assert_nothing_left(folder)


def assert_nothing_left(folder: Path) -> None:
    status = state.read_status(folder)
    assert status is None or processes.marked(state.OWNER_MARK, status["owner"]) == []
    command_lines = [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]
    assert [line for line in command_lines if str(folder) in line] == []


def status_of(folder: Path, *, code: int = 0) -> dict[str, Any]:
    status: dict[str, Any] = json.loads(run("status", "--state", str(folder), "--json", code=code).stdout)
    return status


def await_service(folder: Path, name: str, is_so: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    deadline = time.monotonic() + 30
    while not is_so(service := (state.read_status(folder) or {})["services"][name]):
        assert time.monotonic() < deadline, service
        time.sleep(0.05)
    return dict(service)


def services_file(folder: Path, text: str) -> str:
    path = folder / "services.yaml"
    path.write_text("services:\n" + text)
    return str(path)


def up(folder: Path, *args: str, code: int = 0) -> subprocess.CompletedProcess[str]:
    return run("up", "--state", str(folder), "--port-base", str(free_port()), *args, code=code)


def test_up_starts_all_in_order_and_down_leaves_nothing(
    state_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed = tmp_path / "seed.yaml"
    seed.write_text("- {service: kinesis, action: create_stream, params: {StreamName: seeded, ShardCount: 1}}")
    port = free_port()
    further = services_file(
        tmp_path,
        f"""
  seed: {{command: [{PYTHON}, -m, localaws.cli, apply, {seed}], once: true, after: [kinesis, moto]}}
  web:
    command: [{PYTHON}, -m, http.server, "{{port}}", --bind, 127.0.0.1]
    cwd: {tmp_path}
    port: {port}
    health: {{http: /}}
    after: [seed]
    exports: {{WEB_URL: "http://127.0.0.1:{{port}}"}}
""",
    )
    monkeypatch.setenv("AWS_PROFILE", "somebody")
    monkeypatch.setenv("LOCALAWS_TRAIL", str(tmp_path / "trail"))
    done = up(state_dir, "--only", "web,postgres", "--services", further, "--database", "facts")
    lines = [line.split()[:2] for line in done.stdout.splitlines()]
    assert lines.index(["seed", "done"]) > max(lines.index(["kinesis", "healthy"]), lines.index(["moto", "healthy"]))
    assert lines.index(["web", "healthy"]) > lines.index(["seed", "done"])

    monkeypatch.delenv("AWS_PROFILE")
    services = status_of(state_dir)["services"]
    assert {name: service["status"] for name, service in services.items()} == {
        "moto": "healthy",
        "kinesis": "healthy",
        "postgres": "healthy",
        "seed": "done",
        "web": "healthy",
    }
    assert services["web"]["port"] == port
    assert Path(services["web"]["log"]).parent == state_dir / "logs"

    exported = dict(
        shlex.split(line)[1].split("=", 1) for line in run("env", "--state", str(state_dir)).stdout.splitlines()
    )
    assert exported["WEB_URL"] == f"http://127.0.0.1:{port}"
    assert exported["AWS_REGION"] == exported["AWS_DEFAULT_REGION"] == "eu-west-1"
    assert boto3.client("kinesis", endpoint_url=exported["AWS_ENDPOINT_URL_KINESIS"]).list_streams()["StreamNames"] == [
        "seeded"
    ]
    assert httpx.get(exported["WEB_URL"]).status_code == 200
    calls = map(json.loads, (tmp_path / "trail" / "kinesis.jsonl").read_text().splitlines())
    assert ("seed", "kinesis:CreateStream") in {(call["caller"], call["action"]) for call in calls}  # by its own name
    assert "already" not in up(state_dir, "--only", "kinesis").stderr

    run("down", "--state", str(state_dir))
    assert_nothing_left(state_dir)
    assert {service["status"] for service in status_of(state_dir, code=1)["services"].values()} == {"stopped", "done"}
    assert "nothing runs" in run("env", "--state", str(state_dir), code=1).stderr


def database(folder: Path, **changed: str) -> Any:
    exported = (state.read_status(folder) or {})["env"]
    where = {"user": "USER", "password": "PASSWORD", "dbname": "DB", "host": "HOST", "port": "PORT"}
    return psycopg2.connect(**{key: exported[f"POSTGRES_{name}"] for key, name in where.items()} | changed)


def test_postgres_killed_under_load_keeps_every_row_that_was_committed(state_dir: Path) -> None:
    up(state_dir, "--only", "postgres")
    pid = status_of(state_dir)["services"]["postgres"]["pid"]
    with closing(database(state_dir)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE kept (writer int, n int)")
    committed: list[tuple[int, int]] = []
    ended = []

    def write(writer: int) -> None:
        try:
            with closing(database(state_dir)) as connection:
                for n in range(1_000_000):
                    with connection, connection.cursor() as cursor:
                        cursor.execute("INSERT INTO kept VALUES (%s, %s)", (writer, n))
                    committed.append((writer, n))
        except psycopg2.Error as error:
            ended.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in range(4)]
    for writer in writers:
        writer.start()
    deadline = time.monotonic() + 30
    while len(committed) < 200:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    for writer in writers:
        writer.join(30)
    assert len(ended) == 4
    await_service(state_dir, "postgres", lambda service: service["status"] == "healthy" and service["restarts"] == 1)
    with closing(database(state_dir)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT writer, n FROM kept")
        rows = cursor.fetchall()
    assert set(committed) <= set(rows)
    assert len(rows) == len(set(rows)) <= len(committed) + 4


def test_postgres_wants_its_password_and_keeps_its_rows(state_dir: Path) -> None:
    def execute(sql: str) -> list[Any]:
        with closing(database(state_dir)) as connection, connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    up(state_dir, "--only", "postgres", "--database", "facts")
    assert execute("CREATE TABLE kept AS SELECT 7 AS n; SELECT current_database()") == [("facts",)]
    assert execute("SHOW timezone") == [("UTC",)]
    with pytest.raises(psycopg2.OperationalError, match="password authentication failed"):
        database(state_dir, password="wrong")
    pid = status_of(state_dir)["services"]["postgres"]["pid"]
    listens = {
        connection.laddr.ip for connection in psutil.Process(pid).net_connections() if connection.status == "LISTEN"
    }
    assert listens == {"127.0.0.1"}

    os.kill(pid, signal.SIGKILL)
    await_service(state_dir, "postgres", lambda service: service["status"] == "healthy" and service["restarts"] == 1)
    assert execute("SELECT n FROM kept") == [(7,)]
    run("down", "--state", str(state_dir))
    (state_dir / "postgres" / "data" / "postmaster.pid").write_text(
        f"{os.getpid()}\n"
    )  # of a dead server, and reused since
    up(state_dir, "--only", "postgres", "--database", "facts")
    assert execute("SELECT n FROM kept") == [(7,)]


def test_a_taken_port_gives_the_next_free_one_and_says_so(state_dir: Path, tmp_path: Path) -> None:
    base = free_port()
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", base + 1))
        listener.listen()
        first = run("up", "--state", str(state_dir), "--only", "kinesis", "--port-base", str(base))
    assert f"port {base + 1} is taken" in first.stdout
    assert status_of(state_dir)["services"]["kinesis"]["port"] > base + 1

    other = tmp_path / "other"
    run("up", "--state", str(other), "--only", "kinesis", "--port-base", str(base))
    urls = {status_of(folder)["services"]["kinesis"]["url"] for folder in (state_dir, other)}
    assert [httpx.get(f"{url}/_health").status_code for url in urls] == [200, 200]
    run("down", "--state", str(other))
    assert_nothing_left(other)
    assert status_of(state_dir)["services"]["kinesis"]["status"] == "healthy"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (
            "command: [PYTHON, -c, \"print('my last words'); raise SystemExit(7)\"]",
            "it ended at its start with exit code 7",
        ),
        (
            "command: [PYTHON, -c, \"print('my last words'); 1 / 0\"], once: true",
            "it ended at its start with exit code 1",
        ),
        ("command: [/no/such/program]", "it cannot be run"),
    ],
)
def test_a_service_that_dies_at_its_start_ends_everything_and_is_named(
    state_dir: Path, tmp_path: Path, broken: str, why: str
) -> None:
    text = broken.replace("PYTHON", PYTHON)
    further = services_file(
        tmp_path,
        f"""
  broken: {{{text}, port: {free_port()}, health: {{tcp: true}}, after: [kinesis]}}
  later: {{command: [{PYTHON}, -c, "open('started', 'w')"], cwd: {tmp_path}, once: true, after: [broken]}}
""",
    )
    error = up(state_dir, "--only", "later", "--services", further, code=1).stderr
    assert error.startswith(f"localaws up: broken: {why}")
    assert ("my last words" in error) == ("last words" in broken)
    assert str(state_dir / "logs" / "broken.log") in error
    assert_nothing_left(state_dir)
    assert not (tmp_path / "started").exists()
    assert status_of(state_dir, code=1)["services"]["broken"]["status"] == "failed"


def test_a_service_that_dies_later_is_started_again_a_few_times(state_dir: Path, tmp_path: Path) -> None:
    code = "import os, time; time.sleep(1.2 if os.path.exists('doomed') else 600)"
    further = services_file(tmp_path, f"  worker: {{command: [{PYTHON}, -c, {json.dumps(code)}], cwd: {tmp_path}}}\n")
    up(state_dir, "--only", "worker", "--services", further)
    os.kill(status_of(state_dir)["services"]["worker"]["pid"], signal.SIGKILL)
    revived = await_service(
        state_dir, "worker", lambda service: service["restarts"] == 1 and service["status"] == "healthy"
    )
    assert revived["why"] == "it ended by SIGKILL"
    (tmp_path / "doomed").touch()
    os.kill(revived["pid"], signal.SIGTERM)
    failed = await_service(state_dir, "worker", lambda service: service["status"] == "failed")
    assert (failed["restarts"], failed["why"]) == (3, "it ended with exit code 0")
    assert "worker       failed" in run("status", "--state", str(state_dir), code=1).stdout


def test_moto_comes_back_with_what_it_was_asked_to_keep(state_dir: Path) -> None:
    up(state_dir, "--only", "moto")
    moto = status_of(state_dir)["services"]["moto"]
    s3 = boto3.client("s3", endpoint_url=moto["url"])
    s3.create_bucket(Bucket="kept", CreateBucketConfiguration={"LocationConstraint": "eu-west-1"})
    s3.put_object(Bucket="kept", Key="k", Body=b"x")
    os.kill(moto["pid"], signal.SIGKILL)
    await_service(state_dir, "moto", lambda service: service["restarts"] == 1 and service["status"] == "healthy")
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"x"
    run("down", "--state", str(state_dir))
    up(state_dir, "--only", "moto")
    s3 = boto3.client("s3", endpoint_url=status_of(state_dir)["services"]["moto"]["url"])
    assert s3.get_object(Bucket="kept", Key="k")["Body"].read() == b"x"


def test_a_service_that_lives_and_does_not_answer_is_started_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(supervisor, "PROBE_EVERY_S", 0.1)
    monkeypatch.setattr(supervisor, "UNANSWERED_S", 0.5)
    monkeypatch.setattr(services, "PROBE_TIMEOUT_S", 0.2)
    command = (sys.executable, "-m", "http.server", "{port}", "--bind", "127.0.0.1")
    web = services.Service("web", command, port=free_port(), health=services.HttpHealth("/"), cwd=tmp_path, grace_s=0.1)
    seen: list[dict[str, Any]] = []

    def on_change(status: dict[str, Any]) -> None:
        seen.append(status["services"]["web"])
        if seen[-1]["status"] == "healthy" and not seen[-1]["restarts"]:
            os.kill(seen[-1]["pid"], signal.SIGSTOP)
        elif seen[-1]["status"] == "healthy":
            os.kill(os.getpid(), signal.SIGTERM)  # the supervisor's own: all is ended

    asyncio.run(supervisor.Supervisor(tmp_path, [web], is_held=lambda: True, on_change=on_change).run())
    assert any(service["why"] == "it did not answer for 0 s" for service in seen)
    assert len({service["pid"] for service in seen if service["status"] == "healthy"}) == 2


def test_postgres_that_will_not_start_is_named_and_everything_is_ended(state_dir: Path) -> None:
    up(state_dir, "--only", "postgres")
    run("down", "--state", str(state_dir))
    version = state_dir / "postgres" / "data" / "PG_VERSION"
    found = version.read_text()
    version.write_text("7\n")
    error = up(state_dir, "--only", "postgres,kinesis", code=1).stderr
    assert error.startswith("localaws up: postgres: it ended at its start with exit code 1")
    assert "database files are incompatible with server" in error
    assert_nothing_left(state_dir)
    version.write_text(found)
    up(state_dir, "--only", "postgres")


def test_half_written_files_of_before_do_not_hinder(state_dir: Path) -> None:
    (state_dir / "postgres" / "data.new").mkdir(parents=True)
    (state_dir / "postgres" / "data.new" / "PG_VERSION").write_text("1")
    (state_dir / "postgres.password.new").write_text("half")
    (state_dir / "status.json").write_text('{"services": {')
    (state_dir / "status.json.new").write_text("{")
    (state_dir / "supervisor.lock").write_text("123")
    up(state_dir, "--only", "postgres,kinesis")
    assert {service["status"] for service in status_of(state_dir)["services"].values()} == {"healthy"}


def test_kinesis_comes_back_with_its_streams(state_dir: Path) -> None:
    up(state_dir, "--only", "kinesis")
    before = status_of(state_dir)["services"]["kinesis"]
    client = boto3.client("kinesis", endpoint_url=before["url"])
    client.create_stream(StreamName="kept", ShardCount=1)
    os.kill(before["pid"], signal.SIGKILL)
    await_service(state_dir, "kinesis", lambda service: service["status"] == "healthy" and service["restarts"] == 1)
    assert client.list_streams()["StreamNames"] == ["kept"]


def test_streams_and_records_stay_over_down_and_up(state_dir: Path) -> None:
    up(state_dir, "--only", "kinesis")
    client = boto3.client("kinesis", endpoint_url=status_of(state_dir)["services"]["kinesis"]["url"])
    client.create_stream(StreamName="kept", ShardCount=1)
    put = client.put_record(StreamName="kept", Data=b"before", PartitionKey="k")
    run("down", "--state", str(state_dir))
    up(state_dir, "--only", "kinesis")
    client = boto3.client("kinesis", endpoint_url=status_of(state_dir)["services"]["kinesis"]["url"])
    client.put_record(StreamName="kept", Data=b"after", PartitionKey="k")
    place = client.get_shard_iterator(
        StreamName="kept",
        ShardId=put["ShardId"],
        ShardIteratorType="AT_SEQUENCE_NUMBER",
        StartingSequenceNumber=put["SequenceNumber"],
    )
    records = client.get_records(ShardIterator=place["ShardIterator"])["Records"]
    assert [record["Data"] for record in records] == [b"before", b"after"]


def test_when_the_supervisor_is_killed_nothing_stays(state_dir: Path, tmp_path: Path) -> None:
    code = "import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'], start_new_session=True); time.sleep(600)"
    further = services_file(tmp_path, f"  nest: {{command: [{PYTHON}, -c, {json.dumps(code)}]}}\n")
    up(state_dir, "--only", "nest,kinesis,postgres", "--services", further)
    status = state.read_status(state_dir) or {}
    deadline = time.monotonic() + 10
    while len(processes.marked(state.OWNER_MARK, status["owner"])) < 4:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    os.kill(status["supervisor_pid"], signal.SIGKILL)
    deadline = time.monotonic() + 10
    while psutil.pid_exists(status["services"]["postgres"]["pid"]) or processes.marked(
        state.OWNER_MARK, status["owner"]
    ):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert_nothing_left(state_dir)
    assert {service["status"] for service in status_of(state_dir, code=1)["services"].values()} == {"stopped"}
    up(state_dir, "--only", "kinesis,postgres")


def test_when_its_folder_is_removed_the_supervisor_ends_everything(state_dir: Path) -> None:
    up(state_dir, "--only", "kinesis")
    status = state.read_status(state_dir) or {}
    shutil.rmtree(state_dir)
    deadline = time.monotonic() + 20
    while psutil.pid_exists(status["supervisor_pid"]):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert processes.marked(state.OWNER_MARK, status["owner"]) == []
    assert not state_dir.exists()


def test_in_the_foreground_an_interrupt_ends_everything(state_dir: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "localaws.cli",
        "up",
        "--state",
        str(state_dir),
        "--only",
        "kinesis",
        "--foreground",
    ]
    with subprocess.Popen([*command, "--port-base", str(free_port())], stdout=subprocess.PIPE, text=True) as supervisor:
        assert supervisor.stdout is not None
        assert supervisor.stdout.readline().split()[:2] == ["kinesis", "healthy"]
        second = run(*command[3:], code=1)
        assert "already runs" in second.stderr
        supervisor.send_signal(signal.SIGINT)
        assert supervisor.wait(30) == 0
    assert_nothing_left(state_dir)


def test_an_interrupted_up_ends_what_it_began(state_dir: Path, tmp_path: Path) -> None:
    further = services_file(
        tmp_path, f"  slow: {{command: [{PYTHON}, -c, 'import time; time.sleep(600)'], once: true}}\n"
    )
    command = [sys.executable, "-m", "localaws.cli", "up", "--state", str(state_dir), "--only", "slow,kinesis"]
    command += ["--services", further, "--port-base", str(free_port())]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as client:
        assert client.stdout is not None
        assert client.stdout.readline().startswith("kinesis")
        client.terminate()
        assert client.wait(30) == 130
    assert_nothing_left(state_dir)


def test_wrong_use_is_told_apart(state_dir: Path, tmp_path: Path) -> None:
    assert "no service 'x'" in up(state_dir, "--only", "x", code=2).stderr
    assert "services.a.command" in up(state_dir, "--services", services_file(tmp_path, "  a: {}"), code=2).stderr
    assert "nothing runs" in run("down", "--state", str(state_dir)).stdout
    assert "nothing ever ran" in run("status", "--state", str(state_dir), code=1).stdout
    up(state_dir, "--only", "kinesis")
    assert "without postgres" in up(state_dir, "--only", "kinesis,postgres", code=1).stderr

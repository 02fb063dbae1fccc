"""What CloudWatch keeps on disk, torn or grown; and a service's log, rotated and on a full disk."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from localaws.cloudwatch import journal
from localaws.cloudwatch.journal import Journal
from localaws.cloudwatch.service import CloudWatch
from localaws.rotation import KEPT_FILES, OutputPipe, RotatedLog


def test_entries_come_back_and_a_torn_end_is_cut(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    kept = Journal(path)
    for number in range(3):
        kept.append({"number": number})
    with path.open("ab") as file:
        file.write(b'{"number": 3')
    again = Journal(path)
    assert again.read() == [{"number": 0}, {"number": 1}, {"number": 2}]
    assert "cut 12 bytes" in caplog.text
    again.append({"number": 4})
    assert Journal(path).read()[-1] == {"number": 4}


def test_a_line_that_is_no_entry_is_named_and_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"a": 1}\n\xff\xfe\n[]\n{"b": 2}\n')
    assert Journal(path).read() == [{"a": 1}, {"b": 2}]
    assert "journal.jsonl, line 2 is left out" in caplog.text


def cloudwatch(folder: Path) -> CloudWatch:
    return CloudWatch(region="eu-west-1", state_dir=folder, sns=object, shipper=None)  # type: ignore[arg-type]  # neither is used


def data_of(made: CloudWatch) -> list[Any]:
    return [item.to_json() for item in made._metrics.measurements()]


def test_a_journal_that_has_grown_is_written_anew_with_all_that_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = cloudwatch(tmp_path)
    made.put_metric_alarm(
        {
            "AlarmName": "a",
            "Namespace": "shop",
            "MetricName": "m",
            "Statistic": "Sum",
            "Period": 60,
            "EvaluationPeriods": 1,
            "Threshold": 1.0,
            "ComparisonOperator": "GreaterThanThreshold",
        }
    )
    for value in range(500):
        made.put_metric_data({"Namespace": "shop", "MetricData": [{"MetricName": "m", "Value": value % 7}]})
    path = tmp_path / "cloudwatch" / "journal.jsonl"
    grown_bytes = path.stat().st_size
    monkeypatch.setattr(journal, "MAX_BYTES", grown_bytes // 2)
    made.compact()
    assert path.stat().st_size < grown_bytes / 10
    again = cloudwatch(tmp_path)
    assert data_of(again) == data_of(made)
    assert again.describe_alarms({}) == made.describe_alarms({})


def test_a_change_that_was_not_told_is_not_kept_as_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever else is kept of the alarm before its topics were told: a process that is killed then finds the change again."""
    alarm = {
        "AlarmName": "a",
        "Namespace": "shop",
        "MetricName": "m",
        "Statistic": "Sum",
        "Period": 60,
        "EvaluationPeriods": 1,
        "Threshold": 1.0,
        "ComparisonOperator": "GreaterThanThreshold",
        "AlarmActions": ["arn:aws:sns:eu-west-1:123456789012:nobody"],
    }
    made = cloudwatch(tmp_path)
    made.put_metric_alarm(alarm)
    made.set_alarm_state({"AlarmName": "a", "StateValue": "ALARM", "StateReason": "untold"})
    made.put_metric_alarm({**alarm, "Threshold": 2.0})
    made.disable_alarm_actions({"AlarmNames": ["a"]})
    monkeypatch.setattr(journal, "MAX_BYTES", 0)
    made.compact()
    assert made.describe_alarms({})["MetricAlarms"][0]["StateValue"] == "ALARM"
    (again,) = cloudwatch(tmp_path).describe_alarms({})["MetricAlarms"]
    assert (again["StateValue"], again["Threshold"], again["ActionsEnabled"]) == ("INSUFFICIENT_DATA", 2.0, False)


def test_an_entry_of_another_shape_is_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    kept = Journal(tmp_path / "cloudwatch" / "journal.jsonl")
    kept.append({"data": [[["shop"]]]})
    kept.append({"alarm": {"AlarmName": "a"}})
    made = cloudwatch(tmp_path)
    assert made.describe_alarms({})["MetricAlarms"] == []
    assert caplog.text.count("an entry of the journal is left out") == 2


def test_a_log_is_rotated_at_the_end_of_a_line_and_the_oldest_goes(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "a.log"
    log = RotatedLog(path, max_bytes=100)
    for number in range(100):
        log.write(b"line %03d of the log, " % number)
        log.write(b"in two parts\n")
    log.close()
    files = [path, *(path.with_name(f"a.log.{number}") for number in range(1, KEPT_FILES))]
    assert sorted(path.parent.iterdir()) == sorted(files)
    lines = b"".join(file.read_bytes() for file in reversed(files)).splitlines()
    assert lines == [b"line %03d of the log, in two parts" % number for number in range(100 - len(lines), 100)]
    assert all(len(file.read_bytes()) <= 100 + len(lines[0]) + 1 for file in files)


def test_what_a_full_disk_does_not_take_is_counted(tmp_path: Path) -> None:
    """/dev/full takes nothing, as a full disk does."""
    path = tmp_path / "a.log"
    log = RotatedLog(path)
    real = log._file
    log._file = Path("/dev/full").open("wb", buffering=0)  # noqa: SIM115 - closed below
    log.write(b"lost\n")
    log.write(b"lost too\n")
    log._file.close()
    log._file = real
    log.write(b"kept\n")
    log.close()
    assert path.read_bytes() == b"\n[localaws: 14 bytes could not be written here]\nkept\n"


def test_a_pipe_moves_what_children_print_until_the_last_has_ended(tmp_path: Path) -> None:
    log = RotatedLog(tmp_path / "a.log")
    pipe = OutputPipe(log)
    subprocess.run([sys.executable, "-c", "print('x' * 50_000)"], stdout=pipe.write_end, check=True)
    assert pipe.pump()
    pipe.release()
    assert not pipe.pump()
    pipe.close()
    log.close()
    assert (tmp_path / "a.log").read_bytes() == b"x" * 50_000 + b"\n"

"""The end of a process: an exit code, and one line with the reason."""

import json
import subprocess
import sys
from typing import Any

import pytest

_PROGRAM = """
import sys
from shared.model.errors import DependencyLostError
from shared.runtime.process import run_process
from shared.config.settings import CollectorSettings

async def work(settings, stop):
    {work}

sys.exit(run_process("ack_collector", CollectorSettings, work, 1.0))
"""


def run_and_read_event(work: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, Any]]:
    """Return the exit code of a process that does this work, and the only event that it logs."""
    for name, value in {"NATS_URI": "nats://n", "REDIS_URI": "redis://r", "LOG_FORMAT": "json"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", _PROGRAM.format(work=work)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not result.stderr
    [line] = result.stdout.splitlines()
    return result.returncode, json.loads(line)


def test_an_expected_error_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last log line has the reason of the error, and the exit code of its class."""
    code, event = run_and_read_event("raise DependencyLostError('Redis is unavailable')", monkeypatch)
    assert (code, event["event"], event["reason"], event["exit_code"]) == (
        3,
        "process_failed",
        "Redis is unavailable",
        3,
    )


def test_a_defect_is_one_line_with_its_location_and_without_its_message(monkeypatch: pytest.MonkeyPatch) -> None:
    """The line names where the error occurred, and not its message, which may contain personal data."""
    code, event = run_and_read_event("return int('Ada Lovelace')", monkeypatch)
    assert (code, event["event"], event["reason"], event["exit_code"]) == (1, "crashed", "ValueError", 1)
    assert event["places"][-1] == "<string>:8 work"
    assert "Ada" not in str(event)


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_an_error_in_the_settings_obeys_the_format_of_the_log(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    """LOG_FORMAT and LOG_LEVEL hold before the other settings are known to be right."""
    for level in ("ERROR", "LOUD"):
        for name, value in {"REDIS_URI": "nowhere", "LOG_FORMAT": log_format, "LOG_LEVEL": level}.items():
            monkeypatch.setenv(name, value)
        command = [sys.executable, "-c", _PROGRAM.format(work="return 0")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (2, "")
        assert "REDIS_URI" in done.stdout
        is_json = all(line.startswith("{") and "event" in json.loads(line) for line in done.stdout.splitlines())
        assert is_json is (log_format == "json")

"""How a process ends: an exit code, and one line that says why."""

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

sys.exit(run_process(CollectorSettings, work, 1.0))
"""


def last_word(work: str, monkeypatch: pytest.MonkeyPatch) -> tuple[int, dict[str, Any]]:
    """Return the exit code of a process that does this work, and the one line that it writes; more is an error."""
    for name, value in {"NATS_URI": "nats://n", "REDIS_URI": "redis://r", "LOG_FORMAT": "json"}.items():
        monkeypatch.setenv(name, value)
    command = [sys.executable, "-c", _PROGRAM.format(work=work)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert not done.stderr
    [line] = done.stdout.splitlines()
    return done.returncode, json.loads(line)


def test_an_error_that_was_foreseen_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    """The last word has the reason and the exit code of its kind."""
    code, event = last_word("raise DependencyLostError('Redis is unavailable')", monkeypatch)
    assert (code, event["event"], event["reason"], event["exit_code"]) == (
        3,
        "process_failed",
        "Redis is unavailable",
        3,
    )


def test_a_defect_is_one_line_with_its_place_and_without_what_it_quotes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it came from can be read from the line; what the error says may be personal data, and cannot."""
    code, event = last_word("return int('Ada Lovelace')", monkeypatch)
    assert (code, event["event"], event["reason"], event["exit_code"]) == (1, "crashed", "ValueError", 1)
    assert event["places"][-1] == "<string>:8 work"
    assert "Ada" not in str(event)

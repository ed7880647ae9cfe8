"""Logging: one line per event, unbuffered, in the configured format, and nothing from libraries."""

import json
import logging
import subprocess
import sys

import pytest

from shared.runtime.events import Event

PROGRAM = """
import logging, os, structlog
from shared.runtime.events import Event
from shared.runtime.logging_setup import configure_logging

configure_logging({level!r}, {log_format!r})
log = structlog.get_logger()
log.debug(Event.FETCHED, entities=3)
with structlog.contextvars.bound_contextvars(run="r1", service="PERSON"):
    log.warning(Event.FETCH_RETRIED, reason="two\\nlines Äöå 🎓")
logging.getLogger("urllib3").error("https://sisu.example.org?token=s3cret")
logging.getLogger("nats").exception("token s3cret")
os._exit(0)  # like a crash, does not flush any buffer
"""


def logged_lines(level: str, log_format: str | None) -> list[str]:
    """Return the lines that PROGRAM writes with these settings."""
    program = PROGRAM.format(level=level, log_format=log_format)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert result.stderr == b""
    return result.stdout.decode().splitlines()


@pytest.mark.parametrize("log_format", ["json", None])
def test_an_event_is_one_line_of_json(log_format: str | None) -> None:
    """The line has the level, the UTC time, the event, its fields, and the fields of the bound context."""
    (line,) = logged_lines("INFO", log_format)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "warning",
        "event": "fetch_retried",
        "reason": "two\nlines Äöå 🎓",
        "run": "r1",
        "service": "PERSON",
    }


def test_events_below_the_level_are_not_written() -> None:
    """DEBUG writes more than INFO, and ERROR writes less."""
    assert [json.loads(line)["event"] for line in logged_lines("DEBUG", "json")] == ["fetched", "fetch_retried"]
    assert logged_lines("ERROR", "json") == []


def test_the_console_format_has_the_same_events() -> None:
    """The format for people contains the same events and fields, and nothing from libraries either."""
    output = "\n".join(logged_lines("DEBUG", "console"))
    assert "fetch_retried" in output
    assert "entities" in output
    assert "s3cret" not in output


def test_events_have_different_names() -> None:
    """No two events share a name, and each name can be searched for as one word."""
    names = [event.value for event in Event]
    assert len(set(names)) == len(Event.__members__)
    assert all(name.replace("_", "").islower() for name in names)


def test_the_levels_of_the_settings_exist_in_python() -> None:
    """Every level that LOG_LEVEL accepts is a level of the logging library."""
    assert {"DEBUG", "INFO", "WARNING", "ERROR"} <= logging.getLevelNamesMapping().keys()

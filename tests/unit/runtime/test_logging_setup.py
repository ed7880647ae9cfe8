"""Logging: one line an event, at once, in the format that is asked for, and nothing from other people's libraries."""

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
os._exit(0)  # as a crash does: no buffer is written out
"""


def lines(level: str, log_format: str | None) -> list[str]:
    program = PROGRAM.format(level=level, log_format=log_format)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, timeout=30)
    assert done.stderr == b""
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("log_format", ["json", None])
def test_an_event_is_one_line_of_json(log_format: str | None) -> None:
    """A machine reads every line: level, UTC time, event, its fields, and what was bound around it."""
    (line,) = lines("INFO", log_format)
    event = json.loads(line)
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "level": "warning",
        "event": "fetch_retried",
        "reason": "two\nlines Äöå 🎓",
        "run": "r1",
        "service": "PERSON",
    }


def test_the_level_decides_what_is_written() -> None:
    """DEBUG shows more than INFO, ERROR less."""
    assert [json.loads(line)["event"] for line in lines("DEBUG", "json")] == ["fetched", "fetch_retried"]
    assert lines("ERROR", "json") == []


def test_text_for_a_terminal_is_one_line_too() -> None:
    """The format for people has the same event, and libraries stay silent in it, too."""
    written = "\n".join(lines("DEBUG", "console"))
    assert "fetch_retried" in written
    assert "entities" in written
    assert "s3cret" not in written


def test_events_have_different_names() -> None:
    """No name means two things, and each can be searched for as one word."""
    names = [event.value for event in Event]
    assert len(set(names)) == len(Event.__members__)
    assert all(name.replace("_", "").islower() for name in names)


def test_the_levels_of_the_settings_are_those_of_python() -> None:
    """Every level that LOG_LEVEL takes is known to the logging library."""
    assert {"DEBUG", "INFO", "WARNING", "ERROR"} <= logging.getLevelNamesMapping().keys()

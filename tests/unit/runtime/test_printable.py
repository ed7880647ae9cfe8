"""What is printed does not control a terminal."""

import io
import json

import pytest
import structlog
from rich.table import Table

from admin.cli import context
from shared.runtime.logging_setup import configure_logging
from shared.runtime.printable import escape_unprintable

EVIL = "a\x1b[2J\x9b31m\u202eb\u2066\x07\x7f\ud800"
FORBIDDEN = set("\x1b\x9b\u202e\u2066\x07\x7f\ud800")


def test_ordinary_text_is_unchanged() -> None:
    """Letters, marks, line breaks, tabs and all kinds of spaces stay."""
    for text in ("Åbo, café → 数", "two\nlines\tand a tab", "1\u00a0000\u202f000"):
        assert escape_unprintable(text) == text


def test_what_a_terminal_would_obey_is_escaped() -> None:
    """The escapes are those of JSON, so that a document stays equivalent."""
    assert not FORBIDDEN & set(escape_unprintable(EVIL))
    document = json.dumps({"text": EVIL}, ensure_ascii=False)
    assert json.loads(escape_unprintable(document)) == {"text": EVIL}


def test_tables_of_the_command_line(capsys: pytest.CaptureFixture[str]) -> None:
    """Whatever a command prints, as a table, as text or as JSON."""
    table = Table()
    table.add_column("reason")
    table.add_row(EVIL)
    for output in (table, EVIL, json.dumps({"x": EVIL.replace("\ud800", "")}, ensure_ascii=False).encode()):
        context.print_output(output)
    context.warn(EVIL)
    printed = capsys.readouterr()
    assert not FORBIDDEN & set(printed.out + printed.err)
    assert "\\u202e" in printed.out
    assert "\\u202e" in printed.err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_log_lines(monkeypatch: pytest.MonkeyPatch, log_format: str) -> None:
    """A value in a log line, in either format."""
    output = io.StringIO()
    monkeypatch.setattr("sys.stdout", output)
    try:
        configure_logging("INFO", log_format)  # type: ignore[arg-type]
        structlog.get_logger().info("an_event", reason=EVIL)
    finally:
        monkeypatch.undo()
        structlog.reset_defaults()
    line = output.getvalue()
    assert "\\u202e" in line
    assert not (FORBIDDEN - {"\x1b"}) & set(line)  # the console's own colours begin with it
    assert "\x1b[2J" not in line

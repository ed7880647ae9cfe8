"""INSTANCE: the name of an installation, which ends up in logs, labels and titles."""

import pytest

from shared.config.settings import CollectorSettings, read_log_settings, read_settings
from shared.model.errors import ConfigurationError


@pytest.fixture(autouse=True)
def _addresses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NATS_URI", "nats://n")
    monkeypatch.setenv("REDIS_URI", "redis://r")


def test_the_name_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    """The settings have it, and so do the first lines of the log."""
    monkeypatch.setenv("INSTANCE", "prod-2.fi")
    assert read_settings(CollectorSettings).instance == "prod-2.fi"
    assert read_log_settings()[2] == "prod-2.fi"


@pytest.mark.parametrize("value", ["two words", "x" * 41, "<b>", 'a"b', "å", "a\x1b[2J"])
def test_what_is_no_name_is_an_error(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """The error names the variable, and the line that reports it does not have the value."""
    monkeypatch.setenv("INSTANCE", value)
    with pytest.raises(ConfigurationError, match=r"INSTANCE: (must be at most 40|has a character)"):
        read_settings(CollectorSettings)
    assert read_log_settings()[2] == ""

"""Programs that cannot start: the settings that they need besides, and how they must end."""

import pytest

from tests.support.programs import Outcome

PRODUCER, COLLECTOR = ("producer", "--once"), ("ack_collector",)
BOTH = pytest.mark.parametrize("program", [PRODUCER, COLLECTOR], ids=["producer", "ack_collector"])
QUICK_SECONDS = 25.0
"""Enough for a start and a rejection on a busy machine; less than the time-out for an outage."""


def variables(**others: str) -> dict[str, str]:
    """Return the settings that both programs need, with addresses that are not connected to, and `others`."""
    nowhere = "http://127.0.0.1:1"
    needed = {"SIS_API_URL": nowhere, "KORI_PUBLIC_API_URL": nowhere, "PORT": "0", "COLLECTOR_PORT": "0"}
    return (
        needed | {"NATS_URI": "nats://127.0.0.1:1", "REDIS_URI": "redis://127.0.0.1:1", "LOG_LEVEL": "DEBUG"} | others
    )


def last_word(outcome: Outcome, *secrets: str, code: int = 2) -> str:
    """Return the reason with which a program ended with this exit code: one line, without any of the secrets."""
    assert outcome.code == code, outcome.output
    assert "Traceback" not in outcome.output
    for secret in secrets:
        assert secret not in outcome.output
    (failed,) = [event for event in outcome.events if event["event"] == "process_failed"]
    assert failed == outcome.events[-1]
    assert (failed["level"], failed["exit_code"]) == ("error", code)
    reason: str = failed["reason"]
    assert "\n" not in reason
    return reason

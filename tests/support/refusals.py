"""Both programs with something refused: what they need beside, and how they must end."""

import pytest

from tests.support.programs import Outcome

PRODUCER, COLLECTOR = ("producer", "--once"), ("ack_collector",)
BOTH = pytest.mark.parametrize("program", [PRODUCER, COLLECTOR], ids=["producer", "ack_collector"])
QUICK_SECONDS = 25.0
"""For a start of Python and being refused, on a busy machine; less than the patience with an outage."""


def variables(**others: str) -> dict[str, str]:
    """What both programs need, with addresses where nobody is asked, and `others`."""
    nowhere = "http://127.0.0.1:1"
    needed = {"SIS_API_URL": nowhere, "KORI_PUBLIC_API_URL": nowhere, "PORT": "0", "COLLECTOR_PORT": "0"}
    return (
        needed | {"NATS_URI": "nats://127.0.0.1:1", "REDIS_URI": "redis://127.0.0.1:1", "LOG_LEVEL": "DEBUG"} | others
    )


def last_word(outcome: Outcome, *secrets: str, code: int = 2) -> str:
    """The reason that a program gives at its end with this exit code, in one line, with none of the secrets."""
    assert outcome.code == code, outcome.output
    assert "Traceback" not in outcome.output
    for secret in secrets:
        assert secret not in outcome.output
    (failed,) = [event for event in outcome.events if event["event"] == "failed"]
    assert failed == outcome.events[-1]
    assert (failed["level"], failed["exit_code"]) == ("error", code)
    reason: str = failed["reason"]
    assert "\n" not in reason
    return reason

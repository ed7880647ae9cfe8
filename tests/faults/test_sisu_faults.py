"""SISU fails in every known way: the run ends in bounded time with a reason, no ordinal moves, and nothing spins."""

from typing import Any

import pytest

from tests.faults.conftest import MakeRig, quick

MAX_REQUESTS = 40
"""More than six attempts for each of two services and a few earlier requests: more would be spinning."""

# Transient faults: two of them, then the right response. The run succeeds.
TRANSIENT: dict[str, dict[str, Any]] = {
    "500": {"kind": "status", "status": 500},
    "502": {"kind": "status", "status": 502},
    "503": {"kind": "status", "status": 503},
    "503 with Retry-After": {"kind": "status", "status": 503, "retry_after": 0},
    "429": {"kind": "status", "status": 429},
    "429 with Retry-After": {"kind": "status", "status": 429, "retry_after": 1},
    "truncated JSON": {"kind": "truncated"},
    "truncated body": {"kind": "truncated", "honest_length": False},
    "reset": {"kind": "reset"},
    "HTML": {"kind": "html"},
    "invalid UTF-8": {"kind": "invalid_utf8"},
    "hangs": {"kind": "hang"},
    "drips": {"kind": "drip", "pause_seconds": 0.02},
}
ENDED_BY_TIMEOUT = ("hangs", "drips")
"""Only our own time-out ends these; it must be longer than a response takes on a busy machine."""

# Responses that a retry does not improve: the service fails at once.
INVALID: dict[str, tuple[dict[str, Any], str]] = {
    "ordinal going back": ({"kind": "ordinal_back"}, "ordinals went back"),
    "ordinal null": ({"kind": "ordinal_null"}, "does not have the shape of"),
    "ordinal as a string": ({"kind": "ordinal_string"}, "does not have the shape of"),
    "no ordinal": ({"kind": "ordinal_missing"}, "does not have the shape of"),
    "ordinal above 2^53": ({"kind": "ordinal_huge"}, "above 2^53 - 1"),
    "entities not a list": ({"kind": "not_a_list"}, "does not have the shape of"),
    "more without progress": ({"kind": "no_progress"}, "would never end"),
    "empty page without progress": ({"kind": "empty_page", "progress": False}, "would never end"),
    "404": ({"kind": "status", "status": 404}, "returned 404"),
    "redirect": ({"kind": "status", "status": 302, "headers": {"Location": "https://login.invalid/"}}, "redirects to"),
    "Retry-After of a day": (
        {"kind": "status", "status": 503, "retry_after": 86400},
        "with Retry-After 86400 s, longer than a run waits",
    ),
}
# Responses that are unusual and allowed: all is imported.
UNUSUAL: dict[str, dict[str, Any]] = {
    "empty page with more": {"kind": "empty_page"},
    "the same entity twice": {"kind": "twice"},
    "since inclusive": {"kind": "inclusive"},
    "more than requested": {"kind": "too_many"},
}


@pytest.mark.parametrize("name", quick(TRANSIENT, "503 with Retry-After", "truncated body", "HTML", "hangs"))
def test_transient_faults_are_retried(make_rig: MakeRig, name: str) -> None:
    """A third attempt follows two corrupted responses, and the run completes."""
    rig = make_rig(size=60, SIS_TIMEOUT_SECONDS="1.5" if name in ENDED_BY_TIMEOUT else "30")
    rig.start()
    fault = rig.sisu.fault(service="PERSON", times=2, skip=1, **TRANSIENT[name])
    outcome = rig.produce()
    assert outcome.code == 0, outcome.output
    assert fault.hits == 2
    assert outcome.output.count('"fetch_retried"') == 2
    rig.check()


@pytest.mark.parametrize("name", quick(["503", "HTML", "hangs", "drips"], "503"))
def test_permanent_faults_end_after_six_attempts(make_rig: MakeRig, name: str) -> None:
    """The service fails for this run and its ordinal stays; the others are imported, and the next run succeeds."""
    rig = make_rig(size=120, SIS_TIMEOUT_SECONDS="1.5" if name in ENDED_BY_TIMEOUT else "30")
    rig.start()
    fault = rig.sisu.fault(service="PERSON", times=None, skip=1, **TRANSIENT[name])
    outcome = rig.produce(deadline_seconds=40)
    assert outcome.code == 1, outcome.output
    assert fault.hits == 6
    assert '"service_failed"' in outcome.output
    assert rig.ordinal("PERSON") == rig.history.pages[0].greatest
    assert len(rig.sisu.requests) < MAX_REQUESTS
    rig.check()


@pytest.mark.parametrize(
    "name", quick(INVALID, "ordinal going back", "ordinal above 2^53", "more without progress", "ordinal null")
)
def test_invalid_responses_are_rejected(make_rig: MakeRig, name: str) -> None:
    """The service fails at once with a message that names the problem, and its ordinal stays."""
    details, reason = INVALID[name]
    rig = make_rig(size=120)
    rig.start()
    fault = rig.sisu.fault(service="PERSON", times=None, skip=1, **details)
    outcome = rig.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    failures = [event["reason"] for event in outcome.events if event["event"] == "service_failed"]
    assert len(failures) == 1
    assert reason in failures[0]
    assert rig.ordinal("PERSON") == rig.history.pages[0].greatest
    assert 1 <= fault.hits <= 3
    assert len(rig.sisu.requests) < MAX_REQUESTS
    rig.check()


@pytest.mark.parametrize("name", quick(UNUSUAL, "empty page with more", "since inclusive"))
def test_unusual_responses_are_imported(make_rig: MakeRig, name: str) -> None:
    """Pages that a client may not expect, but that lose nothing, are imported."""
    rig = make_rig(size=120)
    rig.start()
    fault = rig.sisu.fault(service="PERSON", times=3, skip=1, **UNUSUAL[name])
    outcome = rig.produce()
    assert outcome.code == 0, outcome.output
    assert fault.hits
    assert len(rig.sisu.requests) < MAX_REQUESTS
    rig.check()


def test_rejected_credentials_end_the_process(make_rig: MakeRig) -> None:
    """401: exit code 2, which supervisord does not restart, and a message that names the variables."""
    rig = make_rig(size=60)
    rig.start()
    rig.sisu.fault("status", status=401, service="PERSON", skip=1)
    producer = rig.start_producer()
    outcome = producer.wait_done(20)
    assert outcome.code == 2
    assert "rejected the credentials (401): check SIS_API_USER" in outcome.events[-1]["reason"]
    rig.check()


def test_a_forbidden_service_is_skipped(make_rig: MakeRig) -> None:
    """403: the service is skipped with a log event until the process restarts, and the others are imported."""
    rig = make_rig(size=60)
    rig.start()
    rig.sisu.fault("status", status=403, service="PERSON", times=None)
    outcome = rig.produce()
    assert outcome.code == 0, outcome.output
    assert '"service_forbidden"' in outcome.output
    assert rig.ordinal("PERSON") == 0
    assert rig.ordinal("PLAN") == rig.sisu.greatest_ordinal("PLAN")
    rig.check()


def test_sisu_is_unreachable(make_rig: MakeRig) -> None:
    """One service is tried six times, the others are skipped; when SISU is back, all is imported."""
    rig = make_rig(size=60)
    rig.start()
    rig.sisu.stop()
    outcome = rig.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    assert outcome.output.count('"fetch_retried"') == 5
    assert '"service_skipped"' in outcome.output
    rig.sisu.start()
    rig.check()

"""SISU fails in every way that was ever seen: a bounded end that says why, no ordinal moved, no spinning."""

from typing import Any

import pytest

from tests.faults.conftest import MakeWorld, quick

MANY = 40
"""More requests than six attempts for each of two services, and a few for what came before, would be spinning."""

# Faults that pass: two of them, and then the right answer. The run succeeds.
PASSING: dict[str, dict[str, Any]] = {
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
NEVER_END = ("hangs", "drips")
"""Those that only our own time-out ends; it must be one that answers on a busy machine do not run into."""

# Answers that are no use to repeat: the service fails at once.
WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "ordinal going back": ({"kind": "ordinal_back"}, "ordinals went back"),
    "ordinal null": ({"kind": "ordinal_null"}, "another shape"),
    "ordinal as text": ({"kind": "ordinal_string"}, "another shape"),
    "no ordinal": ({"kind": "ordinal_missing"}, "another shape"),
    "ordinal above 2^53": ({"kind": "ordinal_huge"}, "above 2^53 - 1"),
    "entities not a list": ({"kind": "not_a_list"}, "another shape"),
    "more without progress": ({"kind": "no_progress"}, "would never end"),
    "empty page without progress": ({"kind": "empty_page", "progress": False}, "would never end"),
    "404": ({"kind": "status", "status": 404}, "answers 404"),
    "redirect": ({"kind": "status", "status": 302, "headers": {"Location": "https://login.invalid/"}}, "redirects to"),
    "asks to wait for a day": ({"kind": "status", "status": 503, "retry_after": 86400}, "asks to wait 86400 s"),
}
# Answers that are odd, and allowed: all is imported.
ODD: dict[str, dict[str, Any]] = {
    "empty page with more": {"kind": "empty_page"},
    "the same entity twice": {"kind": "twice"},
    "since inclusive": {"kind": "inclusive"},
    "more than asked for": {"kind": "too_many"},
}


@pytest.mark.parametrize("name", quick(PASSING, "503 with Retry-After", "truncated body", "HTML", "hangs"))
def test_what_passes_is_waited_for(make_world: MakeWorld, name: str) -> None:
    """Two spoilt answers are followed by a third attempt, and the run is complete."""
    world = make_world(size=60, SIS_TIMEOUT_SECONDS="1.5" if name in NEVER_END else "30")
    world.start()
    fault = world.sisu.fault(service="PERSON", times=2, skip=1, **PASSING[name])
    outcome = world.produce()
    assert outcome.code == 0, outcome.output
    assert fault.hits == 2
    assert outcome.output.count('"fetch_retried"') == 2
    world.check()


@pytest.mark.parametrize("name", quick(["503", "HTML", "hangs", "drips"], "503"))
def test_what_does_not_pass_ends_after_six_attempts(make_world: MakeWorld, name: str) -> None:
    """The service fails for this run; its ordinal stays; the others are imported; the next run succeeds."""
    world = make_world(size=120, SIS_TIMEOUT_SECONDS="1.5" if name in NEVER_END else "30")
    world.start()
    fault = world.sisu.fault(service="PERSON", times=None, skip=1, **PASSING[name])
    outcome = world.produce(deadline_seconds=40)
    assert outcome.code == 1, outcome.output
    assert fault.hits == 6
    assert '"service_failed"' in outcome.output
    assert world.ordinal("PERSON") == world.history.pages[0].greatest
    assert len(world.sisu.requests) < MANY
    world.check()


@pytest.mark.parametrize(
    "name", quick(WRONG, "ordinal going back", "ordinal above 2^53", "more without progress", "ordinal null")
)
def test_what_is_wrong_is_not_believed(make_world: MakeWorld, name: str) -> None:
    """The service fails at once with a message that says what is wrong, and its ordinal stays."""
    details, words = WRONG[name]
    world = make_world(size=120)
    world.start()
    fault = world.sisu.fault(service="PERSON", times=None, skip=1, **details)
    outcome = world.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    failures = [event["reason"] for event in outcome.events if event["event"] == "service_failed"]
    assert len(failures) == 1
    assert words in failures[0]
    assert world.ordinal("PERSON") == world.history.pages[0].greatest
    assert 1 <= fault.hits <= 3
    assert len(world.sisu.requests) < MANY
    world.check()


@pytest.mark.parametrize("name", quick(ODD, "empty page with more", "since inclusive"))
def test_what_is_odd_is_imported(make_world: MakeWorld, name: str) -> None:
    """Pages that a client need not expect, and that lose nothing."""
    world = make_world(size=120)
    world.start()
    fault = world.sisu.fault(service="PERSON", times=3, skip=1, **ODD[name])
    outcome = world.produce()
    assert outcome.code == 0, outcome.output
    assert fault.hits
    assert len(world.sisu.requests) < MANY
    world.check()


def test_refused_credentials_end_the_process(make_world: MakeWorld) -> None:
    """401: exit code 2, which supervisord leaves at that, and a message that names the variables."""
    world = make_world(size=60)
    world.start()
    world.sisu.fault("status", status=401, service="PERSON", skip=1)
    producer = world.start_producer()
    outcome = producer.wait_done(20)
    assert outcome.code == 2
    assert "refused the credentials (401): check SIS_API_USER" in outcome.events[-1]["reason"]
    world.check()


def test_a_forbidden_service_is_skipped(make_world: MakeWorld) -> None:
    """403: the service is skipped, loudly, until the process restarts, and the others are imported."""
    world = make_world(size=60)
    world.start()
    world.sisu.fault("status", status=403, service="PERSON", times=None)
    outcome = world.produce()
    assert outcome.code == 0, outcome.output
    assert '"service_forbidden"' in outcome.output
    assert world.ordinal("PERSON") == 0
    assert world.ordinal("PLAN") == world.sisu.greatest_ordinal("PLAN")
    world.check()


def test_nobody_answers_at_sisu(make_world: MakeWorld) -> None:
    """One service is tried six times, the others not at all; when SISU is back, all is imported."""
    world = make_world(size=60)
    world.start()
    world.sisu.stop()
    outcome = world.produce(deadline_seconds=20)
    assert outcome.code == 1, outcome.output
    assert outcome.output.count('"fetch_retried"') == 5
    assert '"service_skipped"' in outcome.output
    world.sisu.start()
    world.check()

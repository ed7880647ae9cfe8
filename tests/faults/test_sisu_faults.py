"""SISU fails in every known way: the run ends in bounded time with a reason, no ordinal moves, and nothing spins."""

import base64
import json
from typing import Any

import pytest

from shared.model import keys
from shared.model.messages import Entity, entity_id
from tests.faults.conftest import MakeRig, quick, slow
from tests.faults.harness.rig import FaultRig

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
    **{str(status): {"kind": "status", "status": status} for status in (408, 421, 423, 425)},
    "a lagging replica": {"kind": "ordinal_back"},
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


@pytest.mark.parametrize(
    "name", quick(TRANSIENT, "503 with Retry-After", "truncated body", "HTML", "hangs", "a lagging replica")
)
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
    assert rig.ordinal("PLAN") == rig.sisu.greatest_ordinal("PLAN"), "an endpoint that fails does so alone"
    assert len(rig.sisu.requests) < MAX_REQUESTS
    rig.check()


@pytest.mark.parametrize("name", quick(INVALID, "ordinal above 2^53", "more without progress", "ordinal null"))
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


@pytest.mark.parametrize(
    "bad",
    [
        b'{"id":"a","x":"\\ud83d"}',
        b'{"id":"a","x":NaN}',
        b'{"id":"a","x":"\xff"}',
        slow(b'{"id":"a","x":' + b"[" * 985 + b"]" * 985 + b"}"),
        slow(b'{"id":"a","x":' + b"[" * 5000 + b"]" * 5000 + b"}"),
    ],
    ids=["lone surrogate", "NaN", "invalid UTF-8", "985 levels", "5000 levels"],
)
def test_an_unreadable_entity_becomes_a_dead_letter(make_rig: MakeRig, bad: bytes) -> None:
    """I8: it alone is not delivered, and nothing of it is lost; the rest of its page is imported."""
    rig = make_rig(services=("PERSON",), size=60)
    key = entity_id(Entity(bad))
    rig.sisu.put("PERSON", bad, entity_id=key)
    rig.sisu.touch("PERSON", 10, seed=1)
    rig.history.too_large = frozenset({key})  # as one that is too large, it is in no chunk
    rig.start()
    history = rig.check()
    assert {dead_letter.reason for dead_letter in history.kept_dead_letters} == {"unreadable"}
    kept = rig.recorder.run(_dead_letter(rig, keys.dead_letter_subject("ORI_PERSON_CHANNEL", key)))
    assert (kept["entity"], base64.b64decode(kept["entityBase64"])) == (None, bad)


async def _dead_letter(rig: FaultRig, subject: str) -> dict[str, Any]:
    message = await rig.recorder.client.jetstream().get_last_msg("IMPORTER_DEAD_LETTERS", subject)
    fields: dict[str, Any] = json.loads(message.data or b"")
    return fields


@pytest.mark.parametrize("ordinal", [slow("zero"), slow("null"), "behind"])
def test_an_idle_service_whose_last_page_has_no_ordinal(make_rig: MakeRig, ordinal: str) -> None:
    """Nothing new: the run is complete and the ordinal stays; a SISU that has less than it had is told."""
    rig = make_rig(services=("PERSON",), size=60)
    rig.start()
    assert rig.produce().code == 0
    imported = rig.ordinal("PERSON")
    rig.sisu.fault("idle_page", service="PERSON", times=None, ordinal={"zero": 0, "null": None, "behind": 3}[ordinal])
    outcome = rig.produce()
    assert outcome.code == 0, outcome.output
    behind = [event for event in outcome.events if event["event"] == "sisu_behind"]
    assert [(e["level"], e["ordinal"], e["greatest_ordinal"]) for e in behind] == (
        [("warning", imported, 3)] if ordinal == "behind" else []
    )
    assert rig.ordinal("PERSON") == imported
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

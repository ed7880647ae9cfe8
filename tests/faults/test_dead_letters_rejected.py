"""The broker rejects a dead letter because of a limit that an operator set, or because its store is full."""

import orjson
import pytest

from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.recorder import read_dead_letters
from tests.faults.harness.rig import FaultRig
from tests.support.programs import Outcome

STREAM = "IMPORTER_DEAD_LETTERS"
LARGE_BYTES = 20_000
SMALL, LARGE = "small-one", "large-one"


def _make_rig(make_rig: MakeRig, nats_config: str = "") -> FaultRig:
    """Make a rig in which mankelis reject a small and a large person."""
    rig = make_rig(nats_config=nats_config, size=60)
    for name, size_bytes in ((SMALL, 10), (LARGE, LARGE_BYTES)):
        entity = {"id": name, "documentState": "ACTIVE", "metadata": {"modificationOrdinal": 0}}
        rig.sisu.put("PERSON", orjson.dumps(entity | {"text": "x" * size_bytes}))
    rig.start_collector()
    rig.reject(SMALL, LARGE)
    return rig


def _dead_lettered(rig: FaultRig) -> set[str]:
    """Return the entities that have a dead letter now."""
    return {dead_letter.entity for dead_letter in rig.recorder.run(read_dead_letters(rig.recorder.client))}


def _assert_rejected(rig: FaultRig, outcome: Outcome, reason: str) -> None:
    """Assert that the service failed with a reason that names no entity, and that its ordinal is before the entity."""
    assert outcome.code == 1, outcome.output
    reasons = {event["service"]: event["reason"] for event in outcome.events if event["event"] == "service_failed"}
    assert reasons["PERSON"].startswith("NATS rejects a message on DEAD_LETTER.ORI_PERSON_CHANNEL.…: ")
    assert reason in reasons["PERSON"]
    assert '"publish_retried"' in outcome.output
    events = {event["event"] for event in outcome.events}
    assert "dead_letters_published" not in events, "no dead letter may be reported that is not stored"
    assert LARGE not in outcome.output
    rig.wait_for_sample()
    versions = {version.entity_id: version.ordinal for version in rig.sisu.versions("PERSON")}
    assert rig.ordinal("PERSON") < versions[SMALL]


@pytest.mark.parametrize(
    ("limit", "value", "reason", "stored"),
    [
        slow("max_msg_size", 100, "message size exceeds maximum allowed", 0),
        slow("max_msg_size", LARGE_BYTES, "message size exceeds maximum allowed", 1),
        ("max_msgs", 1, "maximum messages exceeded", 1),
        slow("max_bytes", LARGE_BYTES, "maximum bytes exceeded", 1),
    ],
    ids=["neither fits", "one of two fits", "space for one message", "space for the smaller one"],
)
def test_a_limit_that_an_operator_set(make_rig: MakeRig, limit: str, value: int, reason: str, stored: int) -> None:
    """I1, I8: the batch does not advance, the next service does; without the limit each entity has one dead letter."""
    rig = _make_rig(make_rig)
    # While the producer runs: at its start a max_msg_size that is too small is a configuration error.
    with rig.launch("producer", "before-dead-letters", 1, 1, {}, "--pause", "--once") as producer:
        producer.wait_paused()
        rig.limit_stream(STREAM, **{limit: value})
        producer.resume()
        outcome = producer.outcome()
    _assert_rejected(rig, outcome, reason)
    assert len(_dead_lettered(rig)) == stored
    assert rig.ordinal("PLAN") == rig.sisu.greatest_ordinal("PLAN")
    rig.limit_stream(STREAM, **{limit: -1})
    history = rig.check()
    assert {(dead_letter.entity, dead_letter.reason) for dead_letter in history.kept_dead_letters} == {
        (SMALL, "rejected"),
        (LARGE, "rejected"),
    }


@pytest.mark.slow
def test_a_store_that_is_full_before_the_dead_letters(make_rig: MakeRig) -> None:
    """I1, I8: the store fills up after all chunks: no advance until there is space for the dead letters."""
    rig = _make_rig(make_rig, "jetstream { max_file_store: 2MB }\n")
    with rig.launch("producer", "before-dead-letters", 1, 1, {}, "--pause", "--once") as producer:
        producer.wait_paused()
        rig.fill_store()
        producer.resume()
        _assert_rejected(rig, producer.outcome(), "insufficient")
    rig.empty_store()
    assert {dead_letter.reason for dead_letter in rig.check().kept_dead_letters} == {"rejected"}

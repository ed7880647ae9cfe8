"""The broker does not take a dead letter: for a limit that an operator gave the stream, or since its store is full."""

import orjson
import pytest

from tests.faults.conftest import MakeWorld, slow
from tests.faults.recorder import read_dead_letters
from tests.faults.world import World
from tests.support.programs import Outcome

STREAM = "IMPORTER_DEAD_LETTERS"
LARGE_BYTES = 20_000
SMALL, LARGE = "small-one", "large-one"


def _world(make_world: MakeWorld, nats_config: str = "") -> World:
    """One in which mankelis reject a small and a large person."""
    world = make_world(nats_config=nats_config, size=60)
    for name, size_bytes in ((SMALL, 10), (LARGE, LARGE_BYTES)):
        entity = {"id": name, "documentState": "ACTIVE", "metadata": {"modificationOrdinal": 0}}
        world.sisu.put("PERSON", orjson.dumps(entity | {"text": "x" * size_bytes}))
    world.start_collector()
    world.reject(SMALL, LARGE)
    return world


def _kept(world: World) -> set[str]:
    """The entities that have a dead letter now."""
    return {letter.entity for letter in world.recorder.run(read_dead_letters(world.recorder.client))}


def _assert_refused(world: World, outcome: Outcome, why: str) -> None:
    """The service has failed, and says why without naming the entity; its ordinal stays before what was refused."""
    assert outcome.code == 1, outcome.output
    reasons = {event["service"]: event["reason"] for event in outcome.events if event["event"] == "service_failed"}
    assert reasons["PERSON"].startswith("NATS will not take a message on DEAD_LETTER.ORI_PERSON_CHANNEL.…: ")
    assert why in reasons["PERSON"]
    assert '"publish_retried"' in outcome.output
    assert "dead_letters" not in {event["event"] for event in outcome.events}, "none is told of that is not kept"
    assert LARGE not in outcome.output
    world.wait_for_look()
    versions = {version.entity_id: version.ordinal for version in world.sisu.versions("PERSON")}
    assert world.ordinal("PERSON") < versions[SMALL]


@pytest.mark.parametrize(
    ("limit", "most", "why", "kept"),
    [
        slow("max_msg_size", 100, "message size exceeds maximum allowed", 0),
        slow("max_msg_size", LARGE_BYTES, "message size exceeds maximum allowed", 1),
        ("max_msgs", 1, "maximum messages exceeded", 1),
        slow("max_bytes", LARGE_BYTES, "maximum bytes exceeded", 1),
    ],
    ids=["no letter fits", "one of two fits", "room for one", "too full for one of two"],
)
def test_a_limit_that_an_operator_set(make_world: MakeWorld, limit: str, most: int, why: str, kept: int) -> None:
    """I1, I8: the batch does not advance, the next service does; with the limit gone each letter is there, once."""
    world = _world(make_world)
    world.limit_stream(STREAM, **{limit: most})
    outcome = world.produce()
    _assert_refused(world, outcome, why)
    assert len(_kept(world)) == kept
    assert world.ordinal("PLAN") == world.sisu.greatest_ordinal("PLAN")
    world.limit_stream(STREAM, **{limit: -1})
    history = world.check()
    assert {(letter.entity, letter.reason) for letter in history.kept_dead_letters} == {
        (SMALL, "rejected"),
        (LARGE, "rejected"),
    }


@pytest.mark.slow
def test_the_store_gets_full_before_a_letter_is_kept(make_world: MakeWorld) -> None:
    """I1, I8: all but the letters is delivered when others fill the store: no advance, until there is room again."""
    world = _world(make_world, "jetstream { max_file_store: 2MB }\n")
    with world.launch("producer", "before-bury", 1, 1, {}, "--pause", "--once") as producer:
        producer.wait_paused()
        world.fill_store()
        producer.resume()
        _assert_refused(world, producer.outcome(), "insufficient")
    world.empty_store()
    assert {letter.reason for letter in world.check().kept_dead_letters} == {"rejected"}

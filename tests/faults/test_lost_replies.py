"""A request takes effect, and its reply is lost: it is repeated, and must not take effect twice."""

import hashlib
from pathlib import Path

import pytest

from tests.faults.conftest import MakeWorld, quick

LUA = Path(__file__).parents[2] / "shared" / "lua"
SCRIPTS = ["begin_execution", "settle_chunk", "split_chunk", "fail_entity", "advance_ordinal", "hold_lock"]
SUBJECTS = ["ORI_PERSON_CHANNEL", "DEAD_LETTER.ORI_PERSON_CHANNEL", "POST_UPDATE"]


def call_of(script: str) -> bytes:
    """What stands in every call of a script: its digest."""
    return hashlib.sha1((LUA / f"{script}.lua").read_bytes(), usedforsecurity=False).hexdigest().encode()


@pytest.mark.parametrize("script", quick(SCRIPTS, "settle_chunk", "fail_entity", "advance_ordinal"))
def test_a_script_whose_replies_are_lost_counts_once(make_world: MakeWorld, script: str) -> None:
    """I2, I4: each script of the ledger is run up to three times for one call, and has the effect of one."""
    world = make_world(services=("PERSON",), size=60, proxied=True)
    world.start_collector()
    world.reject(world.ids()[17])
    producer = world.start_producer()
    # The first call of all comes as text, for Redis does not know the script yet; it is the later ones that are hit.
    world.redis_proxy.lose_reply(call_of(script), 3)
    world.check(producer)
    assert world.redis_proxy.lost_replies == 3


@pytest.mark.parametrize("subject", quick(SUBJECTS, "ORI_PERSON_CHANNEL"))
def test_a_message_whose_confirmation_is_lost_is_not_delivered_twice(make_world: MakeWorld, subject: str) -> None:
    """The message is published again under the same id, and the broker drops it."""
    world = make_world(services=("PERSON",), size=60, proxied=True, PANIC_TIMEOUT_SECONDS="10")
    world.start_collector()
    world.reject(world.ids()[17])
    world.nats_proxy.lose_reply(f"HPUB {subject}".encode())
    history = world.check()
    assert world.nats_proxy.lost_replies == 1
    stored = [(chunk.execution, chunk.chunk) for chunk in history.processed]
    assert len(stored) == len(set(stored))


@pytest.mark.slow
def test_feedback_whose_acknowledgement_is_lost_counts_once(make_world: MakeWorld) -> None:
    """The collector's connection breaks as it acknowledges: the feedback comes again."""
    world = make_world(services=("PERSON",), size=60, proxied=True)
    world.start()
    world.nats_proxy.lose_reply(b"$JS.ACK.IMPORTER_FEEDBACK", 2)
    world.check()
    assert world.nats_proxy.lost_replies

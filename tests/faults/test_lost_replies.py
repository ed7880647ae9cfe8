"""A request takes effect and its reply is lost: the request is repeated, and must not take effect twice."""

import hashlib
from pathlib import Path

import pytest

from tests.faults.conftest import MakeRig, quick

LUA = Path(__file__).parents[2] / "shared" / "store" / "lua"
SCRIPTS = ["begin_execution", "settle_chunk", "split_chunk", "fail_entity", "advance_ordinal", "hold_lock"]
SUBJECTS = ["ORI_PERSON_CHANNEL", "DEAD_LETTER.ORI_PERSON_CHANNEL", "POST_UPDATE"]


def script_digest(script: str) -> bytes:
    """Return the digest of a script, which every call contains."""
    return hashlib.sha1((LUA / f"{script}.lua").read_bytes(), usedforsecurity=False).hexdigest().encode()


@pytest.mark.parametrize("script", quick(SCRIPTS, "settle_chunk", "fail_entity", "advance_ordinal"))
def test_a_script_whose_replies_are_lost_counts_once(make_rig: MakeRig, script: str) -> None:
    """I2, I4: each script runs up to four times for one call, and has the effect of one."""
    rig = make_rig(services=("PERSON",), size=60, proxied=True)
    rig.start_collector()
    rig.reject(rig.ids()[17])
    producer = rig.start_producer()
    # The very first call sends the script itself, which Redis does not know yet; later calls match the digest.
    rig.redis_proxy.lose_reply(script_digest(script), 3)
    rig.check(producer)
    assert rig.redis_proxy.lost_replies == 3


@pytest.mark.parametrize("subject", quick(SUBJECTS, "ORI_PERSON_CHANNEL"))
def test_a_message_whose_confirmation_is_lost_is_not_delivered_twice(make_rig: MakeRig, subject: str) -> None:
    """The message is published again under the same id, and the broker drops it."""
    rig = make_rig(services=("PERSON",), size=60, proxied=True, PANIC_TIMEOUT_SECONDS="10")
    rig.start_collector()
    rig.reject(rig.ids()[17])
    rig.nats_proxy.lose_reply(f"HPUB {subject}".encode())
    history = rig.check()
    assert rig.nats_proxy.lost_replies == 1
    stored = [(chunk.execution, chunk.chunk) for chunk in history.processed]
    assert len(stored) == len(set(stored))


@pytest.mark.slow
def test_feedback_whose_acknowledgement_is_lost_counts_once(make_rig: MakeRig) -> None:
    """The collector's connection breaks during an acknowledgement: the feedback is redelivered."""
    rig = make_rig(services=("PERSON",), size=60, proxied=True)
    rig.start()
    rig.nats_proxy.lose_reply(b"$JS.ACK.IMPORTER_FEEDBACK", 2)
    rig.check()
    assert rig.nats_proxy.lost_replies

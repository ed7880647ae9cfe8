"""The ack_collector on real NATS and Redis: what is reported is counted, each chunk once."""

import json

import pytest
from structlog.testing import capture_logs

from shared.model import keys
from shared.runtime.events import Event
from shared.store.redis_client import make_redis as connect
from tests.support.collector_harness import (
    CHANNEL,
    EXECUTION,
    OTHER_CHANNEL,
    SIZES,
    at_work,
    counters,
    failure,
    report,
)
from tests.support.waiting import wait_until_async


async def test_stored_chunks_are_counted(nats_uri: str, redis_uri: str) -> None:
    """Each OK takes its chunk out of the ledger and adds its size, in whatever order they come."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        await rig.send(report("1", 3))
        progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 3, 0), {"0": 4, "2": 1})
        await rig.send(report("2", 1), report("0", 4))
        progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 8, 0), {})


async def test_a_failed_chunk_is_split(nats_uri: str, redis_uri: str) -> None:
    """A FAIL puts the chunk's halves in its place and counts nothing."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        await rig.send(failure("1"))
        progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), {"0": 4, "1.0": 2, "1.1": 1, "2": 1})


async def test_a_single_entity_that_fails_is_settled_with_its_error(nats_uri: str, redis_uri: str) -> None:
    """At size one a FAIL counts as settled and failed, and the error text is kept for the dead letter."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin(sizes={"0": 1, "1": 1})
        await rig.send(failure("0", "tietokanta: ä 🎓"), report("1", 1))
        progress = await rig.handled()
        assert (counters(progress), progress.errors) == ((2, 2, 1), {"0": "tietokanta: ä 🎓"})


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([report("0")] * 5, id="OK five times"),
        pytest.param([report("0"), failure("0")], id="FAIL after OK"),
        pytest.param([report("0"), report("0", 4, entities=[])], id="OK in other words"),
    ],
)
async def test_a_chunk_counts_once(nats_uri: str, redis_uri: str, messages: list[bytes]) -> None:
    """What comes after a chunk's first report changes nothing."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        for message in messages:
            await rig.send(message)
            progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 4, 0), {"1": 3, "2": 1})


async def test_ok_after_fail_does_not_count(nats_uri: str, redis_uri: str) -> None:
    """A chunk that was split is no longer there to be counted: its halves are."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        for message in (failure("0"), report("0"), failure("0")):
            await rig.send(message)
            progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), {"0.0": 2, "0.1": 2, "1": 3, "2": 1})


async def test_a_failure_of_a_single_entity_counts_once(nats_uri: str, redis_uri: str) -> None:
    """A repeated FAIL or a late OK of one entity does not count again, and leaves the first error text."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin(sizes={"0": 1, "1": 1})
        for message in (failure("0", "first"), failure("0", "second"), report("0", 1)):
            await rig.send(message)
            progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((2, 1, 1), {"1": 1})
        await rig.send(report("1", 1))
        assert (await rig.handled()).errors == {"0": "first"}


async def test_several_collectors_share_the_work(nats_uri: str, redis_uri: str) -> None:
    """Side by side they count every chunk once, splits and failures included."""
    async with at_work(nats_uri, redis_uri, collectors=3) as rig:
        await rig.begin(sizes={str(number): 2 for number in range(100)})
        await rig.send(*(failure(str(number)) for number in range(0, 100, 2)))
        progress = await rig.handled()
        assert len(progress.outstanding) == 150
        assert sum(progress.outstanding.values()) == 200
        await rig.send(
            *(failure(chunk) if chunk.endswith(".0") else report(chunk, n) for chunk, n in progress.outstanding.items())
        )
        progress = await rig.handled()
        assert (counters(progress), len(progress.errors)) == ((200, 200, 50), 50)


@pytest.mark.parametrize("success", [True, False])
async def test_the_end_of_a_post_update_is_noted(nats_uri: str, redis_uri: str, *, success: bool) -> None:
    """Well or not, a post-update that has ended makes room for the next one."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.redis.set(keys.POST_UPDATE_RUNNING, "run")
        await rig.send(json.dumps({"success": success, "took": 3}).encode(), subject=keys.POST_UPDATE_FINISH_SUBJECT)
        await rig.handled()
        assert not await rig.redis.exists(keys.POST_UPDATE_RUNNING)


async def test_a_key_of_another_type_stops_only_its_service(nats_uri: str, redis_uri: str) -> None:
    """Feedback of that service stays unacknowledged, and is logged; that of another in the same fetch counts."""
    other = report(channel=OTHER_CHANNEL)
    with capture_logs() as logged:
        async with at_work(nats_uri, redis_uri) as rig:
            await rig.begin()
            await rig.ledgers[OTHER_CHANNEL].begin(EXECUTION, 0, SIZES)
            async with connect(redis_uri) as redis:
                await redis.delete(f"K_{CHANNEL}_CHUNKS")
                await redis.set(f"K_{CHANNEL}_CHUNKS", "foreign")
            await rig.send(report(), failure("2"), other, report("1", 3), report("1", 3, channel=OTHER_CHANNEL))

            async def has_counted() -> bool:
                return counters(await rig.ledgers[OTHER_CHANNEL].progress()) == (8, 7, 0)

            async def left() -> bool:
                consumer = await rig.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
                return consumer.num_ack_pending == 3 and not consumer.num_pending

            await wait_until_async(has_counted, "the other service's feedback is counted")
            await wait_until_async(left, "three messages are not acknowledged")
            assert [task for task in rig.collectors if task.done()] == []
    entries = [entry for entry in logged if entry["event"] == Event.FEEDBACK_UNCOUNTED]
    assert sum(entry["count"] for entry in entries) == 3
    assert all(f"K_{CHANNEL}_CHUNKS in Redis has another type" in entry["reason"] for entry in entries)

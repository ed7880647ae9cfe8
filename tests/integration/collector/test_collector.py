"""The ack_collector on real NATS and Redis: each reported chunk is counted once."""

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
    """Each OK removes its chunk from the ledger and adds its size to UPDATED, in any order."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        await harness.send(report("1", 3))
        progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 3, 0), {"0": 4, "2": 1})
        await harness.send(report("2", 1), report("0", 4))
        progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 8, 0), {})


async def test_a_failed_chunk_is_split(nats_uri: str, redis_uri: str) -> None:
    """A FAIL replaces the chunk by its halves and counts nothing."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        await harness.send(failure("1"))
        progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), {"0": 4, "1.0": 2, "1.1": 1, "2": 1})


async def test_a_failed_single_entity_is_settled_with_its_error(nats_uri: str, redis_uri: str) -> None:
    """A FAIL of a chunk of size one counts as settled and failed, and its error text is kept for the dead letter."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin(sizes={"0": 1, "1": 1})
        await harness.send(failure("0", "tietokanta: ä 🎓"), report("1", 1))
        progress = await harness.handled()
        assert (counters(progress), progress.errors) == ((2, 2, 1), {"0": "tietokanta: ä 🎓"})


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([report("0")] * 5, id="OK five times"),
        pytest.param([report("0"), failure("0")], id="FAIL after OK"),
        pytest.param([report("0"), report("0", 4, entities=[])], id="OK with other fields"),
    ],
)
async def test_a_chunk_counts_once(nats_uri: str, redis_uri: str, messages: list[bytes]) -> None:
    """Reports after the first one on a chunk change nothing."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        for message in messages:
            await harness.send(message)
            progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 4, 0), {"1": 3, "2": 1})


async def test_ok_after_fail_does_not_count(nats_uri: str, redis_uri: str) -> None:
    """A chunk that was split is no longer counted itself; its halves are."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        for message in (failure("0"), report("0"), failure("0")):
            await harness.send(message)
            progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), {"0.0": 2, "0.1": 2, "1": 3, "2": 1})


async def test_a_failure_of_a_single_entity_counts_once(nats_uri: str, redis_uri: str) -> None:
    """A repeated FAIL or a late OK of one entity is not counted again, and the first error text is kept."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin(sizes={"0": 1, "1": 1})
        for message in (failure("0", "first"), failure("0", "second"), report("0", 1)):
            await harness.send(message)
            progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((2, 1, 1), {"1": 1})
        await harness.send(report("1", 1))
        assert (await harness.handled()).errors == {"0": "first"}


async def test_several_collectors_share_the_work(nats_uri: str, redis_uri: str) -> None:
    """Concurrent collectors count every chunk once, including splits and failures."""
    async with at_work(nats_uri, redis_uri, collectors=3) as harness:
        await harness.begin(sizes={str(number): 2 for number in range(100)})
        await harness.send(*(failure(str(number)) for number in range(0, 100, 2)))
        progress = await harness.handled()
        assert len(progress.outstanding) == 150
        assert sum(progress.outstanding.values()) == 200
        await harness.send(
            *(
                failure(chunk) if chunk.endswith(".0") else report(chunk, size)
                for chunk, size in progress.outstanding.items()
            )
        )
        progress = await harness.handled()
        assert (counters(progress), len(progress.errors)) == ((200, 200, 50), 50)


@pytest.mark.parametrize("success", [True, False])
async def test_the_end_of_a_post_update_is_recorded(nats_uri: str, redis_uri: str, *, success: bool) -> None:
    """A post-update that has ended, successfully or not, allows the next one."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.redis.set(keys.POST_UPDATE_RUNNING, "run")
        await harness.send(
            json.dumps({"success": success, "took": 3}).encode(), subject=keys.POST_UPDATE_FINISH_SUBJECT
        )
        await harness.handled()
        assert not await harness.redis.exists(keys.POST_UPDATE_RUNNING)


async def test_a_key_of_another_type_stops_only_its_service(nats_uri: str, redis_uri: str) -> None:
    """Feedback of that service is logged and not acknowledged; that of another in the same fetch is counted."""
    other = report(channel=OTHER_CHANNEL)
    with capture_logs() as logged:
        async with at_work(nats_uri, redis_uri) as harness:
            await harness.begin()
            await harness.ledgers[OTHER_CHANNEL].begin(EXECUTION, 0, SIZES)
            async with connect(redis_uri) as redis:
                await redis.delete(f"K_{CHANNEL}_CHUNKS")
                await redis.set(f"K_{CHANNEL}_CHUNKS", "foreign")
            await harness.send(report(), failure("2"), other, report("1", 3), report("1", 3, channel=OTHER_CHANNEL))

            async def is_counted() -> bool:
                return counters(await harness.ledgers[OTHER_CHANNEL].progress()) == (8, 7, 0)

            async def are_unacknowledged() -> bool:
                consumer = await harness.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
                return consumer.num_ack_pending == 3 and not consumer.num_pending

            await wait_until_async(is_counted, "the other service's feedback is counted")
            await wait_until_async(are_unacknowledged, "three messages are not acknowledged")
            assert [task for task in harness.collectors if task.done()] == []
    entries = [entry for entry in logged if entry["event"] == Event.FEEDBACK_UNCOUNTED]
    assert sum(entry["count"] for entry in entries) == 3
    assert all(f"K_{CHANNEL}_CHUNKS in Redis has another type" in entry["reason"] for entry in entries)

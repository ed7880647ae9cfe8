"""Feedback that is late, foreign, unknown or invalid: it changes nothing, and does not stop the ack_collector."""

import asyncio
import random

import pytest
from prometheus_client import REGISTRY

from shared.model import keys
from tests.support.collector_harness import (
    CHANNEL,
    EXECUTION,
    OLD_EXECUTION,
    OTHER_CHANNEL,
    SIZES,
    CollectorHarness,
    at_work,
    counters,
    failure,
    report,
)
from tests.support.waiting import wait_until_async


def invalid_count(reason: str) -> float:
    """Return how many reports were counted as invalid for this reason."""
    return REGISTRY.get_sample_value("importer_feedback_invalid_total", {"reason": reason}) or 0


async def test_feedback_of_another_execution_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """Late reports, which arrive when the next execution has begun, are not counted for it."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin(OLD_EXECUTION)
        await harness.begin(EXECUTION)
        for old in (OLD_EXECUTION, "ab" * 12):
            await harness.send(report("0", executionHash=old), report("2", 0, "FAIL", executionHash=old))
        progress = await harness.handled()
        assert (counters(progress), progress.outstanding, progress.execution) == ((8, 0, 0), SIZES, EXECUTION)


async def test_feedback_for_a_service_without_an_execution_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """Reports on a channel whose service has no execution leave Redis unchanged."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        before = await _redis_content(harness)
        await harness.send(report("0", channel=OTHER_CHANNEL), report("2", 0, "FAIL", channel=OTHER_CHANNEL))
        await harness.handled()
        assert await _redis_content(harness) == before


INVALID = [
    *((data, "not JSON") for data in (b"", b"\x00\xff", b"OK", b"{", b"{'status':'OK'}", report("0")[:-1])),
    *((data, "not an object") for data in (b"null", b"[]", b"7", b'"OK"')),
    *((report("0", amount), "amount") for amount in (0, -4, 10**18, 4.5, 4.0, True, "4", None, [4])),
    *((report("0", amount), "amount is not the chunk's size") for amount in (1, 3, 5, 8, 1_000_000_000)),
    *(
        (failure("0").replace(b'"amount": 0', b'"amount": %s' % amount), "amount")
        for amount in (b"-1", b"true", b"0.5")
    ),
    *((report(chunk), "chunkId") for chunk in ("", "0.2", "-0", "0.", None, 0, "0 ", "0\n", ["0"])),
    *((report(channel=name), "channel") for name in ("NO_CHANNEL", "", None, 7, [CHANNEL], "POST_UPDATE")),
    *((report(executionHash=value), "executionHash") for value in ("", None, 7, EXECUTION.upper(), EXECUTION + "0")),
    *((report(status=value), "status") for value in ("ok", "", None, True, "DONE", ["OK"])),
]


async def test_feedback_that_breaks_the_contract_is_invalid(nats_uri: str, redis_uri: str) -> None:
    """An invalid message is terminated, counted by its reason, and changes nothing in Redis."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        before = await _redis_content(harness)
        for data, reason in INVALID:
            count = invalid_count(reason)
            await harness.send(data)
            await harness.handled()
            assert invalid_count(reason) == count + 1, data
        assert await _redis_content(harness) == before
        await harness.send(*(report(chunk, size) for chunk, size in SIZES.items()))
        assert counters(await harness.handled()) == (8, 8, 0)


async def test_unknown_chunks_change_nothing(nats_uri: str, redis_uri: str) -> None:
    """A chunk that was never scheduled, or halves of one that was never split, are not counted."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.begin()
        await harness.send(
            *(message for chunk in ("7", "0.0", "2.1") for message in (report(chunk, 1), failure(chunk)))
        )
        progress = await harness.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), SIZES)


@pytest.mark.parametrize("collectors", [1, 3])
async def test_counters_are_exact_under_mixed_feedback(nats_uri: str, redis_uri: str, collectors: int) -> None:
    """With repeated, late, foreign and invalid feedback at once, UPDATED only grows, up to the number of entities."""
    generator = random.Random(collectors)
    sizes = {str(number): generator.randint(1, 9) for number in range(60)}
    total = sum(sizes.values())
    messages = [report(chunk, size) for chunk, size in sizes.items() for _ in range(3)]
    messages += [report(chunk, size, executionHash=OLD_EXECUTION) for chunk, size in sizes.items()]
    messages += [report(chunk, size, channel=OTHER_CHANNEL) for chunk, size in sizes.items()]
    messages += [report(chunk, size + 1) for chunk, size in sizes.items()]
    messages += [data for data, reason in INVALID if reason != "amount is not the chunk's size"]
    generator.shuffle(messages)
    async with at_work(nats_uri, redis_uri, collectors) as harness:
        await harness.begin(sizes=sizes)
        sending = asyncio.create_task(harness.send(*messages))
        seen: list[int] = []

        async def is_done() -> bool:
            progress = await harness.ledger.progress()
            assert progress.scheduled == total
            seen.append(progress.updated)
            return sending.done() and await harness.is_handled()

        await wait_until_async(is_done, "all feedback is handled")
        progress = await harness.handled()
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert (counters(progress), progress.outstanding) == ((total, total, 0), {})


@pytest.mark.parametrize("data", [b"", b"true", b"{}", b'{"success":"true"}', b'{"success":1}', b'{"success":null}'])
async def test_an_invalid_reply_does_not_end_a_post_update(nats_uri: str, redis_uri: str, data: bytes) -> None:
    """Garbage on the subject of the post-update is invalid and changes nothing."""
    async with at_work(nats_uri, redis_uri) as harness:
        await harness.redis.set(keys.POST_UPDATE_RUNNING, "run")
        await harness.send(data, subject=keys.POST_UPDATE_FINISH_SUBJECT)
        await harness.handled()
        assert await harness.redis.get(keys.POST_UPDATE_RUNNING) == "run"


async def _redis_content(harness: CollectorHarness) -> dict[str, object]:
    """Return all keys of this Redis with their values."""
    content: dict[str, object] = {}
    for key in await harness.redis.keys():
        content[key] = await (
            harness.redis.hgetall(key) if await harness.redis.type(key) == "hash" else harness.redis.get(key)
        )
    return content

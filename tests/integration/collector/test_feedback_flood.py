"""Floods of feedback that changes nothing: each message is counted in the metrics, and the log stays small."""

import time

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from tests.support.collector_harness import SIZES, CollectorHarness, at_work, counters, report
from tests.support.waiting import wait_until_async

FLOOD = 20_000
OTHER_EXECUTION = "ab" * 12


async def flood(rig: CollectorHarness, data: bytes) -> None:
    """Send the same message very often, as fast as the connection takes it."""
    for number in range(FLOOD):
        await rig.broker.client.publish("SCHEDULER_STATUS_CHANNEL", data)
        if number % 1000 == 0:
            await rig.broker.client.flush()
    await rig.broker.client.flush()

    async def arrived() -> bool:
        info = await rig.broker.jetstream.stream_info("IMPORTER_FEEDBACK")
        return bool(info.state.last_seq >= FLOOD)

    await wait_until_async(arrived, "the stream has all of them")


@pytest.mark.parametrize(
    ("data", "event", "metric", "label"),
    [
        (b"garbage", "feedback_invalid", "importer_feedback_invalid_total", {"reason": "not JSON"}),
        (
            report("0", executionHash=OTHER_EXECUTION),
            "feedback_stale",
            "importer_feedback_total",
            {"result": "STALE"},
        ),
    ],
    ids=["invalid", "stale"],
)
async def test_a_flood_is_one_line_a_second(
    nats_uri: str, redis_uri: str, data: bytes, event: str, metric: str, label: dict[str, str]
) -> None:
    """Tens of thousands of messages lead to a few lines, whose counts add up; real reports count meanwhile."""
    before = REGISTRY.get_sample_value(metric, label) or 0
    begun = time.monotonic()
    with capture_logs() as logged:
        async with at_work(nats_uri, redis_uri) as rig:
            await rig.begin()
            await flood(rig, data)
            await rig.send(*(report(chunk, size) for chunk, size in SIZES.items()))
            await wait_until_async(rig.is_handled, "all feedback is handled", 60)
            assert counters(await rig.handled()) == (8, 8, 0)
    lines = [line for line in logged if line["event"] == event]
    assert len(lines) <= time.monotonic() - begun + 2
    assert sum(line["count"] for line in lines) == FLOOD
    assert (REGISTRY.get_sample_value(metric, label) or 0) - before == FLOOD

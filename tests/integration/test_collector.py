"""The ack_collector on real NATS and Redis: counters stay exact whatever comes, and nothing can stop it."""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from prometheus_client import REGISTRY

from ack_collector.collector import Collector
from shared import keys
from shared.broker import Broker
from shared.errors import DependencyLostError
from shared.feedback_subscription import FeedbackSubscription
from shared.ledger import Ledger, Progress, Verdict
from shared.redis_client import Call, Scripts
from shared.redis_client import make_redis as connect
from shared.stop import Stop
from tests.support.brokers import CHANNELS, connected
from tests.support.waiting import wait_until_async

CHANNEL, OTHER_CHANNEL = CHANNELS
EXECUTION, OLD_EXECUTION = "9f" * 12, "00" * 12
SIZES = {"0": 4, "1": 3, "2": 1}
ENTITIES = sum(SIZES.values())


def report(chunk: object = "0", amount: object = 4, status: object = "OK", **others: object) -> bytes:
    fields = {"status": status, "executionHash": EXECUTION, "chunkId": chunk, "channel": CHANNEL, "amount": amount}
    return json.dumps(fields | others).encode()


def failure(chunk: str, stack: str = "broken") -> bytes:
    return report(chunk, 0, "FAIL", stack=stack)


def refused(reason: str) -> float:
    return REGISTRY.get_sample_value("importer_feedback_refused_total", {"reason": reason}) or 0


@dataclass
class Rig:
    """Collectors at work, and an execution of three chunks that they are to count."""

    broker: Broker
    ledgers: dict[str, Ledger]
    redis: object
    collectors: list["asyncio.Task[None]"]

    @property
    def ledger(self) -> Ledger:
        return self.ledgers[CHANNEL]

    async def begin(self, execution: str = EXECUTION, sizes: dict[str, int] | None = None) -> None:
        assert await self.ledger.begin(execution, 0, sizes or SIZES) is Verdict.BEGUN

    async def send(self, *messages: bytes, subject: str = keys.FEEDBACK_SUBJECT) -> None:
        for message in messages:
            await self.broker.jetstream.publish(subject, message)

    async def is_handled(self) -> bool:
        """Every message was acknowledged or refused, so none is left and none will come again."""
        stream = await self.broker.jetstream.stream_info(keys.FEEDBACK_STREAM)
        consumer = await self.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        return not (stream.state.messages or consumer.num_pending or consumer.num_ack_pending)

    async def handled(self) -> Progress:
        """Wait until all that was sent is handled; the collectors are still up then."""
        await wait_until_async(self.is_handled, "all feedback is handled")
        assert [task for task in self.collectors if task.done()] == []
        return await self.ledger.progress()


@asynccontextmanager
async def at_work(
    nats_uri: str, redis_uri: str, collectors: int = 1, scripts: type[Scripts] = Scripts
) -> AsyncIterator[Rig]:
    stop = Stop()
    async with AsyncExitStack() as stack:
        broker = await stack.enter_async_context(connected(nats_uri, stop))
        redis = await stack.enter_async_context(connect(redis_uri))
        ledgers = {channel: Ledger(Scripts(redis), f"K_{channel}") for channel in CHANNELS}
        tasks = []
        for _ in range(collectors):
            own = await stack.enter_async_context(connected(nats_uri, stop))
            subscription = FeedbackSubscription(own)
            stack.push_async_callback(subscription.close)
            tasks.append(asyncio.create_task(Collector(subscription, ledgers, scripts(redis), stop).run()))
        try:
            yield Rig(broker, ledgers, redis, tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def counters(progress: Progress) -> tuple[int, int, int]:
    return progress.scheduled, progress.updated, progress.failed


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


async def test_feedback_of_another_execution_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """Reports that come late, when the next execution has begun, are not counted for it."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin(OLD_EXECUTION)
        await rig.begin(EXECUTION)
        for old in (OLD_EXECUTION, "ab" * 12):
            await rig.send(report("0", executionHash=old), report("2", 0, "FAIL", executionHash=old))
        progress = await rig.handled()
        assert (counters(progress), progress.outstanding, progress.execution) == ((8, 0, 0), SIZES, EXECUTION)


async def test_feedback_for_a_service_without_an_execution_changes_nothing(nats_uri: str, redis_uri: str) -> None:
    """Reports on a channel whose service never began anything leave Redis as it was."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        before = await _everything(rig)
        await rig.send(report("0", channel=OTHER_CHANNEL), report("2", 0, "FAIL", channel=OTHER_CHANNEL))
        await rig.handled()
        assert await _everything(rig) == before


BAD = [
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


async def test_feedback_that_breaks_the_contract_is_refused(nats_uri: str, redis_uri: str) -> None:
    """Each message that is not feedback is ended for good, counted by its reason, and changes nothing in Redis."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        before = await _everything(rig)
        for data, reason in BAD:
            count = refused(reason)
            await rig.send(data)
            await rig.handled()
            assert refused(reason) == count + 1, data
        assert await _everything(rig) == before
        await rig.send(*(report(chunk, size) for chunk, size in SIZES.items()))
        assert counters(await rig.handled()) == (8, 8, 0)


async def test_unknown_chunks_change_nothing(nats_uri: str, redis_uri: str) -> None:
    """A chunk that was never begun, or parts of one that was never split, are not counted."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.begin()
        await rig.send(*(message for chunk in ("7", "0.0", "2.1") for message in (report(chunk, 1), failure(chunk))))
        progress = await rig.handled()
        assert (counters(progress), progress.outstanding) == ((8, 0, 0), SIZES)


@pytest.mark.parametrize("collectors", [1, 3])
async def test_counters_are_exact_under_everything_at_once(nats_uri: str, redis_uri: str, collectors: int) -> None:
    """Under a storm of repeated, late, foreign and broken feedback UPDATED only grows, to the number of entities."""
    generator = random.Random(collectors)
    sizes = {str(number): generator.randint(1, 9) for number in range(60)}
    total = sum(sizes.values())
    messages = [report(chunk, size) for chunk, size in sizes.items() for _ in range(3)]
    messages += [report(chunk, size, executionHash=OLD_EXECUTION) for chunk, size in sizes.items()]
    messages += [report(chunk, size, channel=OTHER_CHANNEL) for chunk, size in sizes.items()]
    messages += [report(chunk, size + 1) for chunk, size in sizes.items()]
    messages += [data for data, reason in BAD if reason != "amount is not the chunk's size"]
    generator.shuffle(messages)
    async with at_work(nats_uri, redis_uri, collectors) as rig:
        await rig.begin(sizes=sizes)
        sending = asyncio.create_task(rig.send(*messages))
        seen: list[int] = []

        async def is_through() -> bool:
            progress = await rig.ledger.progress()
            assert progress.scheduled == total
            seen.append(progress.updated)
            return sending.done() and await rig.is_handled()

        await wait_until_async(is_through, "all feedback is handled")
        progress = await rig.handled()
    assert seen == sorted(seen)
    assert seen[0] >= 0
    assert (counters(progress), progress.outstanding) == ((total, total, 0), {})


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


async def test_a_message_is_acknowledged_only_after_its_effect(nats_uri: str, redis_uri: str) -> None:
    """While the ledger has not answered, the message is still the broker's to deliver again."""
    reached, may_go_on = asyncio.Event(), asyncio.Event()

    class SlowScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:
            reached.set()
            await may_go_on.wait()
            return await super().call_all(calls)

    async with at_work(nats_uri, redis_uri, scripts=SlowScripts) as rig:
        await rig.begin()
        await rig.send(report())
        await reached.wait()
        consumer = await rig.broker.jetstream.consumer_info(keys.FEEDBACK_STREAM, keys.COLLECTOR_CONSUMER)
        assert consumer.num_ack_pending == 1
        may_go_on.set()
        assert counters(await rig.handled()) == (8, 4, 0)


async def test_a_collector_that_loses_redis_gives_its_messages_to_another(nats_uri: str, redis_uri: str) -> None:
    """What could not be counted is not acknowledged: it comes again at once, and is counted then."""

    class LostScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:  # noqa: ARG002
            raise DependencyLostError("Redis is lost")

    async with at_work(nats_uri, redis_uri, scripts=LostScripts) as rig:
        await rig.begin()
        await rig.send(report())
        async with asyncio.timeout(5):
            with pytest.raises(DependencyLostError, match="Redis is lost"):
                await rig.collectors[0]
        assert counters(await rig.ledger.progress()) == (8, 0, 0)
    async with at_work(nats_uri, redis_uri) as other:
        async with asyncio.timeout(20):  # below the ack_wait of half a minute
            assert counters(await other.handled()) == (8, 4, 0)


async def test_asked_to_stop_it_finishes_what_it_holds(nats_uri: str, redis_uri: str) -> None:
    """A collector that is asked to stop in the middle of a message ends after that message."""
    reached, may_go_on = asyncio.Event(), asyncio.Event()

    class SlowScripts(Scripts):
        async def call_all(self, calls: Sequence[Call]) -> list[Any]:
            reached.set()
            await may_go_on.wait()
            return await super().call_all(calls)

    stop = Stop()
    async with connected(nats_uri, stop) as broker, connect(redis_uri) as redis:
        ledger = Ledger(Scripts(redis), f"K_{CHANNEL}")
        await ledger.begin(EXECUTION, 0, SIZES)
        collector = Collector(FeedbackSubscription(broker), {CHANNEL: ledger}, SlowScripts(redis), stop)
        running = asyncio.create_task(collector.run())
        await broker.jetstream.publish(keys.FEEDBACK_SUBJECT, report())
        await reached.wait()
        stop.request()
        may_go_on.set()
        async with asyncio.timeout(5):
            await running
        assert counters(await ledger.progress()) == (8, 4, 0)


@pytest.mark.parametrize("success", [True, False])
async def test_the_end_of_a_post_update_is_noted(nats_uri: str, redis_uri: str, *, success: bool) -> None:
    """Well or not, a post-update that has ended makes room for the next one."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.redis.set(keys.POST_UPDATE_RUNNING, "run")
        await rig.send(json.dumps({"success": success, "took": 3}).encode(), subject=keys.POST_UPDATE_FINISH_SUBJECT)
        await rig.handled()
        assert not await rig.redis.exists(keys.POST_UPDATE_RUNNING)


@pytest.mark.parametrize("data", [b"", b"true", b"{}", b'{"success":"true"}', b'{"success":1}', b'{"success":null}'])
async def test_an_answer_that_is_none_ends_no_post_update(nats_uri: str, redis_uri: str, data: bytes) -> None:
    """Garbage on the subject of the post-update is refused and changes nothing."""
    async with at_work(nats_uri, redis_uri) as rig:
        await rig.redis.set(keys.POST_UPDATE_RUNNING, "run")
        await rig.send(data, subject=keys.POST_UPDATE_FINISH_SUBJECT)
        await rig.handled()
        assert await rig.redis.get(keys.POST_UPDATE_RUNNING) == "run"


async def _everything(rig: Rig) -> dict[str, object]:
    """All keys of this Redis, with what they hold."""
    held: dict[str, object] = {}
    for key in await rig.redis.keys():
        held[key] = await (rig.redis.hgetall(key) if await rig.redis.type(key) == "hash" else rig.redis.get(key))
    return held

"""The ledger's scripts on a real Redis: what begins, settles, splits and fails, and that repeating it is harmless."""

from collections.abc import Awaitable, Callable

import pytest

from shared.model import keys
from shared.model.ledger_state import Progress
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.scripts import Scripts
from tests.support.ledger_fixture import NAMES, ONE, TWO, LedgerFixture, ledger_fixture
from tests.support.waiting import wait_until_async


async def test_an_execution_begins_with_all_of_its_chunks(redis_uri: str) -> None:
    """Ledger and counters are the new execution's, whatever was left of an older one."""
    async with ledger_fixture(redis_uri, {"0": 1, "1": 50, "2": 3}) as b:
        await b.ledger.fail(ONE, "0", "bad")
        assert await b.ledger.begin(TWO, 0, {"0": 100, "1": 7}) == "BEGUN"
        assert await b.all() == {
            NAMES.execution: TWO,
            NAMES.scheduled: "107",
            NAMES.updated: "0",
            NAMES.failed: "0",
            NAMES.chunks: {"0": "100", "1": "7"},
            keys.CURRENT_EXECUTION_HASH: TWO,
        }


async def test_an_execution_may_have_many_chunks(redis_uri: str) -> None:
    """All of them are in the ledger, with their sizes, as text that the other scripts compare."""
    async with ledger_fixture(redis_uri) as b:
        chunks = {str(chunk): chunk + 1 for chunk in range(20_000)}
        assert await b.ledger.begin(ONE, 0, chunks) == "BEGUN"
        assert await b.ledger.progress() == Progress(ONE, sum(chunks.values()), 0, 0, chunks, {})
        assert await b.settle(ONE, "19999", 20_000) == "SETTLED"


async def test_an_execution_without_chunks_is_settled_from_the_start(redis_uri: str) -> None:
    """A page without entities, or of such that no message can hold, has nothing outstanding."""
    async with ledger_fixture(redis_uri, {}) as b:
        progress = await b.ledger.progress()
        assert (progress.scheduled, progress.updated, progress.outstanding) == (0, 0, {})
        assert await b.ledger.advance(ONE, 0, 9) == "ADVANCED"


async def test_beginning_twice_is_beginning_once(redis_uri: str) -> None:
    """A lost reply makes the client repeat it."""
    async with ledger_fixture(redis_uri, {"0": 100}) as b:
        await b.assert_unchanged(b.ledger.begin(ONE, 0, {"0": 100}), "BEGUN")


@pytest.mark.parametrize(("ordinal", "since"), [(0, 5), (5, 0), (7, 5), (5, 7)])
async def test_an_execution_from_another_ordinal_does_not_begin(redis_uri: str, ordinal: int, since: int) -> None:
    """Another producer has advanced since the fetch: this batch is out of date."""
    async with ledger_fixture(redis_uri, {"0": 100}, ordinal) as b:
        await b.assert_unchanged(b.ledger.begin(TWO, since, {"0": 3}), "FENCED")


async def test_mankelis_are_notified_of_a_new_execution(redis_uri: str) -> None:
    """Its hash is published on the channel that has the key's name."""
    async with ledger_fixture(redis_uri) as b:
        await assert_published(b, keys.CURRENT_EXECUTION_HASH, ONE, lambda: b.ledger.begin(ONE, 0, {"0": 1}))


async def test_mankelis_are_told_once_more_of_an_execution(redis_uri: str) -> None:
    """After another service's execution was announced, ours is again; one that is over is not."""
    async with ledger_fixture(redis_uri, {"0": 1}) as b:
        other = Ledger(Scripts(RedisClient(b.redis)), "LATEST_PLAN_ORDINAL")
        assert await other.begin(TWO, 0, {"0": 1}) == "BEGUN"
        await assert_published(b, keys.CURRENT_EXECUTION_HASH, ONE, lambda: b.ledger.announce(ONE))
        assert await b.redis.get(keys.CURRENT_EXECUTION_HASH) == ONE
        await b.assert_unchanged(b.ledger.announce(TWO), "STALE")


async def test_a_settled_chunk_counts_once(redis_uri: str) -> None:
    """It leaves the ledger in the step that counts it; the second time it is a DUPLICATE."""
    async with ledger_fixture(redis_uri, {"0": 100, "1": 7}) as b:
        assert await b.settle(ONE, "0", 100) == "SETTLED"
        progress = await b.ledger.progress()
        assert (progress.updated, dict(progress.outstanding)) == (100, {"1": 7})
        await b.assert_unchanged(b.settle(ONE, "0", 100), "DUPLICATE")


@pytest.mark.parametrize("size", [0, 1, 99, 101, 10**9])
async def test_an_amount_that_is_not_the_chunks_changes_nothing(redis_uri: str, size: int) -> None:
    """A mankeli that claims more or less than it got is not believed."""
    async with ledger_fixture(redis_uri, {"0": 100}) as b:
        await b.assert_unchanged(b.settle(ONE, "0", size), "MISMATCH")


async def test_what_is_not_of_this_execution_is_stale(redis_uri: str) -> None:
    """Late feedback of an older execution changes nothing, though the chunk's id is in the ledger."""
    async with ledger_fixture(redis_uri, {"0": 100, "1": 1}) as b:
        await b.assert_unchanged(b.settle(TWO, "0", 100), "STALE")
        await b.assert_unchanged(b.ledger.split(TWO, "0"), "STALE")
        await b.assert_unchanged(b.ledger.fail(TWO, "1", "bad"), "STALE")


async def test_without_any_execution_everything_is_stale(redis_uri: str) -> None:
    """Feedback for a Redis that lost everything creates nothing in it."""
    async with ledger_fixture(redis_uri) as b:
        await b.assert_unchanged(b.settle(ONE, "0", 1), "STALE")
        await b.assert_unchanged(b.ledger.split(ONE, "0"), "STALE")
        await b.assert_unchanged(b.ledger.fail(ONE, "0", "bad"), "STALE")
        await b.assert_unchanged(b.ledger.advance(ONE, 0, 9), "FENCED")


async def test_a_chunk_that_is_unknown_is_a_duplicate(redis_uri: str) -> None:
    """What is not in the ledger counts nowhere."""
    async with ledger_fixture(redis_uri, {"0": 100}) as b:
        await b.assert_unchanged(b.settle(ONE, "7", 100), "DUPLICATE")
        await b.assert_unchanged(b.ledger.split(ONE, "0.0"), "DUPLICATE")
        await b.assert_unchanged(b.ledger.fail(ONE, "0.1", "bad"), "DUPLICATE")


@pytest.mark.parametrize(("size", "halves"), [(2, (1, 1)), (3, (2, 1)), (100, (50, 50)), (101, (51, 50))])
async def test_a_split_conserves_the_entities(redis_uri: str, size: int, halves: tuple[int, int]) -> None:
    """The halves take the chunk's place, the larger one first; nothing is counted, and it happens once."""
    async with ledger_fixture(redis_uri, {"3": size}) as b:
        assert await b.ledger.split(ONE, "3") == "SPLIT"
        progress = await b.ledger.progress()
        assert dict(progress.outstanding) == {"3.0": halves[0], "3.1": halves[1]}
        assert (progress.scheduled, progress.updated) == (size, 0)
        await b.assert_unchanged(b.ledger.split(ONE, "3"), "DUPLICATE")


async def test_ok_after_a_split_and_a_split_after_ok(redis_uri: str) -> None:
    """Of two contradicting reports on one chunk the first one counts, and the other changes nothing."""
    async with ledger_fixture(redis_uri, {"0": 10, "1": 10}) as b:
        await b.ledger.split(ONE, "0")
        await b.assert_unchanged(b.settle(ONE, "0", 10), "DUPLICATE")
        await b.settle(ONE, "1", 10)
        await b.assert_unchanged(b.ledger.split(ONE, "1"), "DUPLICATE")


async def test_a_single_entity_is_not_split_but_fails(redis_uri: str) -> None:
    """Its error text is kept until the ordinal moves, and it counts as settled and as failed, once."""
    async with ledger_fixture(redis_uri, {"0": 1, "1": 2}) as b:
        await b.assert_unchanged(b.ledger.split(ONE, "0"), "SINGLE")
        await b.assert_unchanged(b.ledger.fail(ONE, "1", "bad"), "MISMATCH")
        assert await b.ledger.fail(ONE, "0", "unique constraint") == "FAILED"
        await b.assert_unchanged(b.ledger.fail(ONE, "0", "another"), "DUPLICATE")
        progress = await b.ledger.progress()
        assert (progress.updated, progress.failed, dict(progress.outstanding)) == (1, 1, {"1": 2})
        assert progress.errors == {}, "error texts are read only once nothing is outstanding"
        await b.settle(ONE, "1", 2)
        assert (await b.ledger.progress()).errors == {"0": "unique constraint"}


@pytest.mark.parametrize("act", ["settle", "split", "fail"])
async def test_each_change_wakes_the_producer(redis_uri: str, act: str) -> None:
    """How many chunks are outstanding is published on the service's progress channel, and a split as such."""
    async with ledger_fixture(redis_uri, {"0": 1 if act == "fail" else 10, "1": 3, "2": 3}) as b:
        calls: dict[str, Callable[[], Awaitable[str]]] = {
            "settle": lambda: b.settle(ONE, "0", 10),
            "split": lambda: b.ledger.split(ONE, "0"),
            "fail": lambda: b.ledger.fail(ONE, "0", "bad"),
        }
        await assert_published(b, NAMES.progress, "split" if act == "split" else "2", calls[act])


async def test_scripts_are_loaded_again_where_redis_has_lost_them(redis_uri: str) -> None:
    """After a restart the server knows no script."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.redis.script_flush()
        assert await b.settle(ONE, "0", 10) == "SETTLED"


async def assert_published(b: LedgerFixture, channel: str, text: str, act: Callable[[], Awaitable[str]]) -> None:
    """Assert that this publishes just that text on the channel."""
    async with b.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)

        async def subscribed() -> bool:
            return dict(await b.redis.pubsub_numsub(channel)).get(channel) == 1

        await wait_until_async(subscribed, "the subscription")
        await act()
        message = await wait_until_async(lambda: pubsub.get_message(timeout=1), "a message")
        assert message["data"] == text

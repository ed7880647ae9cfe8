"""The ledger's scripts on a real Redis: begin, settle, split and fail, each of which can be repeated safely."""

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
    """The ledger and counters are those of the new execution, whatever an older one left behind."""
    async with ledger_fixture(redis_uri, {"0": 1, "1": 50, "2": 3}) as fixture:
        await fixture.ledger.fail(ONE, "0", "bad")
        assert await fixture.ledger.begin(TWO, 0, {"0": 100, "1": 7}) == "BEGUN"
        assert await fixture.all() == {
            NAMES.execution: TWO,
            NAMES.scheduled: "107",
            NAMES.updated: "0",
            NAMES.failed: "0",
            NAMES.chunks: {"0": "100", "1": "7"},
            keys.CURRENT_EXECUTION_HASH: TWO,
        }


async def test_an_execution_may_have_many_chunks(redis_uri: str) -> None:
    """The ledger has all of 20 000 chunks, with their sizes as the text that the other scripts compare."""
    async with ledger_fixture(redis_uri) as fixture:
        chunks = {str(chunk): chunk + 1 for chunk in range(20_000)}
        assert await fixture.ledger.begin(ONE, 0, chunks) == "BEGUN"
        assert await fixture.ledger.progress() == Progress(ONE, sum(chunks.values()), 0, 0, chunks, {})
        assert await fixture.settle(ONE, "19999", 20_000) == "SETTLED"


async def test_an_execution_without_chunks_is_settled_from_the_start(redis_uri: str) -> None:
    """A page without entities, or only with entities that are too large for a message, has nothing outstanding."""
    async with ledger_fixture(redis_uri, {}) as fixture:
        progress = await fixture.ledger.progress()
        assert (progress.scheduled, progress.updated, progress.outstanding) == (0, 0, {})
        assert await fixture.ledger.advance(ONE, 0, 9) == "ADVANCED"


async def test_beginning_an_execution_is_idempotent(redis_uri: str) -> None:
    """Beginning the same execution again, after a lost reply, changes nothing."""
    async with ledger_fixture(redis_uri, {"0": 100}) as fixture:
        await fixture.assert_unchanged(fixture.ledger.begin(ONE, 0, {"0": 100}), "BEGUN")


@pytest.mark.parametrize(("ordinal", "since"), [(0, 5), (5, 0), (7, 5), (5, 7)])
async def test_an_execution_from_another_ordinal_does_not_begin(redis_uri: str, ordinal: int, since: int) -> None:
    """A batch that was fetched from another ordinal than the present one is out of date."""
    async with ledger_fixture(redis_uri, {"0": 100}, ordinal) as fixture:
        await fixture.assert_unchanged(fixture.ledger.begin(TWO, since, {"0": 3}), "FENCED")


async def test_mankelis_are_notified_of_a_new_execution(redis_uri: str) -> None:
    """The hash of the new execution is published on the channel with the key's name."""
    async with ledger_fixture(redis_uri) as fixture:
        await assert_published(
            fixture, keys.CURRENT_EXECUTION_HASH, ONE, lambda: fixture.ledger.begin(ONE, 0, {"0": 1})
        )


async def test_an_execution_can_be_announced_again(redis_uri: str) -> None:
    """The ledger's execution is announced again after that of another service, and one that is over is not."""
    async with ledger_fixture(redis_uri, {"0": 1}) as fixture:
        other = Ledger(Scripts(RedisClient(fixture.redis)), "LATEST_PLAN_ORDINAL")
        assert await other.begin(TWO, 0, {"0": 1}) == "BEGUN"
        await assert_published(fixture, keys.CURRENT_EXECUTION_HASH, ONE, lambda: fixture.ledger.announce(ONE))
        assert await fixture.redis.get(keys.CURRENT_EXECUTION_HASH) == ONE
        await fixture.assert_unchanged(fixture.ledger.announce(TWO), "STALE")


async def test_a_settled_chunk_counts_once(redis_uri: str) -> None:
    """A settled chunk leaves the ledger in the step that counts it; the second time it is a DUPLICATE."""
    async with ledger_fixture(redis_uri, {"0": 100, "1": 7}) as fixture:
        assert await fixture.settle(ONE, "0", 100) == "SETTLED"
        progress = await fixture.ledger.progress()
        assert (progress.updated, dict(progress.outstanding)) == (100, {"1": 7})
        await fixture.assert_unchanged(fixture.settle(ONE, "0", 100), "DUPLICATE")


@pytest.mark.parametrize("size", [0, 1, 99, 101, 10**9])
async def test_an_amount_that_differs_from_the_chunks_size_changes_nothing(redis_uri: str, size: int) -> None:
    """A report of more or fewer entities than the chunk has is a MISMATCH."""
    async with ledger_fixture(redis_uri, {"0": 100}) as fixture:
        await fixture.assert_unchanged(fixture.settle(ONE, "0", size), "MISMATCH")


async def test_feedback_of_another_execution_is_stale(redis_uri: str) -> None:
    """Late feedback of an older execution changes nothing, even if its chunk id is in the ledger."""
    async with ledger_fixture(redis_uri, {"0": 100, "1": 1}) as fixture:
        await fixture.assert_unchanged(fixture.settle(TWO, "0", 100), "STALE")
        await fixture.assert_unchanged(fixture.ledger.split(TWO, "0"), "STALE")
        await fixture.assert_unchanged(fixture.ledger.fail(TWO, "1", "bad"), "STALE")


async def test_without_an_execution_all_feedback_is_stale(redis_uri: str) -> None:
    """In a Redis that lost all data, feedback creates nothing."""
    async with ledger_fixture(redis_uri) as fixture:
        await fixture.assert_unchanged(fixture.settle(ONE, "0", 1), "STALE")
        await fixture.assert_unchanged(fixture.ledger.split(ONE, "0"), "STALE")
        await fixture.assert_unchanged(fixture.ledger.fail(ONE, "0", "bad"), "STALE")
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 0, 9), "FENCED")


async def test_an_unknown_chunk_is_a_duplicate(redis_uri: str) -> None:
    """Feedback on a chunk that is not in the ledger is not counted."""
    async with ledger_fixture(redis_uri, {"0": 100}) as fixture:
        await fixture.assert_unchanged(fixture.settle(ONE, "7", 100), "DUPLICATE")
        await fixture.assert_unchanged(fixture.ledger.split(ONE, "0.0"), "DUPLICATE")
        await fixture.assert_unchanged(fixture.ledger.fail(ONE, "0.1", "bad"), "DUPLICATE")


@pytest.mark.parametrize(("size", "halves"), [(2, (1, 1)), (3, (2, 1)), (100, (50, 50)), (101, (51, 50))])
async def test_a_split_preserves_the_number_of_entities(redis_uri: str, size: int, halves: tuple[int, int]) -> None:
    """The halves replace the chunk, the larger one first, without being counted, and a chunk is split only once."""
    async with ledger_fixture(redis_uri, {"3": size}) as fixture:
        assert await fixture.ledger.split(ONE, "3") == "SPLIT"
        progress = await fixture.ledger.progress()
        assert dict(progress.outstanding) == {"3.0": halves[0], "3.1": halves[1]}
        assert (progress.scheduled, progress.updated) == (size, 0)
        await fixture.assert_unchanged(fixture.ledger.split(ONE, "3"), "DUPLICATE")


async def test_the_first_of_two_contradicting_reports_counts(redis_uri: str) -> None:
    """An OK after a split, and a split after an OK, change nothing."""
    async with ledger_fixture(redis_uri, {"0": 10, "1": 10}) as fixture:
        await fixture.ledger.split(ONE, "0")
        await fixture.assert_unchanged(fixture.settle(ONE, "0", 10), "DUPLICATE")
        await fixture.settle(ONE, "1", 10)
        await fixture.assert_unchanged(fixture.ledger.split(ONE, "1"), "DUPLICATE")


async def test_a_single_entity_fails_instead_of_being_split(redis_uri: str) -> None:
    """A failed entity counts once as settled and as failed, and its error text is kept until the ordinal moves."""
    async with ledger_fixture(redis_uri, {"0": 1, "1": 2}) as fixture:
        await fixture.assert_unchanged(fixture.ledger.split(ONE, "0"), "SINGLE")
        await fixture.assert_unchanged(fixture.ledger.fail(ONE, "1", "bad"), "MISMATCH")
        assert await fixture.ledger.fail(ONE, "0", "unique constraint") == "FAILED"
        await fixture.assert_unchanged(fixture.ledger.fail(ONE, "0", "another"), "DUPLICATE")
        progress = await fixture.ledger.progress()
        assert (progress.updated, progress.failed, dict(progress.outstanding)) == (1, 1, {"1": 2})
        assert progress.errors == {}, "error texts are read only once nothing is outstanding"
        await fixture.settle(ONE, "1", 2)
        assert (await fixture.ledger.progress()).errors == {"0": "unique constraint"}


@pytest.mark.parametrize("call", ["settle", "split", "fail"])
async def test_each_change_notifies_the_producer(redis_uri: str, call: str) -> None:
    """The number of outstanding chunks, or "split", is published on the service's progress channel."""
    async with ledger_fixture(redis_uri, {"0": 1 if call == "fail" else 10, "1": 3, "2": 3}) as fixture:
        calls: dict[str, Callable[[], Awaitable[str]]] = {
            "settle": lambda: fixture.settle(ONE, "0", 10),
            "split": lambda: fixture.ledger.split(ONE, "0"),
            "fail": lambda: fixture.ledger.fail(ONE, "0", "bad"),
        }
        await assert_published(fixture, NAMES.progress, "split" if call == "split" else "2", calls[call])


async def test_scripts_that_redis_has_lost_are_loaded_again(redis_uri: str) -> None:
    """A server that lost its scripts, as in a restart, gets them again."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.redis.script_flush()
        assert await fixture.settle(ONE, "0", 10) == "SETTLED"


async def assert_published(
    fixture: LedgerFixture, channel: str, message: str, call: Callable[[], Awaitable[str]]
) -> None:
    """Assert that this call publishes exactly this message on the channel."""
    async with fixture.redis.pubsub(ignore_subscribe_messages=True) as pubsub:
        await pubsub.subscribe(channel)

        async def is_subscribed() -> bool:
            return dict(await fixture.redis.pubsub_numsub(channel)).get(channel) == 1

        await wait_until_async(is_subscribed, "the subscription")
        await call()
        received = await wait_until_async(lambda: pubsub.get_message(timeout=1), "a message")
        assert received["data"] == message

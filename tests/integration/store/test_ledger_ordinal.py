"""The ordinal on a real Redis: it moves when everything is settled, and never if Redis has lost data."""

import pytest
from redis.asyncio import Redis

from shared.model.errors import ServiceFailedError
from tests.support.ledger_fixture import KEY, NAMES, ONE, TWO, ledger_fixture


async def test_the_ordinal_moves_when_everything_is_settled(redis_uri: str) -> None:
    """The ordinal moves once and not earlier, a repeated call returns ALREADY, and the error texts are deleted."""
    async with ledger_fixture(redis_uri, {"0": 10, "1": 1}, ordinal=5) as fixture:
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 5, 9), "FENCED")
        await fixture.settle(ONE, "0", 10)
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 5, 9), "FENCED")
        await fixture.ledger.fail(ONE, "1", "bad")
        assert await fixture.ledger.advance(ONE, 5, 9) == "ADVANCED"
        assert await fixture.redis.get(KEY) == "9"
        assert not await fixture.redis.exists(NAMES.errors)
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 5, 9), "ALREADY")


@pytest.mark.parametrize(("since", "to", "execution"), [(4, 9, ONE), (6, 9, ONE), (5, 9, TWO), (0, 9, ONE)])
async def test_another_execution_or_ordinal_is_fenced(redis_uri: str, since: int, to: int, execution: str) -> None:
    """Another execution, or one from another ordinal, does not move the ordinal, even if everything is settled."""
    async with ledger_fixture(redis_uri, {"0": 10}, ordinal=5) as fixture:
        await fixture.settle(ONE, "0", 10)
        await fixture.assert_unchanged(fixture.ledger.advance(execution, since, to), "FENCED")


async def test_a_producer_that_continues_after_another_advanced_is_fenced(redis_uri: str) -> None:
    """A producer that was paused while another one imported the batch can neither advance nor begin again."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.ledger.begin(TWO, 0, {"0": 10})
        await fixture.settle(TWO, "0", 10)
        assert await fixture.ledger.advance(TWO, 0, 9) == "ADVANCED"
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 0, 9), "FENCED")
        await fixture.assert_unchanged(fixture.ledger.begin(ONE, 0, {"0": 10}), "FENCED")


async def test_ordinals_beyond_the_precision_of_lua_are_distinguished(redis_uri: str) -> None:
    """The ordinals 2^53 and 2^53 + 1 are the same number in Lua, and differ in the scripts."""
    async with ledger_fixture(redis_uri, {"0": 1}, ordinal=2**53) as fixture:
        await fixture.settle(ONE, "0", 1)
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 2**53 + 1, 2**53 + 2), "FENCED")
        assert await fixture.ledger.advance(ONE, 2**53, 2**53 + 1) == "ADVANCED"
        assert await fixture.ledger.ordinal() == 2**53 + 1


async def test_a_rollback_to_the_previous_batch_is_detected(redis_uri: str) -> None:
    """If Redis returns with the settled ledger of the previous batch, that is another execution's, so it is fenced."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.settle(ONE, "0", 10)
        snapshot = await fixture.all()
        assert await fixture.ledger.advance(ONE, 0, 9) == "ADVANCED"
        await fixture.ledger.begin(TWO, 9, {"0": 10})
        await restore(fixture.redis, snapshot)
        progress = await fixture.ledger.progress()
        assert (progress.scheduled, progress.updated, progress.execution) == (10, 10, ONE)
        await fixture.assert_unchanged(fixture.ledger.advance(TWO, 9, 12), "FENCED")


@pytest.mark.parametrize(
    "lost",
    [[NAMES.scheduled], [NAMES.updated], [NAMES.scheduled, NAMES.updated], [NAMES.execution]],
    ids=["scheduled", "updated", "both", "execution"],
)
async def test_a_lost_counter_prevents_the_advance(redis_uri: str, lost: list[str]) -> None:
    """A ledger without one of its counters or its execution does not count as settled."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.settle(ONE, "0", 10)
        await fixture.redis.delete(*lost)
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 0, 9), "FENCED")


async def test_inconsistent_counters_prevent_the_advance(redis_uri: str) -> None:
    """An empty ledger is not enough to advance."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.settle(ONE, "0", 10)
        await fixture.redis.set(NAMES.updated, "9")
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 0, 9), "FENCED")


async def test_outstanding_chunks_prevent_the_advance(redis_uri: str) -> None:
    """Consistent counters are not enough to advance either."""
    async with ledger_fixture(redis_uri, {"0": 10}) as fixture:
        await fixture.redis.set(NAMES.updated, "10")
        await fixture.assert_unchanged(fixture.ledger.advance(ONE, 0, 9), "FENCED")


async def test_a_service_without_an_execution_has_no_progress(redis_uri: str) -> None:
    """A service that was never imported has no execution and no counters, and its ordinal is 0."""
    async with ledger_fixture(redis_uri) as fixture:
        progress = await fixture.ledger.progress()
        assert (progress.execution, progress.scheduled, progress.updated, progress.failed) == ("", -1, -1, -1)
        assert await fixture.ledger.ordinal() == 0


@pytest.mark.parametrize("stored", ["twelve", "-1", "1.5", "007", "١٢", " 12"])
async def test_an_invalid_ordinal_fails_the_service(redis_uri: str, stored: str) -> None:
    """A value that is not an ordinal fails the service, and the error names the key."""
    async with ledger_fixture(redis_uri) as fixture:
        await fixture.redis.set(KEY, stored)
        with pytest.raises(ServiceFailedError, match=f"{KEY} in Redis is not an ordinal"):
            await fixture.ledger.ordinal()


async def test_an_ordinal_can_be_deleted(redis_uri: str) -> None:
    """After its ordinal is deleted, the service is at ordinal 0 again."""
    async with ledger_fixture(redis_uri, ordinal=5) as fixture:
        await fixture.ledger.delete_ordinal()
        assert await fixture.ledger.ordinal() == 0


async def restore(redis: Redis, snapshot: dict[str, object]) -> None:
    """Restore the content of Redis from this snapshot."""
    await redis.flushall()  # on a server that these tests have started
    for name, value in snapshot.items():
        if isinstance(value, dict):
            await redis.hset(name, mapping=value)
        else:
            await redis.set(name, str(value))

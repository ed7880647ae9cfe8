"""The ordinal on a real Redis: it moves once all is settled, and never where Redis has lost something."""

import pytest
from redis.asyncio import Redis

from shared.model.errors import ServiceFailedError
from tests.support.ledger_fixture import KEY, NAMES, ONE, TWO, ledger_fixture


async def test_the_ordinal_moves_once_all_is_settled(redis_uri: str) -> None:
    """Not before; then once, and a repeated call says so. Error texts, which quote people, are gone."""
    async with ledger_fixture(redis_uri, {"0": 10, "1": 1}, ordinal=5) as b:
        await b.assert_unchanged(b.ledger.advance(ONE, 5, 9), "FENCED")
        await b.settle(ONE, "0", 10)
        await b.assert_unchanged(b.ledger.advance(ONE, 5, 9), "FENCED")
        await b.ledger.fail(ONE, "1", "bad")
        assert await b.ledger.advance(ONE, 5, 9) == "ADVANCED"
        assert await b.redis.get(KEY) == "9"
        assert not await b.redis.exists(NAMES.errors)
        await b.assert_unchanged(b.ledger.advance(ONE, 5, 9), "ALREADY")


@pytest.mark.parametrize(("since", "to", "execution"), [(4, 9, ONE), (6, 9, ONE), (5, 9, TWO), (0, 9, ONE)])
async def test_who_may_not_advance_is_fenced(redis_uri: str, since: int, to: int, execution: str) -> None:
    """Another execution, or one that was fetched from another ordinal, moves nothing, though all is settled."""
    async with ledger_fixture(redis_uri, {"0": 10}, ordinal=5) as b:
        await b.settle(ONE, "0", 10)
        await b.assert_unchanged(b.ledger.advance(execution, since, to), "FENCED")


async def test_a_producer_that_wakes_up_after_another_advanced_is_fenced(redis_uri: str) -> None:
    """The other one's execution owns the ledger, and the ordinal has moved on."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.ledger.begin(TWO, 0, {"0": 10})
        await b.settle(TWO, "0", 10)
        assert await b.ledger.advance(TWO, 0, 9) == "ADVANCED"
        await b.assert_unchanged(b.ledger.advance(ONE, 0, 9), "FENCED")
        await b.assert_unchanged(b.ledger.begin(ONE, 0, {"0": 10}), "FENCED")


async def test_ordinals_beyond_what_lua_counts_exactly_are_told_apart(redis_uri: str) -> None:
    """2^53 and 2^53 + 1 are the same number to Lua, and not to the scripts."""
    async with ledger_fixture(redis_uri, {"0": 1}, ordinal=2**53) as b:
        await b.settle(ONE, "0", 1)
        await b.assert_unchanged(b.ledger.advance(ONE, 2**53 + 1, 2**53 + 2), "FENCED")
        assert await b.ledger.advance(ONE, 2**53, 2**53 + 1) == "ADVANCED"
        assert await b.ledger.ordinal() == 2**53 + 1


async def test_a_rollback_to_the_previous_batch_is_recognised(redis_uri: str) -> None:
    """Redis comes back with the previous batch's 10/10: it is another execution's, so nothing advances by it."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.settle(ONE, "0", 10)
        snapshot = await b.all()
        assert await b.ledger.advance(ONE, 0, 9) == "ADVANCED"
        await b.ledger.begin(TWO, 9, {"0": 10})
        await restore(b.redis, snapshot)
        progress = await b.ledger.progress()
        assert (progress.scheduled, progress.updated, progress.execution) == (10, 10, ONE)
        await b.assert_unchanged(b.ledger.advance(TWO, 9, 12), "FENCED")


@pytest.mark.parametrize(
    "lost",
    [[NAMES.scheduled], [NAMES.updated], [NAMES.scheduled, NAMES.updated], [NAMES.execution]],
    ids=["scheduled", "updated", "both", "execution"],
)
async def test_a_counter_that_is_lost_stops_the_advance(redis_uri: str, lost: list[str]) -> None:
    """What Redis has lost is not taken for settled."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.settle(ONE, "0", 10)
        await b.redis.delete(*lost)
        await b.assert_unchanged(b.ledger.advance(ONE, 0, 9), "FENCED")


async def test_counters_that_do_not_agree_stop_the_advance(redis_uri: str) -> None:
    """An empty ledger alone is not enough."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.settle(ONE, "0", 10)
        await b.redis.set(NAMES.updated, "9")
        await b.assert_unchanged(b.ledger.advance(ONE, 0, 9), "FENCED")


async def test_a_ledger_that_is_not_empty_stops_the_advance(redis_uri: str) -> None:
    """Counters that agree are not enough either."""
    async with ledger_fixture(redis_uri, {"0": 10}) as b:
        await b.redis.set(NAMES.updated, "10")
        await b.assert_unchanged(b.ledger.advance(ONE, 0, 9), "FENCED")


async def test_progress_of_nothing(redis_uri: str) -> None:
    """A service that never was imported belongs to no execution, and its counters are missing."""
    async with ledger_fixture(redis_uri) as b:
        progress = await b.ledger.progress()
        assert (progress.execution, progress.scheduled, progress.updated, progress.failed) == ("", -1, -1, -1)
        assert await b.ledger.ordinal() == 0


@pytest.mark.parametrize("stored", ["twelve", "-1", "1.5", "007", "١٢", " 12"])
async def test_an_ordinal_that_is_none_is_told(redis_uri: str, stored: str) -> None:
    """Somebody wrote something else there: the service fails, and says which key to look at."""
    async with ledger_fixture(redis_uri) as b:
        await b.redis.set(KEY, stored)
        with pytest.raises(ServiceFailedError, match=f"{KEY} in Redis is not an ordinal"):
            await b.ledger.ordinal()


async def test_an_ordinal_can_be_forgotten(redis_uri: str) -> None:
    """Then everything of the service is fetched anew."""
    async with ledger_fixture(redis_uri, ordinal=5) as b:
        await b.ledger.delete_ordinal()
        assert await b.ledger.ordinal() == 0


async def restore(redis: Redis, snapshot: dict[str, object]) -> None:
    """Put Redis back to what it held."""
    await redis.flushall()  # on a server that these tests have started
    for name, value in snapshot.items():
        if isinstance(value, dict):
            await redis.hset(name, mapping=value)
        else:
            await redis.set(name, str(value))

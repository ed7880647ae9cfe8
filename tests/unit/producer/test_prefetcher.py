"""Fetching ahead: one batch at most, one request at a time, and nothing of it outlives its use."""

import asyncio
import gc
from typing import cast

import pytest

from producer.run.adaptive_page_size import AdaptivePageSize
from producer.run.prefetcher import Prefetcher
from shared.model.batch import Batch
from shared.model.errors import FetchError, SisuConnectionError, SisuNoResponseError
from shared.model.services import Api, Service
from shared.sisu.client import SisuClient
from tests.support.waiting import wait_until_async

PERSON, MODULE = (Service(name, Api.ORI, name, name, "/x") for name in ("PERSON", "MODULE"))
LEAST = 1000


class FakeSisu:
    """Answers when it is let, and remembers what it was asked and how many requests were under way at once."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, int]] = []
        self.limits: list[int] = []
        self.abandoned: list[tuple[str, int]] = []
        self.errors: dict[tuple[str, int], Exception] = {}
        self.most = 10**6
        """It refuses to answer more entities than this, with the refusal."""
        self.refusal = FetchError("400")
        self.may_answer = asyncio.Event()
        self.under_way = self.most_under_way = 0

    async def fetch(self, service: Service, since: int, limit: int) -> Batch:
        self.limits.append(limit)
        request = (service.name, since)
        self.asked.append(request)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await self.may_answer.wait()
        except asyncio.CancelledError:
            self.abandoned.append(request)
            raise
        finally:
            self.under_way -= 1
        if limit > self.most:
            raise self.refusal
        if request in self.errors:
            raise self.errors[request]
        return Batch(service, since, since + 1, has_more=True, entities=[])


@pytest.fixture
def sisu() -> FakeSisu:
    return FakeSisu()


def feed_of(sisu: FakeSisu, page_size: AdaptivePageSize | None = None) -> Prefetcher:
    return Prefetcher(cast("SisuClient", sisu), page_size or AdaptivePageSize(LEAST, LEAST))


async def test_a_batch_is_fetched_when_it_is_taken(sisu: FakeSisu) -> None:
    """Without anything ahead, taking is fetching."""
    sisu.may_answer.set()
    batch = await feed_of(sisu).next_batch(PERSON, 5)
    assert (batch.service, batch.since) == (PERSON, 5)
    assert sisu.asked == [("PERSON", 5)]


async def test_what_was_fetched_ahead_is_taken_without_another_request(sisu: FakeSisu) -> None:
    """The batch that was asked for ahead of time is the one that is taken, once."""
    sisu.may_answer.set()
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.asked, "it is asked for before it is taken")
    assert (await prefetcher.next_batch(PERSON, 5)).since == 5
    assert sisu.asked == [("PERSON", 5)]
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.asked == [("PERSON", 5), ("PERSON", 5)]


async def test_a_batch_under_way_is_waited_for(sisu: FakeSisu) -> None:
    """Taking what is still on its way makes no second request."""
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    taking = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: sisu.asked, "it is asked for")
    assert not taking.done()
    sisu.may_answer.set()
    assert (await taking).since == 5
    assert (sisu.asked, sisu.most_under_way) == ([("PERSON", 5)], 1)


async def test_one_batch_at_most_is_ahead(sisu: FakeSisu) -> None:
    """While there is something ahead, nothing more is asked for."""
    sisu.may_answer.set()
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    prefetcher.fetch_ahead(PERSON, 6)
    prefetcher.fetch_ahead(MODULE, 0)
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.asked == [("PERSON", 5)]


@pytest.mark.parametrize("ahead", [(PERSON, 6), (MODULE, 5)])
async def test_what_is_not_wanted_is_thrown_away(sisu: FakeSisu, ahead: tuple[Service, int]) -> None:
    """Another service or ordinal than the one ahead is fetched, and the one ahead is abandoned."""
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(*ahead)
    await wait_until_async(lambda: sisu.asked, "the wrong one is asked for")
    taking = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: len(sisu.asked) == 2, "the right one is asked for")
    sisu.may_answer.set()
    batch = await taking
    assert (batch.service, batch.since) == (PERSON, 5)
    assert sisu.abandoned == [(ahead[0].name, ahead[1])]


async def test_an_error_shows_when_the_batch_is_taken_and_only_then(sisu: FakeSisu) -> None:
    """A fetch that failed ahead of time is no matter until its batch is wanted; then it can be tried anew."""
    sisu.may_answer.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    with pytest.raises(FetchError, match="500"):
        await prefetcher.next_batch(PERSON, 5)
    sisu.errors.clear()
    assert (await prefetcher.next_batch(PERSON, 5)).since == 5


async def test_discarding_abandons_what_is_under_way(sisu: FakeSisu) -> None:
    """After a discard nothing is asked for any more, and the next one is fetched anew."""
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.under_way, "it is asked for")
    prefetcher.cancel()
    prefetcher.cancel()
    await wait_until_async(lambda: sisu.abandoned == [("PERSON", 5)], "it is abandoned")
    sisu.may_answer.set()
    await prefetcher.next_batch(PERSON, 5)
    assert len(sisu.asked) == 2


async def test_an_error_of_what_was_discarded_is_nobodys(sisu: FakeSisu) -> None:
    """A failed fetch that is thrown away leaves no complaint of asyncio behind."""
    reported_errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reported_errors.append(context))
    sisu.may_answer.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    prefetcher = feed_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.asked and not sisu.under_way, "it has failed")
    prefetcher.cancel()
    await asyncio.sleep(0)
    del prefetcher
    gc.collect()
    assert reported_errors == []


async def test_an_interrupted_take_abandons_its_request(sisu: FakeSisu) -> None:
    """Cancelling the one who takes a batch, as a stop does, cancels the fetch."""
    prefetcher = feed_of(sisu)
    taking = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: sisu.under_way, "it is asked for")
    taking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await taking
    await wait_until_async(lambda: sisu.abandoned == [("PERSON", 5)], "it is abandoned")


class Grown(AdaptivePageSize):
    """Has seen that the most pays."""

    def for_service(self, service: Service) -> int:  # noqa: ARG002 - of any service
        return self._maximum


async def test_what_failed_is_asked_for_in_a_smaller_amount(sisu: FakeSisu) -> None:
    """A page that SISU does not give is no failure of the service as long as there is a smaller one to ask for."""
    sisu.may_answer.set()
    sisu.most = LEAST
    assert (await feed_of(sisu, Grown(LEAST, 2 * LEAST)).next_batch(PERSON, 5)).since == 5
    assert sisu.limits == [2 * LEAST, LEAST]


async def test_a_sisu_that_takes_too_long_is_asked_for_a_smaller_amount(sisu: FakeSisu) -> None:
    """A time-out may be due to the amount: it is not asked for again."""
    sisu.may_answer.set()
    sisu.most, sisu.refusal = LEAST, SisuNoResponseError("no response within 300 s")
    page_size = Grown(LEAST, 2 * LEAST)
    assert (await feed_of(sisu, page_size).next_batch(PERSON, 5)).since == 5
    assert sisu.limits == [2 * LEAST, LEAST]
    assert page_size.for_service(PERSON) == LEAST


async def test_an_outage_is_no_reason_to_ask_for_less(sisu: FakeSisu) -> None:
    """Nobody was there: that is told at once, and when SISU is back, it is asked for as much as before."""
    sisu.may_answer.set()
    sisu.errors["PERSON", 5] = SisuConnectionError("no connection")
    prefetcher = feed_of(sisu, Grown(LEAST, 2 * LEAST))
    with pytest.raises(SisuConnectionError):
        await prefetcher.next_batch(PERSON, 5)
    sisu.errors.clear()
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.limits == [2 * LEAST, 2 * LEAST]


async def test_at_the_least_a_failure_is_one(sisu: FakeSisu) -> None:
    """Both amounts failed: that has nothing to do with the amount."""
    sisu.may_answer.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    with pytest.raises(FetchError, match="500"):
        await feed_of(sisu, Grown(LEAST, 2 * LEAST)).next_batch(PERSON, 5)
    assert sisu.limits == [2 * LEAST, LEAST]

"""Prefetching: at most one batch, one request at a time, and no request outlives its use."""

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
MINIMUM = 1000


class FakeSisu:
    """A SISU that responds once `may_respond` is set, and records requests and how many were open at once."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, int]] = []
        self.limits: list[int] = []
        self.attempts: list[int | None] = []
        self.cancelled: list[tuple[str, int]] = []
        self.errors: dict[tuple[str, int], Exception] = {}
        self.max_limit = 10**6
        """A request for more entities than this fails with `limit_error`."""
        self.limit_error: FetchError = FetchError("400")
        self.may_respond = asyncio.Event()
        self.open_requests = self.max_open_requests = 0

    async def fetch(self, service: Service, since: int, limit: int, *, attempts: int | None) -> Batch:
        """Record the request, and return a batch or raise the error for it."""
        self.attempts.append(attempts)
        self.limits.append(limit)
        request = (service.name, since)
        self.requests.append(request)
        self.open_requests += 1
        self.max_open_requests = max(self.max_open_requests, self.open_requests)
        try:
            await self.may_respond.wait()
        except asyncio.CancelledError:
            self.cancelled.append(request)
            raise
        finally:
            self.open_requests -= 1
        if limit > self.max_limit:
            raise self.limit_error
        if request in self.errors:
            raise self.errors[request]
        return Batch(service, since, since + 1, has_more=True, entities=[])


@pytest.fixture
def sisu() -> FakeSisu:
    """Return a SISU that does not respond yet."""
    return FakeSisu()


def prefetcher_of(sisu: FakeSisu, page_size: AdaptivePageSize | None = None) -> Prefetcher:
    """Return a prefetcher of this SISU, by default with a constant page size."""
    return Prefetcher(cast("SisuClient", sisu), page_size or AdaptivePageSize(MINIMUM, MINIMUM))


async def test_a_batch_that_was_not_prefetched_is_fetched_on_demand(sisu: FakeSisu) -> None:
    """If nothing was prefetched, the next batch is fetched when it is requested."""
    sisu.may_respond.set()
    batch = await prefetcher_of(sisu).next_batch(PERSON, 5)
    assert (batch.service, batch.since) == (PERSON, 5)
    assert sisu.requests == [("PERSON", 5)]


async def test_a_prefetched_batch_is_returned_without_another_request(sisu: FakeSisu) -> None:
    """The prefetched batch is returned as the next batch, once."""
    sisu.may_respond.set()
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.requests, "SISU gets the request before the batch is wanted")
    assert (await prefetcher.next_batch(PERSON, 5)).since == 5
    assert sisu.requests == [("PERSON", 5)]
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.requests == [("PERSON", 5), ("PERSON", 5)]


async def test_an_open_prefetch_is_waited_for(sisu: FakeSisu) -> None:
    """A batch whose prefetch is not finished is not requested a second time."""
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    fetching = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: sisu.requests, "SISU gets the request")
    assert not fetching.done()
    sisu.may_respond.set()
    assert (await fetching).since == 5
    assert (sisu.requests, sisu.max_open_requests) == ([("PERSON", 5)], 1)


async def test_at_most_one_batch_is_prefetched(sisu: FakeSisu) -> None:
    """While a prefetched batch is unused, no other is requested."""
    sisu.may_respond.set()
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    prefetcher.fetch_ahead(PERSON, 6)
    prefetcher.fetch_ahead(MODULE, 0)
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.requests == [("PERSON", 5)]


@pytest.mark.parametrize("ahead", [(PERSON, 6), (MODULE, 5)])
async def test_a_prefetched_batch_that_is_not_wanted_is_discarded(sisu: FakeSisu, ahead: tuple[Service, int]) -> None:
    """If another service or ordinal is wanted, that is fetched and the prefetch is cancelled."""
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(*ahead)
    await wait_until_async(lambda: sisu.requests, "SISU gets the request of the prefetch")
    fetching = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: len(sisu.requests) == 2, "SISU gets the request for the wanted batch")
    sisu.may_respond.set()
    batch = await fetching
    assert (batch.service, batch.since) == (PERSON, 5)
    assert sisu.cancelled == [(ahead[0].name, ahead[1])]


async def test_an_error_of_a_prefetch_is_raised_when_its_batch_is_wanted(sisu: FakeSisu) -> None:
    """A failed prefetch raises its error only when its batch is wanted, and then the batch can be fetched again."""
    sisu.may_respond.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    with pytest.raises(FetchError, match="500"):
        await prefetcher.next_batch(PERSON, 5)
    sisu.errors.clear()
    assert (await prefetcher.next_batch(PERSON, 5)).since == 5


async def test_cancelling_ends_an_open_prefetch(sisu: FakeSisu) -> None:
    """A cancelled prefetch ends its request, and the next batch is fetched again."""
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.open_requests, "SISU gets the request")
    prefetcher.cancel()
    prefetcher.cancel()
    await wait_until_async(lambda: sisu.cancelled == [("PERSON", 5)], "the request is cancelled")
    sisu.may_respond.set()
    await prefetcher.next_batch(PERSON, 5)
    assert len(sisu.requests) == 2


async def test_an_error_of_a_discarded_prefetch_is_ignored(sisu: FakeSisu) -> None:
    """A failed prefetch that is discarded is not reported by asyncio as an error that was never retrieved."""
    asyncio_errors: list[dict[str, object]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: asyncio_errors.append(context))
    sisu.may_respond.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    prefetcher = prefetcher_of(sisu)
    prefetcher.fetch_ahead(PERSON, 5)
    await wait_until_async(lambda: sisu.requests and not sisu.open_requests, "it has failed")
    prefetcher.cancel()
    await asyncio.sleep(0)
    del prefetcher
    gc.collect()
    assert asyncio_errors == []


async def test_cancelling_the_caller_cancels_its_request(sisu: FakeSisu) -> None:
    """When the task that waits for a batch is cancelled, as on shutdown, so is the fetch."""
    prefetcher = prefetcher_of(sisu)
    fetching = asyncio.create_task(prefetcher.next_batch(PERSON, 5))
    await wait_until_async(lambda: sisu.open_requests, "SISU gets the request")
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    await wait_until_async(lambda: sisu.cancelled == [("PERSON", 5)], "the request is cancelled")


class GrownPageSize(AdaptivePageSize):
    """A page size that has already grown to its maximum."""

    def for_service(self, service: Service) -> int:  # noqa: ARG002 - of any service
        """Return the maximum."""
        return self._maximum


async def test_a_failed_page_is_requested_in_a_smaller_amount(sisu: FakeSisu) -> None:
    """A page that SISU does not return is no failure of the service as long as a smaller one can be requested."""
    sisu.may_respond.set()
    sisu.max_limit = MINIMUM
    assert (await prefetcher_of(sisu, GrownPageSize(MINIMUM, 2 * MINIMUM)).next_batch(PERSON, 5)).since == 5
    assert sisu.limits == [2 * MINIMUM, MINIMUM]


async def test_after_a_timeout_a_smaller_amount_is_requested(sisu: FakeSisu) -> None:
    """A time-out may be due to the amount, so the same amount is not requested again."""
    sisu.may_respond.set()
    sisu.max_limit, sisu.limit_error = MINIMUM, SisuNoResponseError("no response within 300 s")
    page_size = GrownPageSize(MINIMUM, 2 * MINIMUM)
    assert (await prefetcher_of(sisu, page_size).next_batch(PERSON, 5)).since == 5
    assert sisu.limits == [2 * MINIMUM, MINIMUM]
    assert page_size.for_service(PERSON) == MINIMUM


async def test_an_outage_does_not_reduce_the_amount(sisu: FakeSisu) -> None:
    """A connection error is raised at once, and when SISU is back, the same amount is requested as before."""
    sisu.may_respond.set()
    sisu.errors["PERSON", 5] = SisuConnectionError("no connection")
    prefetcher = prefetcher_of(sisu, GrownPageSize(MINIMUM, 2 * MINIMUM))
    with pytest.raises(SisuConnectionError):
        await prefetcher.next_batch(PERSON, 5)
    sisu.errors.clear()
    await prefetcher.next_batch(PERSON, 5)
    assert sisu.limits == [2 * MINIMUM, 2 * MINIMUM]


async def test_a_failure_at_the_minimum_amount_is_raised(sisu: FakeSisu) -> None:
    """If the minimum amount fails too, the failure is not due to the amount, and is raised."""
    sisu.may_respond.set()
    sisu.errors["PERSON", 5] = FetchError("500")
    with pytest.raises(FetchError, match="500"):
        await prefetcher_of(sisu, GrownPageSize(MINIMUM, 2 * MINIMUM)).next_batch(PERSON, 5)
    assert sisu.limits == [2 * MINIMUM, MINIMUM]

"""The adaptive page size: it grows while that is faster, shrinks otherwise, and stays within its bounds."""

from collections.abc import Callable

import pytest

from producer.run.adaptive_page_size import AdaptivePageSize
from shared.model.services import Api, Service

PERSON, MODULE = (Service(name, Api.ORI, name, name, "/x") for name in ("PERSON", "MODULE"))
MINIMUM, MAXIMUM = 1000, 8000
ENTITY_BYTES = 1900


class FakeSisu:
    """A SISU for which a page of n entities takes `seconds(n)`."""

    def __init__(
        self, page_size: AdaptivePageSize, seconds: Callable[[int], float], entity_bytes: int = ENTITY_BYTES
    ) -> None:
        self.page_size = page_size
        self._seconds = seconds
        self._entity_bytes = entity_bytes
        self.now_seconds = 100.0

    def fetch_pages(self, number: int, service: Service = PERSON) -> list[int]:
        """Fetch this number of pages, and return the amounts that were requested."""
        amounts = []
        for _ in range(number):
            amount = self.page_size.for_service(service)
            self.now_seconds += self._seconds(amount)
            self.page_size.record_page(service, amount, amount, amount * self._entity_bytes, self.now_seconds)
            amounts.append(amount)
        return amounts


def seconds_with_a_fixed_cost(entities: int) -> float:
    """Return the seconds for a page that costs 50 ms in addition to its entities."""
    return 0.05 + entities * 5e-5


def test_it_grows_to_the_maximum_while_that_is_faster() -> None:
    """Every page has a fixed cost, so each doubling is an improvement, and is measured before the next one."""
    sisu = FakeSisu(AdaptivePageSize(MINIMUM, MAXIMUM), seconds_with_a_fixed_cost)
    assert sisu.fetch_pages(30) == [*[1000] * 4, *[2000] * 4, *[4000] * 4, *[8000] * 18]


def test_it_stays_the_same_if_larger_pages_are_no_faster() -> None:
    """A doubling that was tried without an improvement is not tried again."""
    sisu = FakeSisu(AdaptivePageSize(MINIMUM, MAXIMUM), lambda entities: entities * 1e-4)
    assert sisu.fetch_pages(30) == [*[1000] * 4, *[2000] * 4, *[1000] * 22]


def test_it_returns_to_the_best_size() -> None:
    """A SISU that is slower beyond 2,000 entities is asked for 2,000."""
    sisu = FakeSisu(
        AdaptivePageSize(MINIMUM, MAXIMUM), lambda entities: 0.05 + entities * (5e-5 if entities <= 2000 else 9e-5)
    )
    assert sisu.fetch_pages(30)[12:] == [2000] * 18


def test_it_never_changes_if_the_bounds_are_equal() -> None:
    """A maximum that equals the minimum turns the adaptation off."""
    assert set(FakeSisu(AdaptivePageSize(MINIMUM, MINIMUM), seconds_with_a_fixed_cost).fetch_pages(30)) == {MINIMUM}


def test_the_maximum_need_not_be_the_minimum_times_a_power_of_two() -> None:
    """The last step goes exactly to the maximum."""
    assert FakeSisu(AdaptivePageSize(1000, 3000), seconds_with_a_fixed_cost).fetch_pages(30)[-1] == 3000


def test_each_service_starts_from_the_minimum() -> None:
    """The best size of one service is not used for another, whose entities may be a hundred times as large."""
    sisu = FakeSisu(AdaptivePageSize(MINIMUM, MAXIMUM), seconds_with_a_fixed_cost)
    sisu.fetch_pages(30)
    assert sisu.page_size.for_service(MODULE) == MINIMUM
    assert sisu.fetch_pages(1, MODULE) == [MINIMUM]
    assert sisu.page_size.for_service(PERSON) == MINIMUM


def test_a_page_stays_below_16_mib() -> None:
    """A doubling is not tried if the previous page suggests that the next one would have more bytes than that."""
    assert (
        max(FakeSisu(AdaptivePageSize(MINIMUM, MAXIMUM), seconds_with_a_fixed_cost, entity_bytes=5000).fetch_pages(30))
        == 2000
    )


def test_the_size_is_halved_after_a_page_that_is_too_large() -> None:
    """When entities suddenly are large, less is requested, but never less than FETCH_AMOUNT."""
    page_size = AdaptivePageSize(MINIMUM, MAXIMUM)
    FakeSisu(page_size, seconds_with_a_fixed_cost).fetch_pages(30)
    amounts = FakeSisu(page_size, seconds_with_a_fixed_cost, entity_bytes=20_000).fetch_pages(5)
    assert amounts == [8000, 4000, 2000, 1000, 1000]


@pytest.mark.parametrize("entities", [0, 500])
def test_it_does_not_grow_if_sisu_returns_less_than_requested(entities: int) -> None:
    """A SISU with a limit of its own takes the same time whatever is requested, so a larger request is pointless."""
    page_size = AdaptivePageSize(MINIMUM, MAXIMUM)
    for second in range(30):
        page_size.record_page(PERSON, page_size.for_service(PERSON), entities, entities * ENTITY_BYTES, float(second))
    assert page_size.for_service(PERSON) == MINIMUM


def test_after_a_failure_less_is_requested() -> None:
    """Neither the size that failed nor any size above its half is tried again; the minimum cannot be reduced."""
    page_size = AdaptivePageSize(MINIMUM, MAXIMUM)
    sisu = FakeSisu(page_size, seconds_with_a_fixed_cost)
    sisu.fetch_pages(30)
    assert page_size.record_failure(PERSON)
    assert page_size.for_service(PERSON) == MINIMUM
    assert max(sisu.fetch_pages(30)) == 4000
    assert not page_size.record_failure(MODULE)
    assert page_size.record_failure(PERSON)
    assert max(sisu.fetch_pages(30)) == 2000
    assert page_size.record_failure(PERSON)
    assert set(sisu.fetch_pages(30)) == {MINIMUM}
    assert not page_size.record_failure(PERSON)

"""The amount that SISU is asked for: grows where it pays, goes back where it does not, and never beyond its bounds."""

from collections.abc import Callable

import pytest

from producer.run.adaptive_page_size import AdaptivePageSize
from shared.model.services import Api, Service

PERSON, MODULE = (Service(name, Api.ORI, name, name, "/x") for name in ("PERSON", "MODULE"))
LEAST, MOST = 1000, 8000
ENTITY_BYTES = 1900


class Sisu:
    """Takes so many seconds for a page of so many entities."""

    def __init__(
        self, page_size: AdaptivePageSize, seconds: Callable[[int], float], entity_bytes: int = ENTITY_BYTES
    ) -> None:
        self.page_size = page_size
        self._seconds = seconds
        self._entity_bytes = entity_bytes
        self.now_seconds = 100.0

    def pages(self, number: int, service: Service = PERSON) -> list[int]:
        """Take some; answers what was asked for."""
        asked = []
        for _ in range(number):
            amount = self.page_size.for_service(service)
            self.now_seconds += self._seconds(amount)
            self.page_size.record_page(service, amount, amount, amount * self._entity_bytes, self.now_seconds)
            asked.append(amount)
        return asked


def with_a_fixed_cost(entities: int) -> float:
    """Return the time of a page that costs 50 ms besides its entities."""
    return 0.05 + entities * 5e-5


def test_it_grows_to_the_most_where_that_pays() -> None:
    """Every page has a fixed cost here, so each double is better; a page is looked at before the next double."""
    sisu = Sisu(AdaptivePageSize(LEAST, MOST), with_a_fixed_cost)
    assert sisu.pages(30) == [*[1000] * 4, *[2000] * 4, *[4000] * 4, *[8000] * 18]


def test_it_stays_where_larger_pages_cost_the_same() -> None:
    """The double was tried, was no better, and is not tried again."""
    sisu = Sisu(AdaptivePageSize(LEAST, MOST), lambda entities: entities * 1e-4)
    assert sisu.pages(30) == [*[1000] * 4, *[2000] * 4, *[1000] * 22]


def test_it_goes_back_to_the_best() -> None:
    """Beyond 2,000 entities SISU gets slower: 2,000 it is."""
    sisu = Sisu(AdaptivePageSize(LEAST, MOST), lambda entities: 0.05 + entities * (5e-5 if entities <= 2000 else 9e-5))
    assert sisu.pages(30)[12:] == [2000] * 18


def test_it_is_off_unless_there_is_room() -> None:
    """Where the least is the most, nothing ever changes."""
    assert set(Sisu(AdaptivePageSize(LEAST, LEAST), with_a_fixed_cost).pages(30)) == {LEAST}


def test_the_most_need_not_be_a_power_of_two_of_the_least() -> None:
    """The last step is as large as it may be."""
    assert Sisu(AdaptivePageSize(1000, 3000), with_a_fixed_cost).pages(30)[-1] == 3000


def test_each_service_begins_anew() -> None:
    """What is good for one service says nothing of another, whose entities may be a hundred times as large."""
    sisu = Sisu(AdaptivePageSize(LEAST, MOST), with_a_fixed_cost)
    sisu.pages(30)
    assert sisu.page_size.for_service(MODULE) == LEAST
    assert sisu.pages(1, MODULE) == [LEAST]
    assert sisu.page_size.for_service(PERSON) == LEAST


def test_a_page_stays_below_16_mib() -> None:
    """The double is not asked for where the page before lets expect more bytes than that."""
    assert max(Sisu(AdaptivePageSize(LEAST, MOST), with_a_fixed_cost, entity_bytes=5000).pages(30)) == 2000


def test_a_page_that_came_out_larger_is_halved() -> None:
    """Entities that suddenly are large: less is asked for, but never less than FETCH_AMOUNT."""
    page_size = AdaptivePageSize(LEAST, MOST)
    Sisu(page_size, with_a_fixed_cost).pages(30)
    asked = Sisu(page_size, with_a_fixed_cost, entity_bytes=20_000).pages(5)
    assert asked == [8000, 4000, 2000, 1000, 1000]


@pytest.mark.parametrize("entities", [0, 500])
def test_a_sisu_that_answers_less_than_asked_is_no_reason_to_ask_for_more(entities: int) -> None:
    """It has a limit of its own: a page takes as long whatever is asked for."""
    page_size = AdaptivePageSize(LEAST, MOST)
    for second in range(30):
        page_size.record_page(PERSON, page_size.for_service(PERSON), entities, entities * ENTITY_BYTES, float(second))
    assert page_size.for_service(PERSON) == LEAST


def test_after_a_failure_less_is_asked_for() -> None:
    """What failed is not tried again, nor anything above its half; at the least there is nothing left to try."""
    page_size = AdaptivePageSize(LEAST, MOST)
    sisu = Sisu(page_size, with_a_fixed_cost)
    sisu.pages(30)
    assert page_size.record_failure(PERSON)
    assert page_size.for_service(PERSON) == LEAST
    assert max(sisu.pages(30)) == 4000
    assert not page_size.record_failure(MODULE)
    assert page_size.record_failure(PERSON)
    assert max(sisu.pages(30)) == 2000
    assert page_size.record_failure(PERSON)
    assert set(sisu.pages(30)) == {LEAST}
    assert not page_size.record_failure(PERSON)

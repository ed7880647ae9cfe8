"""Responses of the simulator that are valid HTTP and valid JSON, but break the contract of the API."""

from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model.services import choose_services, load_services
from tests.support.sisu import PERSONS, get, post

PERSON_AND_GRADE_SCALES = choose_services(load_services(), ["PERSON", "GRAPHQL_GRADE_SCALES"])


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    """Start a small SISU without faults."""
    with SisuSimulator(size=120, services=PERSON_AND_GRADE_SCALES) as simulator:
        yield simulator


def test_an_empty_page_with_progress_skips_no_entity(sisu: SisuSimulator) -> None:
    """A reader that follows the ordinals of any number of empty pages gets every entity."""
    sisu.fault("empty_page", service="PERSON", times=40)
    expected = [body for _, body in sisu.expected("PERSON").values()]
    received: list[Any] = []
    since, empty, has_more = 0, 0, True
    # From the first entity, since there are thousands of ordinals before it.
    since = sisu.versions("PERSON")[0].ordinal
    while has_more:
        page = get(sisu, PERSONS, since=since, limit=1).json()
        assert page["greatestOrdinal"] > since
        received += page["entities"]
        empty += not page["entities"]
        since, has_more = page["greatestOrdinal"], page["hasMore"]
    assert received == [orjson.loads(body) for body in expected[1:]]
    assert empty >= 20


def test_an_empty_page_with_progress_at_the_end_skips_no_later_entity(sisu: SisuSimulator) -> None:
    """An entity that is added after empty pages at the end is still returned."""
    sisu.fault("empty_page", times=5)
    since = sisu.greatest_ordinal("PERSON")
    for _ in range(5):
        page = get(sisu, PERSONS, since=since).json()
        assert (page["entities"], page["hasMore"], page["greatestOrdinal"]) == ([], True, since + 1)
        since += 1
    [touched] = sisu.touch("PERSON", 1, seed=1)
    assert [entity["id"] for entity in get(sisu, PERSONS, since=since).json()["entities"]] == [touched]


def test_an_empty_page_without_progress(sisu: SisuSimulator) -> None:
    """The page claims that there is more, and has the requested ordinal."""
    sisu.fault("empty_page", progress=False)
    assert get(sisu, PERSONS, since=5).json() == {"entities": [], "hasMore": True, "greatestOrdinal": 5}


@pytest.mark.parametrize(
    ("kind", "ordinal"),
    [
        ("ordinal_back", 41),
        ("ordinal_null", None),
        ("ordinal_string", "right"),
        ("ordinal_huge", 9007199254740993),
        ("ordinal_missing", "missing"),
    ],
)
def test_a_wrong_ordinal(sisu: SisuSimulator, kind: str, ordinal: object) -> None:
    """Except for greatestOrdinal, the page is the right one."""
    right = get(sisu, PERSONS, since=42, limit=3).json()
    sisu.fault(kind)
    page = get(sisu, PERSONS, since=42, limit=3).json()
    expected = str(right["greatestOrdinal"]) if ordinal == "right" else ordinal
    assert page.get("greatestOrdinal", "missing") == expected
    assert page["entities"] == right["entities"]


def test_entities_that_are_no_list(sisu: SisuSimulator) -> None:
    """The entities are wrapped in an object."""
    right = get(sisu, PERSONS).json()
    sisu.fault("not_a_list")
    assert get(sisu, PERSONS).json() == {**right, "entities": {"content": right["entities"]}}


def test_entities_without_progress(sisu: SisuSimulator) -> None:
    """The page has entities and claims that there is more, but its ordinal does not change."""
    right = get(sisu, PERSONS, since=9, limit=2).json()
    sisu.fault("no_progress")
    page = get(sisu, PERSONS, since=9, limit=2).json()
    assert page == {**right, "hasMore": True, "greatestOrdinal": 9}


def test_the_same_entity_twice(sisu: SisuSimulator) -> None:
    """The first entity of the page is repeated at its end."""
    right = get(sisu, PERSONS, limit=3).json()
    sisu.fault("twice")
    assert get(sisu, PERSONS, limit=3).json() == {**right, "entities": [*right["entities"], right["entities"][0]]}


def test_since_may_be_inclusive(sisu: SisuSimulator) -> None:
    """The page starts with the entity that has the requested ordinal itself."""
    first = sisu.versions("PERSON")[0]
    sisu.fault("inclusive")
    assert get(sisu, PERSONS, since=first.ordinal, limit=2).json()["entities"][0]["id"] == first.entity_id
    assert get(sisu, PERSONS, since=first.ordinal, limit=2).json()["entities"][0]["id"] != first.entity_id


def test_a_page_may_be_too_large(sisu: SisuSimulator) -> None:
    """The page has more entities than requested, and the ordinal of the last one."""
    sisu.fault("too_many", factor=3)
    page = get(sisu, PERSONS, limit=4).json()
    assert len(page["entities"]) == 12
    assert page["greatestOrdinal"] == sisu.versions("PERSON")[11].ordinal


def test_graphql_errors(sisu: SisuSimulator) -> None:
    """The GraphQL response has errors and no data, with status 200."""
    sisu.fault("graphql_errors")
    response = post(sisu, "/graphql", {"query": "{ grade_scales { id } }"})
    assert (response.status_code, response.json()["data"]) == (200, None)
    assert response.json()["errors"]


@pytest.mark.parametrize("ordinal", [None, 0, 3])
def test_an_idle_page_may_have_any_ordinal(sisu: SisuSimulator, ordinal: int | None) -> None:
    """A page without entities may have an ordinal that is not the start of the next page."""
    sisu.fault("idle_page", service="PERSON", ordinal=ordinal)
    page = get(sisu, PERSONS, since=5).json()
    assert page == {"entities": [], "hasMore": False, "greatestOrdinal": ordinal}

"""The simulator follows the contract of SISU's APIs exactly; other files test its faults and its access control."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import msgspec
import orjson
import pytest
import requests

from demo.sisu.simulator import SisuSimulator
from shared.model.services import Api, Service
from shared.sisu.responses import parse_response
from tests.support.sisu import PERSONS, SERVICES, TIMEOUT_SECONDS, Page, get, path, post

EXPORTS = [service for service in SERVICES if service.api.is_export]
ONE_TIME = [service for service in SERVICES if not service.api.is_export]

MakeSisu = Callable[..., SisuSimulator]


@pytest.fixture(scope="module")
def sisu() -> Iterator[SisuSimulator]:
    """Start a SISU that all tests of this file share and none changes."""
    with SisuSimulator(seed=3, size=1_200) as simulator:
        yield simulator


@pytest.fixture
def make_sisu() -> Iterator[MakeSisu]:
    """Return a function that starts a small SISU."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(SisuSimulator(**{"size": 300, **options}))


def fetch_one_time(sisu: SisuSimulator, service: Service) -> requests.Response:
    """Return the response for a one-time service."""
    if service.api is Api.GRAPHQL:
        return post(sisu, "/graphql", {"query": service.query, "variables": {}})
    root = service.path.replace("{ROOT_ORG_ID}", "hy-university-root-id")
    return requests.get(sisu.kori_public_uri + root, timeout=TIMEOUT_SECONDS)


def fetch_all(sisu: SisuSimulator, service: Service, limit: int) -> list[bytes]:
    """Fetch all pages from 0 to the end, and return all entities in their order."""
    since, entities, has_more = 0, [], True
    with requests.Session() as session:
        while has_more:
            parameters = {"since": since, "limit": limit}
            body = session.get(sisu.uri + path(service), params=parameters, timeout=TIMEOUT_SECONDS).content
            page = msgspec.json.decode(body, type=Page)
            assert len(page.entities) == limit or not page.hasMore
            assert page.greatestOrdinal > since
            entities += [bytes(entity) for entity in page.entities]
            since, has_more = page.greatestOrdinal, page.hasMore
    assert since == sisu.greatest_ordinal(service.name)
    return entities


# --- the contract ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_all_pages_together_have_exactly_the_entities(sisu: SisuSimulator, service: Service) -> None:
    """Each entity is returned once, unchanged, oldest first, for any size of a page."""
    expected = [body for _, body in sisu.expected(service.name).values()]
    for limit in (max(1, len(expected) // 3), len(expected), 10_000):
        assert fetch_all(sisu, service, limit) == expected


@pytest.mark.parametrize("service", ONE_TIME, ids=lambda service: service.name)
def test_a_one_time_service_is_returned_at_once(sisu: SisuSimulator, service: Service) -> None:
    """The producer's parser makes exactly the expected entities of a codebook, a list and a GraphQL response."""
    batch = parse_response(service, 0, fetch_one_time(sisu, service).content)
    assert [bytes(entity) for entity in batch.entities] == [body for _, body in sisu.expected(service.name).values()]


def test_a_response_has_three_fields_and_no_others(sisu: SisuSimulator) -> None:
    """An export returns entities, hasMore and greatestOrdinal."""
    response = get(sisu, PERSONS, since=0, limit=2)
    assert response.headers["Content-Type"] == "application/json"
    assert {key: type(value) for key, value in response.json().items()} == {
        "entities": list,
        "hasMore": bool,
        "greatestOrdinal": int,
    }


def test_since_is_exclusive(sisu: SisuSimulator) -> None:
    """A page starts after the requested ordinal, with the next one."""
    first, second, third = (version.ordinal for version in sisu.versions("PERSON")[:3])
    assert get(sisu, PERSONS, since=first, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second - 1, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second, limit=1).json()["greatestOrdinal"] == third


def test_after_the_end_pages_are_empty(sisu: SisuSimulator) -> None:
    """An empty page has the requested ordinal, at the end and beyond it."""
    end = sisu.greatest_ordinal("PERSON")
    for since in (end, end + 1_000):
        response = get(sisu, PERSONS, since=since, limit=10).json()
        assert response == {"entities": [], "hasMore": False, "greatestOrdinal": since}


def test_ordinals_increase_with_gaps(sisu: SisuSimulator) -> None:
    """The gaps between ordinals vary, so that no ordinal can be guessed from another one."""
    ordinals = [version.ordinal for version in sisu.versions("PERSON")]
    gaps = {later - earlier for earlier, later in pairwise(ordinals)}
    assert min(gaps) > 1
    assert len(gaps) > 5


@pytest.mark.parametrize("parameters", ["since=x", "limit=0", "limit=-1", "since=-1", "limit=1.5"])
def test_invalid_parameters_are_rejected(sisu: SisuSimulator, parameters: str) -> None:
    """Parameters that make no sense get 400."""
    assert get(sisu, f"{PERSONS}?{parameters}").status_code == 400


def test_unknown_addresses_are_not_found(sisu: SisuSimulator) -> None:
    """Each service has one address and one method; any other gets 404."""
    assert get(sisu, "/kori/api/persons/v1/export").status_code == 404
    assert post(sisu, PERSONS, {}).status_code == 404
    assert get(sisu, "/graphql").status_code == 404


def test_curriculum_periods_belong_to_a_university(sisu: SisuSimulator) -> None:
    """The list is filtered by the university's id, which is required."""
    assert get(sisu, "/kori/api/curriculum-periods?universityOrgId=another").json() == []
    assert get(sisu, "/kori/api/curriculum-periods").status_code == 400


def test_graphql_only_knows_one_field(sisu: SisuSimulator) -> None:
    """Another field is an error with status 200, as in GraphQL; a request without a query gets 400."""
    assert "errors" in post(sisu, "/graphql", {"query": "query { persons { id } }"}).json()
    assert post(sisu, "/graphql", {}).status_code == 400


def test_a_codebook_may_be_requested_with_its_urn_encoded(sisu: SisuSimulator) -> None:
    """A colon in a path may be percent-encoded."""
    plain = get(sisu, "/kori/api/cached/codebooks/urn:code:country")
    assert get(sisu, "/kori/api/cached/codebooks/urn%3Acode%3Acountry").content == plain.content


# --- what changes ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_sisu(make_sisu: MakeSisu) -> None:
    """Seeds determine the entities, ordinals and changes."""
    one, same, other = make_sisu(seed=1), make_sisu(seed=1), make_sisu(seed=2)
    for service in EXPORTS:
        for simulator in (one, same, other):
            simulator.touch(service.name, 4, seed=9)
        assert one.versions(service.name) == same.versions(service.name)
        assert one.versions(service.name) != other.versions(service.name)


def test_a_modified_entity_moves_to_the_end(make_sisu: MakeSisu) -> None:
    """A reader at the end gets only the changes, and one that starts again gets each entity once."""
    sisu = make_sisu(services=SERVICES[:1])
    before, end = sisu.expected("PERSON"), sisu.greatest_ordinal("PERSON")
    touched = sisu.touch("PERSON", 120, seed=1)
    after = sisu.expected("PERSON")
    assert len(set(touched)) == 120
    assert [entity["id"] for entity in get(sisu, PERSONS, since=end).json()["entities"]] == touched
    assert [orjson.loads(entity)["id"] for entity in fetch_all(sisu, SERVICES[0], 70)] == list(after)
    assert list(after)[-120:] == touched
    assert {key: after[key] for key in before if key not in touched} == {
        key: value for key, value in before.items() if key not in touched
    }
    assert all(after[key] != before.get(key) for key in touched)
    assert {"DELETED", "ACTIVE"} == {after[key][0] for key in touched}
    assert 0 < len(set(after) - set(before)) < 60


def test_an_entity_that_is_modified_often_is_exported_once(make_sisu: MakeSisu) -> None:
    """Of any number of versions, only the newest one is exported."""
    sisu = make_sisu(services=SERVICES[:1], size=20)
    for seed in range(30):
        sisu.touch("PERSON", 5, seed)
        expected = [body for _, body in sisu.expected("PERSON").values()]
        assert fetch_all(sisu, SERVICES[0], 7) == expected


def test_more_changes_than_entities_create_new_entities(make_sisu: MakeSisu) -> None:
    """The requested number of entities changes, even if fewer existed."""
    sisu = make_sisu(services=SERVICES[:1], size=10)
    assert len(set(sisu.touch("PERSON", 50, seed=1))) == 50
    assert sisu.counts()["PERSON"][0] >= 50


def test_expected_can_be_limited_to_an_ordinal(make_sisu: MakeSisu) -> None:
    """The expected entities up to an ordinal are what an import must have when it has reached that ordinal."""
    sisu = make_sisu(services=SERVICES[:1])
    versions = sisu.versions("PERSON")
    assert list(sisu.expected("PERSON", up_to=versions[9].ordinal)) == [version.entity_id for version in versions[:10]]


@pytest.mark.parametrize("entity", [b'{ "id":"x.y *", "documentState" : "DRAFT" , "n": 1.0}', {"id": "x.y *"}])
def test_a_given_entity_is_served_unchanged(make_sisu: MakeSisu, entity: Any) -> None:
    """An entity that a test adds is the last one, and keeps its exact bytes."""
    sisu = make_sisu()
    end = sisu.greatest_ordinal("PLAN")
    ordinal = sisu.put("PLAN", entity)
    body = entity if isinstance(entity, bytes) else b'{"id":"x.y *"}'
    response = get(sisu, "/osuva/api/plans/v1/export", since=end)
    assert response.content == b'{"entities":[%s],"hasMore":false,"greatestOrdinal":%d}' % (body, ordinal)
    assert sisu.expected("PLAN")["x.y *"][1] == body


def test_an_entity_without_an_id_needs_an_explicit_one(make_sisu: MakeSisu) -> None:
    """An entity without a valid id can only be added with an explicit one."""
    sisu = make_sisu()
    for bad in (b'"text"', b'{"id": 7}', b"{}"):
        with pytest.raises(ValueError, match="id"):
            sisu.put("PLAN", bad)
        sisu.put("PLAN", bad, entity_id="bad")
        assert sisu.expected("PLAN")["bad"][1] == bad


def test_ordinals_may_start_anywhere(make_sisu: MakeSisu) -> None:
    """Ordinals beyond the precision of doubles are possible without any fault."""
    sisu = make_sisu(services=SERVICES[:1], first_ordinal=2**53)
    response = get(sisu, PERSONS, since=0, limit=1_000).json()
    assert response["greatestOrdinal"] == sisu.greatest_ordinal("PERSON") > 2**53


def test_another_table_of_services_is_served(make_sisu: MakeSisu) -> None:
    """Services that are not in the built-in table have addresses and entities, too."""
    sisu = make_sisu(size=20, services=[Service("THING", Api.KORI, "THINGS", "THINGS", "/things/export")])
    assert len(get(sisu, "/kori/api/things/export").json()["entities"]) == 20
    assert get(sisu, PERSONS).status_code == 404


def test_changes_while_pages_are_read_lose_nothing(make_sisu: MakeSisu) -> None:
    """A reader that pages to the end while entities change gets the newest version of each."""
    sisu = make_sisu(services=SERVICES[:1], size=400)
    touching = threading.Thread(target=lambda: [sisu.touch("PERSON", 10, seed) for seed in range(40)])
    touching.start()
    received: dict[str, bytes] = {}
    since, done = 0, False
    while not done:
        was_touching = touching.is_alive()
        page = msgspec.json.decode(get(sisu, PERSONS, since=since, limit=50).content, type=Page)
        received |= {orjson.loads(bytes(entity))["id"]: bytes(entity) for entity in page.entities}
        since, done = page.greatestOrdinal, not page.hasMore and not was_touching
    assert received == {entity_id: body for entity_id, (_, body) in sisu.expected("PERSON").items()}

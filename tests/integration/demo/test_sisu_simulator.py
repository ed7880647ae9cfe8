"""The simulator keeps the contract of SISU's APIs to the letter; the files beside: how it breaks it, and for whom."""

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
    """Start a SISU that no test changes."""
    with SisuSimulator(seed=3, size=1_200) as simulator:
        yield simulator


@pytest.fixture
def make_sisu() -> Iterator[MakeSisu]:
    """Start a small SISU of this test's own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(SisuSimulator(**{"size": 300, **options}))


def fetch_one_time(sisu: SisuSimulator, service: Service) -> requests.Response:
    if service.api is Api.GRAPHQL:
        return post(sisu, "/graphql", {"query": service.query, "variables": {}})
    root = service.path.replace("{ROOT_ORG_ID}", "hy-university-root-id")
    return requests.get(sisu.kori_public_uri + root, timeout=TIMEOUT_SECONDS)


def fetch_all(sisu: SisuSimulator, service: Service, limit: int) -> list[bytes]:
    """Page from 0 to the end; all entities in the order in which they came."""
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
def test_paging_to_the_end_gives_exactly_what_is_there(sisu: SisuSimulator, service: Service) -> None:
    """Each entity comes once, byte for byte, oldest first, whatever the size of a page."""
    expected = [body for _, body in sisu.expected(service.name).values()]
    for limit in (max(1, len(expected) // 3), len(expected), 10_000):
        assert fetch_all(sisu, service, limit) == expected


@pytest.mark.parametrize("service", ONE_TIME, ids=lambda service: service.name)
def test_what_is_not_exported_comes_at_once(sisu: SisuSimulator, service: Service) -> None:
    """What the producer makes of a codebook, a list or a GraphQL answer is exactly what is expected."""
    batch = parse_response(service, 0, fetch_one_time(sisu, service).content)
    assert [bytes(entity) for entity in batch.entities] == [body for _, body in sisu.expected(service.name).values()]


def test_an_answer_has_three_fields_and_nothing_else(sisu: SisuSimulator) -> None:
    """An export answers entities, hasMore and greatestOrdinal."""
    answer = get(sisu, PERSONS, since=0, limit=2)
    assert answer.headers["Content-Type"] == "application/json"
    assert {key: type(value) for key, value in answer.json().items()} == {
        "entities": list,
        "hasMore": bool,
        "greatestOrdinal": int,
    }


def test_since_is_exclusive(sisu: SisuSimulator) -> None:
    """A page begins after the ordinal that was asked for, and before any later one."""
    first, second, third = (version.ordinal for version in sisu.versions("PERSON")[:3])
    assert get(sisu, PERSONS, since=first, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second - 1, limit=1).json()["greatestOrdinal"] == second
    assert get(sisu, PERSONS, since=second, limit=1).json()["greatestOrdinal"] == third


def test_after_the_end_there_is_nothing_more(sisu: SisuSimulator) -> None:
    """An empty answer stays where it was asked, be that the end or beyond it."""
    end = sisu.greatest_ordinal("PERSON")
    for since in (end, end + 1_000):
        answer = get(sisu, PERSONS, since=since, limit=10).json()
        assert answer == {"entities": [], "hasMore": False, "greatestOrdinal": since}


def test_ordinals_increase_with_gaps(sisu: SisuSimulator) -> None:
    """No ordinal can be guessed from another one."""
    ordinals = [version.ordinal for version in sisu.versions("PERSON")]
    gaps = {later - earlier for earlier, later in pairwise(ordinals)}
    assert min(gaps) > 1
    assert len(gaps) > 5


@pytest.mark.parametrize("parameters", ["since=x", "limit=0", "limit=-1", "since=-1", "limit=1.5"])
def test_nonsense_is_refused(sisu: SisuSimulator, parameters: str) -> None:
    """Parameters that make no sense are the caller's fault."""
    assert get(sisu, f"{PERSONS}?{parameters}").status_code == 400


def test_unknown_addresses_are_not_found(sisu: SisuSimulator) -> None:
    """Each service has one address and one method."""
    assert get(sisu, "/kori/api/persons/v1/export").status_code == 404
    assert post(sisu, PERSONS, {}).status_code == 404
    assert get(sisu, "/graphql").status_code == 404


def test_curriculum_periods_belong_to_a_university(sisu: SisuSimulator) -> None:
    """The list is asked for by the university's id."""
    assert get(sisu, "/kori/api/curriculum-periods?universityOrgId=another").json() == []
    assert get(sisu, "/kori/api/curriculum-periods").status_code == 400


def test_graphql_answers_the_field_that_it_knows(sisu: SisuSimulator) -> None:
    """Another field is an error with status 200, as in GraphQL; no query at all is 400."""
    assert "errors" in post(sisu, "/graphql", {"query": "query { persons { id } }"}).json()
    assert post(sisu, "/graphql", {}).status_code == 400


def test_a_codebook_may_be_asked_for_with_its_urn_encoded(sisu: SisuSimulator) -> None:
    """Colons in a path mean the same in either notation."""
    plain = get(sisu, "/kori/api/cached/codebooks/urn:code:country")
    assert get(sisu, "/kori/api/cached/codebooks/urn%3Acode%3Acountry").content == plain.content


# --- what changes ----------------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_sisu(make_sisu: MakeSisu) -> None:
    """Entities, ordinals and changes are decided by seeds."""
    one, same, other = make_sisu(seed=1), make_sisu(seed=1), make_sisu(seed=2)
    for service in EXPORTS:
        for simulator in (one, same, other):
            simulator.touch(service.name, 4, seed=9)
        assert one.versions(service.name) == same.versions(service.name)
        assert one.versions(service.name) != other.versions(service.name)


def test_what_is_modified_moves_to_the_end(make_sisu: MakeSisu) -> None:
    """Who has read to the end reads just the changes; who begins anew meets each entity once."""
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


def test_an_entity_that_is_modified_often_is_there_once(make_sisu: MakeSisu) -> None:
    """However many versions there were, only the newest is exported."""
    sisu = make_sisu(services=SERVICES[:1], size=20)
    for seed in range(30):
        sisu.touch("PERSON", 5, seed)
        expected = [body for _, body in sisu.expected("PERSON").values()]
        assert fetch_all(sisu, SERVICES[0], 7) == expected


def test_more_changes_than_entities_are_new_entities(make_sisu: MakeSisu) -> None:
    """As many change as were asked for."""
    sisu = make_sisu(services=SERVICES[:1], size=10)
    assert len(set(sisu.touch("PERSON", 50, seed=1))) == 50
    assert sisu.counts()["PERSON"][0] >= 50


def test_expected_can_be_asked_for_up_to_an_ordinal(make_sisu: MakeSisu) -> None:
    """What an import has to have when it has reached an ordinal."""
    sisu = make_sisu(services=SERVICES[:1])
    versions = sisu.versions("PERSON")
    assert list(sisu.expected("PERSON", up_to=versions[9].ordinal)) == [version.entity_id for version in versions[:10]]


@pytest.mark.parametrize("entity", [b'{ "id":"x.y *", "documentState" : "DRAFT" , "n": 1.0}', {"id": "x.y *"}])
def test_a_given_entity_is_served_as_it_is(make_sisu: MakeSisu, entity: Any) -> None:
    """What a test puts in comes last, byte for byte."""
    sisu = make_sisu()
    end = sisu.greatest_ordinal("PLAN")
    ordinal = sisu.put("PLAN", entity)
    body = entity if isinstance(entity, bytes) else b'{"id":"x.y *"}'
    answer = get(sisu, "/osuva/api/plans/v1/export", since=end)
    assert answer.content == b'{"entities":[%s],"hasMore":false,"greatestOrdinal":%d}' % (body, ordinal)
    assert sisu.expected("PLAN")["x.y *"][1] == body


def test_an_entity_without_an_id_needs_one_to_be_known_by(make_sisu: MakeSisu) -> None:
    """What has no readable id is inserted only under a name of the test's."""
    sisu = make_sisu()
    for bad in (b'"text"', b'{"id": 7}', b"{}"):
        with pytest.raises(ValueError, match="id"):
            sisu.put("PLAN", bad)
        sisu.put("PLAN", bad, entity_id="bad")
        assert sisu.expected("PLAN")["bad"][1] == bad


def test_ordinals_may_begin_anywhere(make_sisu: MakeSisu) -> None:
    """Ordinals that doubles cannot count are possible, without any fault."""
    sisu = make_sisu(services=SERVICES[:1], first_ordinal=2**53)
    answer = get(sisu, PERSONS, since=0, limit=1_000).json()
    assert answer["greatestOrdinal"] == sisu.greatest_ordinal("PERSON") > 2**53


def test_another_table_of_services_is_served(make_sisu: MakeSisu) -> None:
    """Services that are in nobody else's table have addresses and entities, too."""
    sisu = make_sisu(size=20, services=[Service("THING", Api.KORI, "THINGS", "THINGS", "/things/export")])
    assert len(get(sisu, "/kori/api/things/export").json()["entities"]) == 20
    assert get(sisu, PERSONS).status_code == 404


def test_a_change_while_a_page_is_read_loses_nothing(make_sisu: MakeSisu) -> None:
    """Who pages to the end while entities change has met the newest version of each in the end."""
    sisu = make_sisu(services=SERVICES[:1], size=400)
    touching = threading.Thread(target=lambda: [sisu.touch("PERSON", 10, seed) for seed in range(40)])
    touching.start()
    met: dict[str, bytes] = {}
    since, done = 0, False
    while not done:
        was_touching = touching.is_alive()
        page = msgspec.json.decode(get(sisu, PERSONS, since=since, limit=50).content, type=Page)
        met |= {orjson.loads(bytes(entity))["id"]: bytes(entity) for entity in page.entities}
        since, done = page.greatestOrdinal, not page.hasMore and not was_touching
    assert met == {entity_id: body for entity_id, (_, body) in sisu.expected("PERSON").items()}

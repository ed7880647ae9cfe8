"""The entities of the simulated SISU: plausible, consistent, determined by a seed, and fragile in transport."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import orjson
import pytest

from demo.sisu.data.entities import EntityFactory, distribute
from shared.model.services import Api, Service, load_services

SERVICES = load_services()
EXPORTS = [service for service in SERVICES if service.api.is_export]
COUNTS = distribute(2_000, SERVICES)
FACTORY = EntityFactory(7, COUNTS)


def bodies(service: Service, factory: EntityFactory = FACTORY) -> Iterator[bytes]:
    """Yield all entities of a service."""
    for index in range(COUNTS[service.name]):
        yield factory.entity(service, index, ordinal=index + 1, state=factory.state(service, index))


def items(document: Any) -> Iterator[tuple[str, Any]]:
    """Yield all keys with their values, at any depth."""
    if isinstance(document, dict):
        for key, value in document.items():
            yield key, value
            yield from items(value)
    elif isinstance(document, list):
        for value in document:
            yield from items(value)


def test_sizes_add_up() -> None:
    """The services together have as many entities as were requested."""
    for size in (1_000, 25_000, 100_003):
        assert sum(distribute(size, SERVICES).values()) == size


def test_attainments_enrolments_and_persons_are_the_largest_services() -> None:
    """The sizes of the services are plausible for a university."""
    counts = distribute(25_000, SERVICES)
    assert set(sorted(counts, key=counts.__getitem__)[-3:]) == {"ATTAINMENT", "ENROLMENT", "PERSON"}


def test_every_service_has_some_entities_at_any_size() -> None:
    """Each service has a few entities, even if that makes more than were requested."""
    assert min(distribute(1, SERVICES).values()) >= 3


def test_a_single_service_has_all_entities() -> None:
    """With one service, all requested entities are that service's."""
    assert distribute(500, EXPORTS[:1]) == {"PERSON": 500}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_same_seed_gives_the_same_bytes(service: Service) -> None:
    """The seed determines the entities, in whatever order they are made."""
    again = EntityFactory(7, COUNTS)
    backwards = [again.entity(service, index, ordinal=5) for index in reversed(range(COUNTS[service.name]))]
    assert backwards[::-1] == [FACTORY.entity(service, index, ordinal=5) for index in range(COUNTS[service.name])]


def test_another_process_makes_the_same_bytes() -> None:
    """The entities depend on no hash, set order or locale of a process."""
    script = (
        "from demo.sisu.data.entities import EntityFactory, distribute;"
        "from shared.model.services import load_services; table = load_services();"
        "counts = distribute(2000, table); factory = EntityFactory(7, counts);"
        "print([factory.entity(service, 1, ordinal=1) for service in table])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "LC_ALL": "C"}
    result = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert result.stdout.strip() == str([FACTORY.entity(service, 1, ordinal=1) for service in SERVICES])


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_another_seed_gives_other_entities(service: Service) -> None:
    """Two seeds have no entity in common."""
    assert not set(bodies(service)) & set(bodies(service, EntityFactory(8, COUNTS)))


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_an_exported_entity_has_the_common_fields(service: Service) -> None:
    """An exported entity contains its id, state and ordinal where SISU writes them."""
    ids = set()
    for index, body in enumerate(bodies(service)):
        entity = orjson.loads(body)
        assert entity["id"] == FACTORY.id(service, index)
        assert entity["documentState"] == FACTORY.state(service, index)
        assert entity["metadata"]["modificationOrdinal"] == index + 1
        assert entity["metadata"]["createdOn"] <= entity["metadata"]["lastModifiedOn"]
        ids.add(entity["id"])
    assert len(ids) == COUNTS[service.name]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_later_revision_is_the_same_entity_with_other_bytes(service: Service) -> None:
    """A modified entity keeps its id, and its bytes differ from those of the earlier revision."""
    first = FACTORY.entity(service, 0, ordinal=9)
    second = FACTORY.entity(service, 0, ordinal=9, revision=2)
    assert first != second
    key = "urn" if service.api is Api.URN else "id"
    assert orjson.loads(first)[key] == orjson.loads(second)[key] == FACTORY.id(service, 0)


def test_references_point_to_existing_entities() -> None:
    """Every id of another entity that an entity contains exists."""
    ids = {service.name: {FACTORY.id(service, index) for index in range(COUNTS[service.name])} for service in SERVICES}
    item = next(name for name in ids if name.startswith("ASSES"))
    referenced_service = {
        "personId": "PERSON",
        "studentId": "PERSON",
        "userId": "PERSON",
        "verifierPersonId": "PERSON",
        "lastModifiedBy": "PERSON",
        "studyRightId": "STUDY_RIGHT",
        "educationId": "EDUCATION",
        "courseUnitId": "COURSE_UNIT",
        "courseUnitGroupId": "COURSE_UNIT",
        "courseUnitRealisationId": "COURSE_UNIT_REALISATION",
        "assessmentItemId": item,
        "assessmentItemIds": item,
        "moduleId": "MODULE",
        "moduleGroupId": "MODULE",
        "organisationId": "ORGANISATION",
        "curriculumPeriodIds": "CURRICULUM_PERIOD",
        "locationIds": "LOCATION",
        "studyLevel": "STUDY_LEVEL",
        "citizenshipUrns": "COUNTRY",
        "educationType": "EDUCATION_TYPE",
        "degreeTitleUrns": "DEGREE_TITLE",
        "admissionTypeUrn": "ADMISSION_TYPE",
        "gradeScaleId": "GRAPHQL_GRADE_SCALES",
    }
    seen = set()
    for service in EXPORTS:
        for body in bodies(service):
            for key, value in items(orjson.loads(body)):
                if key in referenced_service and value is not None:
                    seen.add(key)
                    assert ids[referenced_service[key]].issuperset(value if isinstance(value, list) else [value]), (
                        key,
                        value,
                    )
    assert seen == set(referenced_service)


def test_an_attainment_belongs_to_the_person_of_its_study_right() -> None:
    """The person and the study right of an attainment match."""
    by_name = {service.name: service for service in EXPORTS}
    owners = {right["id"]: right["personId"] for right in map(orjson.loads, bodies(by_name["STUDY_RIGHT"]))}
    for attainment in map(orjson.loads, bodies(by_name["ATTAINMENT"])):
        assert owners[attainment["studyRightId"]] == attainment["personId"]


def test_some_are_deleted_and_some_are_drafts() -> None:
    """Most exported entities are ACTIVE, but not all; entities of other services always are."""
    states = [FACTORY.state(service, index) for service in EXPORTS for index in range(COUNTS[service.name])]
    assert set(states) == {"ACTIVE", "DELETED", "DRAFT"}
    assert states.count("ACTIVE") > 0.9 * len(states)
    assert {FACTORY.state(service, 0) for service in SERVICES if not service.api.is_export} == {"ACTIVE"}


def test_a_round_trip_through_a_parser_would_be_detected() -> None:
    """Some numbers, escapes and white space would be written differently by any JSON writer."""
    everything = [body for service in EXPORTS for body in bodies(service)]
    joined = b"\n".join(everything)
    for oddity in (rb":0\.10[,}]", rb":1e2[,}]", rb":12345678901234567890[,}]", rb"\\u00e4", rb"\\/", rb':\s+"'):
        assert re.search(oddity, joined), oddity
    changed = [body for body in everything if orjson.dumps(orjson.loads(body)) != body]
    assert len(changed) > len(everything) / 20
    assert any(list(entity) != sorted(entity) for entity in map(orjson.loads, everything))


def test_all_entities_are_valid_json_for_two_parsers() -> None:
    """Two parsers read the same values from the unusual texts."""
    for service in SERVICES:
        for body in bodies(service):
            assert msgspec.json.decode(body) == orjson.loads(body)


def test_some_entities_are_large() -> None:
    """Course units, modules and plans are large, as they are in SISU."""
    largest = {service.name: max(map(len, bodies(service))) for service in EXPORTS}
    assert min(largest[name] for name in ("COURSE_UNIT", "MODULE", "PLAN")) > 8_000
    assert max(largest.values()) < 60_000


def test_no_mail_address_is_real() -> None:
    """Every mail address is in a domain that is reserved for examples."""
    joined = b"".join(body for service in EXPORTS for body in bodies(service))
    assert set(re.findall(rb"@[\w.-]+", joined)) == {b"@example.fi", b"@example.com"}


def test_services_of_another_table_have_entities_too() -> None:
    """An unknown service gets simple entities of the kind that its API has."""
    for api, key in ((Api.ORI, "id"), (Api.URN, "urn"), (Api.KORI_PUBLIC, "id")):
        service = Service("THING", api, "THINGS", "THINGS", "/things", one_time=not api.is_export)
        factory = EntityFactory(1, distribute(10, [service]))
        assert orjson.loads(factory.entity(service, 0, ordinal=1))[key] == factory.id(service, 0)

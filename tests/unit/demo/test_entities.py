"""The entities that a simulated SISU is made of: believable, consistent, decided by a seed, and hard to travel with."""

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
WORLD = EntityFactory(7, COUNTS)


def bodies(service: Service, world: EntityFactory = WORLD) -> Iterator[bytes]:
    for index in range(COUNTS[service.name]):
        yield world.entity(service, index, ordinal=index + 1, state=world.state(service, index))


def values(thing: Any) -> Iterator[tuple[str, Any]]:
    """All keys with their values, however deep."""
    if isinstance(thing, dict):
        for key, value in thing.items():
            yield key, value
            yield from values(value)
    elif isinstance(thing, list):
        for value in thing:
            yield from values(value)


def test_sizes_add_up() -> None:
    """The entities of all services are as many as were asked for."""
    for size in (1_000, 25_000, 100_003):
        assert sum(distribute(size, SERVICES).values()) == size


def test_people_outnumber_what_they_study() -> None:
    """Attainments, enrolments and persons are the most, as at a university."""
    counts = distribute(25_000, SERVICES)
    assert set(sorted(counts, key=counts.__getitem__)[-3:]) == {"ATTAINMENT", "ENROLMENT", "PERSON"}


def test_every_service_has_something_even_in_the_smallest_world() -> None:
    """Each service has a few entities, where that makes more than was asked for, too."""
    assert min(distribute(1, SERVICES).values()) >= 3


def test_a_single_service_has_all_entities() -> None:
    """A world of one service is as large as was asked for."""
    assert distribute(500, EXPORTS[:1]) == {"PERSON": 500}


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_the_same_seed_gives_the_same_bytes(service: Service) -> None:
    """Entities are decided by the seed, in whatever order they are made."""
    again = EntityFactory(7, COUNTS)
    backwards = [again.entity(service, index, ordinal=5) for index in reversed(range(COUNTS[service.name]))]
    assert backwards[::-1] == [WORLD.entity(service, index, ordinal=5) for index in range(COUNTS[service.name])]


def test_another_process_makes_the_same_bytes() -> None:
    """No hash, set or locale of one process decides anything."""
    script = (
        "from demo.sisu.data.entities import EntityFactory, distribute;"
        "from shared.model.services import load_services; table = load_services();"
        "counts = distribute(2000, table); world = EntityFactory(7, counts);"
        "print([world.entity(service, 1, ordinal=1) for service in table])"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "1", "LC_ALL": "C"}
    made = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == str([WORLD.entity(service, 1, ordinal=1) for service in SERVICES])


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_another_seed_gives_other_entities(service: Service) -> None:
    """Two worlds share no bytes."""
    assert not set(bodies(service)) & set(bodies(service, EntityFactory(8, COUNTS)))


@pytest.mark.parametrize("service", EXPORTS, ids=lambda service: service.name)
def test_an_exported_entity_has_what_all_have(service: Service) -> None:
    """Its id, its state and its ordinal stand in it, where SISU writes them."""
    ids = set()
    for index, body in enumerate(bodies(service)):
        entity = orjson.loads(body)
        assert entity["id"] == WORLD.id(service, index)
        assert entity["documentState"] == WORLD.state(service, index)
        assert entity["metadata"]["modificationOrdinal"] == index + 1
        assert entity["metadata"]["createdOn"] <= entity["metadata"]["lastModifiedOn"]
        ids.add(entity["id"])
    assert len(ids) == COUNTS[service.name]


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.name)
def test_a_later_revision_is_the_same_entity_with_other_bytes(service: Service) -> None:
    """What is modified keeps its id, and cannot be mistaken for what it was."""
    first = WORLD.entity(service, 0, ordinal=9)
    second = WORLD.entity(service, 0, ordinal=9, revision=2)
    assert first != second
    key = "urn" if service.api is Api.URN else "id"
    assert orjson.loads(first)[key] == orjson.loads(second)[key] == WORLD.id(service, 0)


def test_references_lead_somewhere() -> None:
    """Whatever an entity says of another one's id, there is such an entity."""
    ids = {service.name: {WORLD.id(service, index) for index in range(COUNTS[service.name])} for service in SERVICES}
    item = next(name for name in ids if name.startswith("ASSES"))
    meaning = {
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
    met = set()
    for service in EXPORTS:
        for body in bodies(service):
            for key, value in values(orjson.loads(body)):
                if key in meaning and value is not None:
                    met.add(key)
                    assert ids[meaning[key]].issuperset(value if isinstance(value, list) else [value]), (key, value)
    assert met == set(meaning)


def test_an_attainment_belongs_to_the_person_whose_study_right_it_names() -> None:
    """Person and study right of an entity fit each other."""
    by_name = {service.name: service for service in EXPORTS}
    owners = {right["id"]: right["personId"] for right in map(orjson.loads, bodies(by_name["STUDY_RIGHT"]))}
    for attainment in map(orjson.loads, bodies(by_name["ATTAINMENT"])):
        assert owners[attainment["studyRightId"]] == attainment["personId"]


def test_some_are_deleted_and_some_are_drafts() -> None:
    """Most exported entities are ACTIVE, but not all; what is not exported always is."""
    states = [WORLD.state(service, index) for service in EXPORTS for index in range(COUNTS[service.name])]
    assert set(states) == {"ACTIVE", "DELETED", "DRAFT"}
    assert states.count("ACTIVE") > 0.9 * len(states)
    assert {WORLD.state(service, 0) for service in SERVICES if not service.api.is_export} == {"ACTIVE"}


def test_a_round_trip_through_a_parser_would_be_noticed() -> None:
    """There are numbers, escapes and white space that no JSON writer would write again."""
    everything = [body for service in EXPORTS for body in bodies(service)]
    joined = b"\n".join(everything)
    for oddity in (rb":0\.10[,}]", rb":1e2[,}]", rb":12345678901234567890[,}]", rb"\\u00e4", rb"\\/", rb':\s+"'):
        assert re.search(oddity, joined), oddity
    changed = [body for body in everything if orjson.dumps(orjson.loads(body)) != body]
    assert len(changed) > len(everything) / 20
    assert any(list(entity) != sorted(entity) for entity in map(orjson.loads, everything))


def test_all_are_valid_json_for_more_than_one_parser() -> None:
    """Unusual as they are, everybody reads the same text in them."""
    for service in SERVICES:
        for body in bodies(service):
            assert msgspec.json.decode(body) == orjson.loads(body)


def test_some_have_many_kilobytes() -> None:
    """Course units, modules and plans are large, as they are in SISU."""
    largest = {service.name: max(map(len, bodies(service))) for service in EXPORTS}
    assert min(largest[name] for name in ("COURSE_UNIT", "MODULE", "PLAN")) > 8_000
    assert max(largest.values()) < 60_000


def test_nobody_can_be_written_to() -> None:
    """Every mail address is under a domain that is kept for examples."""
    joined = b"".join(body for service in EXPORTS for body in bodies(service))
    assert set(re.findall(rb"@[\w.-]+", joined)) == {b"@example.fi", b"@example.com"}


def test_a_table_of_somebody_elses_has_entities_too() -> None:
    """Services that are not SISU's get simple ones, of the kind that their API has."""
    for api, key in ((Api.ORI, "id"), (Api.URN, "urn"), (Api.KORI_PUBLIC, "id")):
        service = Service("THING", api, "THINGS", "THINGS", "/things", one_time=not api.is_export)
        world = EntityFactory(1, distribute(10, [service]))
        assert orjson.loads(world.entity(service, 0, ordinal=1))[key] == world.id(service, 0)

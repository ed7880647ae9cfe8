"""Made-up but believable entities of all services, as the bytes that SISU would write. Pure, and decided by a seed.

Entities refer to each other by ids that exist. Numbers, escapes and white space are unusual here and there but always
valid JSON: an entity must travel byte for byte, and one that was parsed and written again on its way must be detected.
Serving them is left to `demo.sisu.simulator`.
"""

from collections.abc import Callable, Mapping, Sequence
from random import Random
from typing import Any

import orjson

from demo.sisu.data import people, students, studies
from demo.sisu.data.codebooks import FIXED
from demo.sisu.data.random_entity import ROOT_ORG_ID, Content, EntityRandom, entity_id, localized
from shared.model.services import Api, Service

__all__ = ["ROOT_ORG_ID", "EntityFactory", "distribute"]

_BUILDERS: dict[str, Callable[[EntityRandom], Content]] = {
    "PERSON": people.person,
    "ORGANISATION": studies.organisation,
    "COURSE_UNIT": studies.course_unit,
    "EDUCATION": studies.education,
    "STUDY_RIGHT": students.study_right,
    "TERM_REGISTRATION": students.term_registration,
    "ASSESMENT_ITEM": studies.assessment_item,
    "COURSE_UNIT_REALISATION": studies.course_unit_realisation,
    "LOCATION": studies.location,
    "STUDY_EVENT": studies.study_event,
    "ATTAINMENT": students.attainment,
    "MODULE": studies.module,
    "STUDY_RIGHT_PRIMALITY": students.study_right_primality,
    "ENROLMENT": students.enrolment,
    "PLAN": students.plan,
    "PERSON_GROUP": students.person_group,
    "DISCLOSURE": students.disclosure,
}
# Each service's share of a thousand exported entities: as at a university, people outnumber courses.
_WEIGHTS = {
    "PERSON": 160,
    "ORGANISATION": 5,
    "COURSE_UNIT": 35,
    "EDUCATION": 4,
    "STUDY_RIGHT": 60,
    "TERM_REGISTRATION": 50,
    "ASSESMENT_ITEM": 35,
    "COURSE_UNIT_REALISATION": 50,
    "LOCATION": 8,
    "STUDY_EVENT": 45,
    "ATTAINMENT": 270,
    "MODULE": 8,
    "STUDY_RIGHT_PRIMALITY": 30,
    "ENROLMENT": 210,
    "PLAN": 16,
    "PERSON_GROUP": 4,
    "DISCLOSURE": 10,
}
_MINIMUM = 3
_DEFAULT_WEIGHT = 10
_DEFAULT_FIXED = 3
_INDENTED_SHARE = 0.03


def distribute(size: int, services: Sequence[Service]) -> dict[str, int]:
    """Return the number of entities of each service: `size` in total, or a few for each, if that is more.

    A service that is not exported has a fixed number of entities.
    """
    counts = {
        service.name: FIXED[service.name][0] if service.name in FIXED else _DEFAULT_FIXED
        for service in services
        if not service.api.is_export
    }
    exports = [service.name for service in services if service.api.is_export]
    remaining = size - sum(counts.values())
    weights = {name: _WEIGHTS.get(name, _DEFAULT_WEIGHT) for name in exports}
    counts |= {name: max(_MINIMUM, remaining * weight // sum(weights.values())) for name, weight in weights.items()}
    if exports:
        largest = max(exports, key=counts.__getitem__)
        counts[largest] = max(_MINIMUM, counts[largest] + size - sum(counts.values()))
    return counts


class EntityFactory:
    """Makes entities. References are distributed over `counts` entities of each service."""

    def __init__(self, seed: int, counts: Mapping[str, int]) -> None:
        self._seed = seed
        self._counts = counts

    def state(self, service: Service, index: int) -> str:
        """Return the initial documentState of an entity."""
        if not service.api.is_export:
            return "ACTIVE"
        roll = Random(f"{self._seed}/{service.name}/{index}/state").random()
        return "DELETED" if roll < 0.04 else "DRAFT" if roll < 0.07 else "ACTIVE"  # noqa: PLR2004 - shares

    def id(self, service: Service, index: int) -> str:
        """Return the id of an entity; for an item of a codebook, its urn."""
        if service.api.is_export:
            return entity_id(self._seed, service.name, index)
        content = _fixed(service, index)
        return str(content.get("urn") or content["id"])

    def entity(self, service: Service, index: int, *, ordinal: int, revision: int = 1, state: str = "ACTIVE") -> bytes:
        """Return the bytes of a version of entity number `index` of a service.

        They contain `ordinal` and `state` if it is exported; a later revision always differs from an earlier one.
        """
        if not service.api.is_export:
            return orjson.dumps(_fixed(service, index) | ({"revision": revision} if revision > 1 else {}))
        rng = EntityRandom(self._seed, self._counts, service.name, index)
        created, modified = sorted((rng.instant(), rng.instant()))
        head: dict[str, Any] = {
            "metadata": {
                "revision": revision + rng.below(9),
                "createdBy": "Sisu",
                "createdOn": created,
                "lastModifiedBy": rng.ref("PERSON"),
                "lastModifiedOn": modified,
                "modificationOrdinal": ordinal,
            },
            "id": entity_id(self._seed, service.name, index),
            "documentState": state,
        }
        indented = rng.chance(_INDENTED_SHARE)
        # SISU does not sort keys either, and does not always write the same ones first.
        head_first = rng.chance(0.5)
        content = _BUILDERS.get(service.name, _generic_entity)(rng)
        return orjson.dumps(
            head | content if head_first else content | head, option=orjson.OPT_INDENT_2 if indented else None
        )


def _fixed(service: Service, index: int) -> Content:
    if service.name in FIXED:
        return FIXED[service.name][1](index)
    name = f"{service.name.lower()}:{index}"
    key = "urn" if service.api is Api.URN else "id"
    return {key: f"urn:code:{name}" if key == "urn" else name, "name": localized(name, name, name)}


def _generic_entity(rng: EntityRandom) -> Content:
    """Return the content of an exported entity of a service that the built-in table does not have."""
    return {"name": rng.prose(2), "value": rng.number(1.5), "description": rng.prose(6)}

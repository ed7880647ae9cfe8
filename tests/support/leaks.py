"""The search for what no output may contain: personal data of a simulated SISU's entities, and secrets."""

import json
import re
from collections.abc import Iterable

from demo.sisu.simulator import SisuSimulator

SECRETS = {
    "NATS": "nats-s3cret",
    "Redis": "redis-s3cret",
    "SISU": "sisu-s3cret",
    "page": "explorer-s3cret-token",
}
ERROR_TEXT = "told to fail"
"""The demo mankeli's error text for a rejected chunk; the entity's id follows it."""
PERSONAL_FIELDS = (
    "studentNumber",
    "employeeNumber",
    "firstNames",
    "lastName",
    "dateOfBirth",
    "oppijanumero",
    "eppn",
    "primaryEmail",
    "secondaryEmail",
    "phoneNumber",
)


def personal_data(sisu: SisuSimulator) -> set[str]:
    """Return the ids of all entities of all services, and the data that identifies persons."""
    found = {entity_id for service in sisu.services for entity_id in sisu.expected(service)}
    for _, body in sisu.expected("PERSON").values():
        person = json.loads(body)
        found |= {str(person[field]) for field in PERSONAL_FIELDS if person[field]}
        found.add(person["primaryAddress"]["streetAddress"])
    return found


def leaks(outputs: Iterable[str], secrets: Iterable[str]) -> set[str]:
    """Return those of the secrets that occur in the outputs as whole words."""
    text = "\n".join(outputs)
    return {secret for secret in secrets if secret in text and re.search(rf"\b{re.escape(secret)}\b", text)}

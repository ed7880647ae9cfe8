"""The producer's client for these tests: short backoffs, and the services and credentials that they use."""

from typing import Any

from demo.sisu.simulator import SisuSimulator
from shared.config.settings import ProducerSettings
from shared.model.batch import Batch
from shared.model.services import load_services
from shared.sisu.client import ATTEMPTS, SisuClient

SERVICES = {service.name: service for service in load_services()}
PERSON, PLAN, COUNTRY = SERVICES["PERSON"], SERVICES["PLAN"], SERVICES["COUNTRY"]
SCALES, PERIODS = SERVICES["GRAPHQL_GRADE_SCALES"], SERVICES["CURRICULUM_PERIOD"]
SECRET = "s3cret"
USER = {"sis_api_user": "importer", "sis_api_password": SECRET}


class NoCache:
    """A cache that keeps nothing, so that codebooks are fetched each time."""

    async def get(self, url: str) -> bytes | None:
        """Return nothing."""

    async def put(self, url: str, response: bytes) -> None:
        """Discard the response."""


def settings_for(uri: str, **others: Any) -> ProducerSettings:
    """Return settings for a SISU at this address, and `others` by the names of their fields."""
    addresses = {"sis_api_url": uri, "kori_public_api_url": f"{uri}/kori/api"}
    return ProducerSettings(**{"nats_uri": "nats://unused", "redis_uri": "redis://unused", **addresses, **others})


def client_of(sisu: SisuSimulator | str, cache: Any = None, attempts: int = ATTEMPTS, **others: Any) -> SisuClient:
    """Return a client of this SISU with a very short backoff between its attempts."""
    uri = sisu if isinstance(sisu, str) else sisu.uri
    return SisuClient(settings_for(uri, **others), cache or NoCache(), first_backoff_seconds=0.001, attempts=attempts)


def bodies(batch: Batch) -> list[bytes]:
    """Return the exact bytes of the entities."""
    return [bytes(entity) for entity in batch.entities]

"""The comparison of the store with what SISU serves: how the demo and many tests judge the result of an import."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import orjson
import requests

from demo.mankeli.store import MankeliStore
from shared.model.services import Api, Service

_TIMEOUT_SECONDS = 60

Expected = Mapping[str, tuple[str, str]]
"""id → documentState and SHA-256, in hex, of the bytes that SISU serves for it now."""


@dataclass(frozen=True)
class Difference:
    """How the store differs from SISU in one service. The lists have ids."""

    service: str
    missing: list[str]
    unexpected: list[str]
    different: list[str]

    def __str__(self) -> str:
        counts = (len(self.missing), len(self.unexpected), len(self.different))
        return "{}: {} missing, {} that should not be there, {} with other bytes".format(self.service, *counts)


def fetch_expected(sisu_uri: str, service: Service) -> Expected:
    """Return what the simulator at `sisu_uri` has of a service now. Blocks. Raises requests.RequestException."""
    if service.api is Api.URN:
        response = requests.get(f"{sisu_uri}/kori/api{service.path}", timeout=_TIMEOUT_SECONDS)
        response.raise_for_status()
        items = msgspec.json.decode(response.content, type=dict[str, msgspec.Raw])
        return {urn: ("ACTIVE", codebook_digest(bytes(item))) for urn, item in items.items()}
    response = requests.get(f"{sisu_uri}/simulator/expected/{service.name}", timeout=_TIMEOUT_SECONDS)
    response.raise_for_status()
    versions = orjson.loads(response.content)
    return {entity: (version["documentState"], version["sha256"]) for entity, version in versions.items()}


def compare(store: MankeliStore, service: Service, expected: Expected) -> Difference | None:
    """Return how a service's entities in the store differ from what SISU has, or None if they agree.

    Deleted entities must not be in the store. The producer makes entities of the items of a codebook, with an `id` and
    a `documentState` that SISU does not write: they are compared without those two, as JSON.
    """
    digests = {entity: digest for entity, (state, digest) in expected.items() if state != "DELETED"}
    stored = {entity: _digest(service, body) for entity, _state, body in store.stored(service.name)}
    difference = Difference(
        service.name,
        missing=sorted(digests.keys() - stored.keys()),
        unexpected=sorted(stored.keys() - digests.keys()),
        different=sorted(entity for entity in digests.keys() & stored.keys() if digests[entity] != stored[entity]),
    )
    return difference if difference.missing or difference.unexpected or difference.different else None


def codebook_digest(item: bytes) -> str:
    """Return the digest of a codebook's item: the same for SISU's text and for the producer's entity made of it."""
    fields = orjson.loads(item)
    plain = {name: value for name, value in fields.items() if name not in ("id", "documentState")}
    return sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _digest(service: Service, body: bytes) -> str:
    return codebook_digest(body) if service.api is Api.URN else sha256(body).hexdigest()

"""Whether the store holds what SISU served: the verdict of the demo and of many a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256

import msgspec
import orjson
import requests

from demo.store import Store
from shared.services import Api, Service

_TIMEOUT_SECONDS = 60

Expected = Mapping[str, tuple[str, str]]
"""id → documentState and SHA-256, in hex, of the bytes that SISU serves for it now."""


@dataclass(frozen=True)
class Difference:
    """What is wrong with one service. The lists have ids."""

    service: str
    missing: list[str]
    unexpected: list[str]
    different: list[str]

    def __str__(self) -> str:
        counts = (len(self.missing), len(self.unexpected), len(self.different))
        return "{}: {} missing, {} that should not be there, {} with other bytes".format(self.service, *counts)


def fetch_expected(sisu_uri: str, service: Service) -> Expected:
    """What the simulator at `sisu_uri` has of a service now. Blocks. Raises requests.RequestException."""
    if service.api is Api.URN:
        answer = requests.get(f"{sisu_uri}/kori/api{service.path}", timeout=_TIMEOUT_SECONDS)
        answer.raise_for_status()
        items = msgspec.json.decode(answer.content, type=dict[str, msgspec.Raw])
        return {urn: ("ACTIVE", codebook_digest(bytes(item))) for urn, item in items.items()}
    answer = requests.get(f"{sisu_uri}/simulator/expected/{service.name}", timeout=_TIMEOUT_SECONDS)
    answer.raise_for_status()
    return {entity: (it["documentState"], it["sha256"]) for entity, it in orjson.loads(answer.content).items()}


def compare(store: Store, service: Service, expected: Expected) -> Difference | None:
    """Compare a service's entities in the store with what SISU has; None if they agree.

    Deleted ones must not be there. The items of a codebook are made into entities by the producer, with an `id` and a
    `documentState` that SISU does not write: they are compared without those two, as JSON.
    """
    wanted = {entity: digest for entity, (state, digest) in expected.items() if state != "DELETED"}
    found = {entity: _digest(service, body) for entity, _state, body in store.stored(service.name)}
    difference = Difference(
        service.name,
        missing=sorted(wanted.keys() - found.keys()),
        unexpected=sorted(found.keys() - wanted.keys()),
        different=sorted(entity for entity in wanted.keys() & found.keys() if wanted[entity] != found[entity]),
    )
    return difference if difference.missing or difference.unexpected or difference.different else None


def codebook_digest(item: bytes) -> str:
    """The digest of a codebook's item, the same for SISU's text and for the entity that the producer makes of it."""
    fields = orjson.loads(item)
    plain = {name: value for name, value in fields.items() if name not in ("id", "documentState")}
    return sha256(orjson.dumps(plain, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _digest(service: Service, body: bytes) -> str:
    return codebook_digest(body) if service.api is Api.URN else sha256(body).hexdigest()

"""All of the simulator but HTTP: its entities and their changes, who may read what, what goes wrong, what was asked."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import orjson

from demo.entities import World, spread
from demo.sisu_faults import ArmedFault, FaultKind, Faults
from demo.sisu_store import Page, Store, Version
from shared.services import Api, Service, load_services

_NEW_SHARE = 0.15
_DELETED_SHARE = 0.1


@dataclass(frozen=True)
class Credentials:
    """What to show, any one of them, to read what is not public. Where none is set, nothing is demanded."""

    user: str | None = None
    password: str | None = None
    api_key: str | None = None
    """In the header X-Api-Key."""
    token: str | None = None
    """As a Bearer token, or in the header `token`."""


@dataclass(frozen=True)
class Request:
    """One request, as the log has it. It is there before the client can have the answer.

    A request that hangs is there twice: as soon as it hangs, and once more if it is answered after all.
    """

    time_seconds: float
    """When it arrived, on the monotonic clock."""
    service: str | None
    """None where the path is nobody's."""
    since: int | None
    """None where the service does not page."""
    limit: int | None
    status: int
    """0 where there was no answer, but a hang."""
    entities: int
    """How many a client can have read in the answer: 0 if there was no whole, readable one."""
    greatest_ordinal: int | None
    """Where the next page begins, if the answer was one."""
    fault: str | None
    """What was done wrong, if anything was."""


class _Head(msgspec.Struct):
    id: str | None = None
    urn: str | None = None
    documentState: str = "ACTIVE"  # noqa: N815 - SISU's name


class SisuBackend:
    """A SISU without a network. Safe for several threads."""

    def __init__(self, seed: int, size: int, services: Sequence[Service] | None, first_ordinal: int | None) -> None:
        self.services = {service.name: service for service in (load_services() if services is None else services)}
        self.requests: list[Request] = []
        """All requests, in the order of their answers. It only grows."""
        self.latency_seconds = 0.0
        """How long each answer is held back."""
        self.credentials: Credentials = Credentials()
        self.forbidden: set[str] = set()
        """The services that are answered with 403."""
        self.stopping = threading.Event()
        self._faults = Faults()
        self._lock = threading.Lock()
        counts = spread(size, list(self.services.values()))
        self._world = World(seed, counts)
        self._next_index = dict(counts)
        self._revisions: dict[tuple[str, int], int] = {}  # of those that have more than one
        self._stores: dict[str, Store] = {}
        for name, service in self.services.items():
            gaps = Random(f"{seed}/{name}/ordinals")
            first = gaps.randrange(1_000, 1_000_000) if first_ordinal is None else first_ordinal
            self._stores[name] = Store(gaps, first)
            for index in range(counts[name]):
                self._write(service, index, self._world.state(service, index), revision=1)

    def _write(self, service: Service, index: int, state: str, revision: int) -> str:
        entity_id = self._world.id(service, index)
        self._stores[service.name].put(
            entity_id,
            state,
            lambda ordinal: self._world.entity(service, index, ordinal=ordinal, revision=revision, state=state),
        )
        return entity_id

    # --- what is there -----------------------------------------------------------------------------------------------

    def expected(self, service_name: str, up_to: int | None = None) -> dict[str, tuple[str, bytes]]:
        """Of each entity the newest version: id → its documentState and its bytes, in the order of ordinals.

        Of those that are exported, only those up to the ordinal `up_to`, if it is given. Items of codebooks are as
        they are to be imported: with an `id` and a `documentState` after all that SISU says of them.
        """
        is_codebook = self.services[service_name].api is Api.URN
        return {
            version.entity_id: (version.state, _as_entity(version) if is_codebook else version.body)
            for version in self.versions(service_name)
            if up_to is None or version.ordinal <= up_to
        }

    def versions(self, service_name: str) -> list[Version]:
        """Of each entity the newest version, in the order of ordinals."""
        with self._lock:
            return list(self._store(service_name))

    def greatest_ordinal(self, service_name: str) -> int:
        """The ordinal at which an import of an exported service is complete."""
        with self._lock:
            return self._store(service_name).greatest_ordinal

    def counts(self) -> dict[str, tuple[int, int]]:
        """Of each service: how many entities it has, and its greatest ordinal."""
        with self._lock:
            return {name: (len(store), store.greatest_ordinal) for name, store in self._stores.items()}

    def page(self, service_name: str, since: int, limit: int, *, inclusive: bool = False) -> Page:
        """A page of an export."""
        with self._lock:
            return self._store(service_name).page(since, limit, inclusive=inclusive)

    def room_after(self, service_name: str, since: int) -> int:
        """How far a page without entities may advance."""
        with self._lock:
            return self._store(service_name).room_after(since)

    def _store(self, service_name: str) -> Store:
        if service_name not in self._stores:
            raise ValueError(f"no such service: {service_name}")
        return self._stores[service_name]

    # --- what changes ------------------------------------------------------------------------------------------------

    def touch(self, service_name: str, n: int, seed: int) -> list[str]:
        """Change `n` different entities, decided by the seed: most get a new version, some are DELETED, some are new.

        What is not exported gets no new entities, and none is deleted. Answers their ids, in the order of ordinals.
        """
        rng = Random(f"{seed}/{service_name}/touch")
        with self._lock:
            self._store(service_name)
            service = self.services[service_name]
            there = self._next_index[service_name]
            added = sum(rng.random() < _NEW_SHARE for _ in range(n)) if service.api.is_export else 0
            changed = rng.sample(range(there), min(n - added, there))
            if service.api.is_export:
                added = n - len(changed)
            indexes = [*changed, *range(there, there + added)]
            rng.shuffle(indexes)
            ids = [self._touch_one(service, index, rng, is_new=index >= there) for index in indexes]
            self._next_index[service_name] += added
        return ids

    def _touch_one(self, service: Service, index: int, rng: Random, *, is_new: bool) -> str:
        if is_new:
            return self._write(service, index, "ACTIVE", revision=1)
        key = (service.name, index)
        self._revisions[key] = self._revisions.get(key, 1) + 1
        deleted = service.api.is_export and rng.random() < _DELETED_SHARE
        return self._write(service, index, "DELETED" if deleted else "ACTIVE", self._revisions[key])

    def put(self, service_name: str, entity: bytes | dict[str, Any], *, entity_id: str | None = None) -> int:
        """Insert this very entity as a new version of the one with its id. Answers its ordinal.

        `entity_id` is needed, for `expected`, where it has no `id` that can be read. Raises ValueError without either.
        """
        body = entity if isinstance(entity, bytes) else orjson.dumps(entity)
        try:
            head = msgspec.json.decode(body, type=_Head)
        except msgspec.DecodeError as error:
            if entity_id is None:
                raise ValueError(f"the entity has no id that can be read: {error}") from error
            head = _Head()
        key = entity_id or (head.urn if self.services[service_name].api is Api.URN else head.id)
        if key is None:
            raise ValueError("the entity has no id")
        with self._lock:
            return self._store(service_name).put(key, head.documentState, lambda _ordinal: body)

    # --- what goes wrong ---------------------------------------------------------------------------------------------

    def fault(
        self, kind: FaultKind | str, *, service: str | None = None, times: int | None = 1, **details: Any
    ) -> ArmedFault:
        """Do this wrong with the next `times` requests of the service; None is any service, and all requests.

        `details` are the other fields of `demo.sisu_faults.Fault`. Of several faults, the first that fits is taken.
        Raises ValueError for a fault that could never happen.
        """
        return self._faults.arm(self.services, kind, {"service": service, "times": times, **details})

    def release_faults(self) -> None:
        """End all faults; who hangs gets an answer."""
        self._faults.release()

    def next_fault(self, service: Service) -> ArmedFault | None:
        """The fault that hits a request which has just come."""
        return self._faults.next_for(service)


def _as_entity(version: Version) -> bytes:
    return b'%s,"id":%s,"documentState":"ACTIVE"}' % (version.body[:-1], orjson.dumps(version.entity_id))


def parse_names(names: str, known: Iterable[str]) -> set[str]:
    """The services in a list with commas. Raises ValueError for one that is not known."""
    chosen = {name for name in names.split(",") if name}
    if unknown := chosen.difference(known):
        raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
    return chosen

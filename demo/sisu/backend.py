"""The simulator without HTTP: entities and their changes, credentials, faults, and the log of requests."""

import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from random import Random
from typing import Any

import msgspec
import orjson

from demo.sisu.data.entities import EntityFactory, distribute
from demo.sisu.faults import ArmedFault, FaultKind, Faults
from demo.sisu.version_log import Page, Version, VersionLog
from shared.model.services import Api, Service, load_services

_NEW_SHARE = 0.15
_DELETED_SHARE = 0.1


@dataclass(frozen=True)
class Credentials:
    """The credentials, any one of which gives access to what is not public. If none is set, none is required."""

    user: str | None = None
    password: str | None = None
    api_key: str | None = None
    """In the header X-Api-Key."""
    token: str | None = None
    """As a Bearer token, or in the header `token`."""


@dataclass(frozen=True)
class Request:
    """One request in the log. It is logged before the client can have the response.

    A request that hangs is logged twice: as soon as it hangs, and once more if there is a response in the end.
    """

    time_seconds: float
    """When it arrived, on the monotonic clock."""
    service: str | None
    """None for an unknown path."""
    since: int | None
    """None for a service without pages."""
    limit: int | None
    status: int
    """0 for a request that hangs."""
    entities: int
    """How many a client can have read in the response: 0 unless it was complete and well-formed."""
    greatest_ordinal: int | None
    """Where the next page starts, if the response was a page."""
    fault: str | None
    """The kind of the fault that hit it, if any."""


class _Head(msgspec.Struct):
    id: str | None = None
    urn: str | None = None
    documentState: str = "ACTIVE"  # noqa: N815 - SISU's name


class SisuBackend:
    """A SISU without a network. Thread-safe."""

    def __init__(self, seed: int, size: int, services: Sequence[Service] | None, first_ordinal: int | None) -> None:
        self.services = {service.name: service for service in (load_services() if services is None else services)}
        self.requests: list[Request] = []
        """All requests, in the order of their responses. It only grows."""
        self.latency_seconds = 0.0
        """How long each response is delayed."""
        self.credentials: Credentials = Credentials()
        self.forbidden: set[str] = set()
        """The services whose requests get 403."""
        self.stopping = threading.Event()
        self._faults = Faults()
        self._lock = threading.Lock()
        counts = distribute(size, list(self.services.values()))
        self._factory = EntityFactory(seed, counts)
        self._next_index = dict(counts)
        self._revisions: dict[tuple[str, int], int] = {}  # of entities with more than one
        self._version_logs: dict[str, VersionLog] = {}
        for name, service in self.services.items():
            gaps = Random(f"{seed}/{name}/ordinals")
            first = gaps.randrange(1_000, 1_000_000) if first_ordinal is None else first_ordinal
            self._version_logs[name] = VersionLog(gaps, first)
            for index in range(counts[name]):
                self._write(service, index, self._factory.state(service, index), revision=1)

    def _write(self, service: Service, index: int, state: str, revision: int) -> str:
        entity_id = self._factory.id(service, index)
        self._version_logs[service.name].put(
            entity_id,
            state,
            lambda ordinal: self._factory.entity(service, index, ordinal=ordinal, revision=revision, state=state),
        )
        return entity_id

    # --- entities ----------------------------------------------------------------------------------------------------

    def expected(self, service_name: str, up_to: int | None = None) -> dict[str, tuple[str, bytes]]:
        """Return the newest version of each entity: id → documentState and bytes, in the order of ordinals.

        `up_to` limits exported entities to those up to this ordinal. Items of codebooks are as they must be imported:
        with an `id` and a `documentState` after SISU's own fields.
        """
        is_codebook = self.services[service_name].api is Api.URN
        return {
            version.entity_id: (version.state, _as_entity(version) if is_codebook else version.body)
            for version in self.versions(service_name)
            if up_to is None or version.ordinal <= up_to
        }

    def versions(self, service_name: str) -> list[Version]:
        """Return the newest version of each entity, in the order of ordinals."""
        with self._lock:
            return list(self._version_log(service_name))

    def greatest_ordinal(self, service_name: str) -> int:
        """Return the ordinal at which an import of an exported service is complete."""
        with self._lock:
            return self._version_log(service_name).greatest_ordinal

    def counts(self) -> dict[str, tuple[int, int]]:
        """Return the number of entities and the greatest ordinal of each service."""
        with self._lock:
            return {name: (len(log), log.greatest_ordinal) for name, log in self._version_logs.items()}

    def page(self, service_name: str, since: int, limit: int, *, inclusive: bool = False) -> Page:
        """Return a page of an export."""
        with self._lock:
            return self._version_log(service_name).page(since, limit, inclusive=inclusive)

    def room_after(self, service_name: str, since: int) -> int:
        """Return how far a page without entities may advance."""
        with self._lock:
            return self._version_log(service_name).room_after(since)

    def _version_log(self, service_name: str) -> VersionLog:
        if service_name not in self._version_logs:
            raise ValueError(f"no such service: {service_name}")
        return self._version_logs[service_name]

    # --- changes -----------------------------------------------------------------------------------------------------

    def touch(self, service_name: str, n: int, seed: int) -> list[str]:
        """Change `n` different entities, chosen by the seed: most get a new version, some are DELETED, some are new.

        A service that is not exported gets no new entities, and none is deleted. Return their ids, in the order of
        ordinals.
        """
        rng = Random(f"{seed}/{service_name}/touch")
        with self._lock:
            self._version_log(service_name)
            service = self.services[service_name]
            existing = self._next_index[service_name]
            added = sum(rng.random() < _NEW_SHARE for _ in range(n)) if service.api.is_export else 0
            changed = rng.sample(range(existing), min(n - added, existing))
            if service.api.is_export:
                added = n - len(changed)
            indexes = [*changed, *range(existing, existing + added)]
            rng.shuffle(indexes)
            ids = [self._touch_one(service, index, rng, is_new=index >= existing) for index in indexes]
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
        """Insert this very entity as a new version of the one with its id, and return its ordinal.

        `expected` requires an `entity_id` for one without a readable `id`. Raises ValueError without either.
        """
        body = entity if isinstance(entity, bytes) else orjson.dumps(entity)
        try:
            head = msgspec.json.decode(body, type=_Head)
        except (msgspec.DecodeError, RecursionError) as error:
            if entity_id is None:
                raise ValueError(f"the entity has no id that can be read: {error}") from error
            head = _Head()
        key = entity_id or (head.urn if self.services[service_name].api is Api.URN else head.id)
        if key is None:
            raise ValueError("the entity has no id")
        with self._lock:
            return self._version_log(service_name).put(key, head.documentState, lambda _ordinal: body)

    # --- faults ------------------------------------------------------------------------------------------------------

    def fault(
        self, kind: FaultKind | str, *, service: str | None = None, times: int | None = 1, **details: Any
    ) -> ArmedFault:
        """Arm a fault for the next `times` requests of the service; None means any service, and all requests.

        `details` are the other fields of `demo.sisu.faults.Fault`. Of several faults, the first that applies is used.
        Raises ValueError for a fault that could never happen.
        """
        return self._faults.arm(self.services, kind, {"service": service, "times": times, **details})

    def release_faults(self) -> None:
        """End all faults; requests that hang get their response."""
        self._faults.release()

    def next_fault(self, service: Service) -> ArmedFault | None:
        """Return the fault that hits a request which has just arrived, or None."""
        return self._faults.next_for(service)


def _as_entity(version: Version) -> bytes:
    return b'%s,"id":%s,"documentState":"ACTIVE"}' % (version.body[:-1], orjson.dumps(version.entity_id))


def parse_names(names: str, known: Iterable[str]) -> set[str]:
    """Return the services in a list separated by commas. Raises ValueError for an unknown one."""
    parsed = {name for name in names.split(",") if name}
    if unknown := parsed.difference(known):
        raise ValueError(f"no such service: {', '.join(sorted(unknown))}")
    return parsed

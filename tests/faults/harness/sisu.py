"""A simulated SISU that records what it serves."""

import time
from typing import Any

import msgspec

from demo.sisu.simulator import Page as ServedPage
from demo.sisu.simulator import SisuSimulator
from demo.sisu.version_log import Version
from shared.model.messages import Entity, entity_id
from tests.faults.harness.history import History, Page

ONE_TIME_ORDINAL = 1


class _Metadata(msgspec.Struct):
    modificationOrdinal: int = 0  # noqa: N815 - SISU's name


class _Head(msgspec.Struct):
    id: str
    metadata: _Metadata = msgspec.field(default_factory=_Metadata)


class RecordingSisu(SisuSimulator):
    """The simulator, which adds every page to the history, as it is before any fault corrupts it."""

    def __init__(self, history: History, **options: Any) -> None:
        self._history = history
        super().__init__(**options)

    def page(self, service_name: str, since: int, limit: int, *, inclusive: bool = False) -> ServedPage:
        """Return a page of an export, and record it."""
        page = super().page(service_name, since, limit, inclusive=inclusive)
        heads = [_head(body) for body in page.bodies]
        entities = tuple((head.id, head.metadata.modificationOrdinal) for head in heads)
        self._history.pages.append(Page(time.time_ns(), service_name, since, page.greatest_ordinal, entities))
        return page

    def room_after(self, service_name: str, since: int) -> int:
        """Return how far a page without entities may advance, and record such a page, which follows this call."""
        room = super().room_after(service_name, since)
        if room:
            self._history.pages.append(Page(time.time_ns(), service_name, since, since + 1, ()))
        return room

    def versions(self, service_name: str) -> list[Version]:
        """Return all versions of a service, and record them as a page if it is a one-time service."""
        versions = super().versions(service_name)
        if self.services[service_name].one_time:
            entities = tuple((version.entity_id, 0) for version in versions)
            self._history.pages.append(Page(time.time_ns(), service_name, 0, ONE_TIME_ORDINAL, entities))
        return versions


def _head(body: bytes) -> _Head:
    """Return the head of an entity; the digest of one that cannot be read is its id."""
    try:
        return msgspec.json.decode(body, type=_Head)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _Head(id=entity_id(Entity(body)))

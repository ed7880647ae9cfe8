"""The versions of one service's entities, as an export lists them: the newest of each, in the order of their ordinals.

Not safe for several threads; who owns it has the lock.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

MIN_GAP = 8
"""Ordinals are at least so far apart, so that there are ordinals between two of them: see FaultKind.EMPTY_PAGE."""
_MAX_GAP = 40


@dataclass(frozen=True, slots=True)
class Version:
    """The newest version of an entity."""

    entity_id: str
    ordinal: int
    state: str
    body: bytes


@dataclass(frozen=True)
class Page:
    """What an export answers."""

    bodies: list[bytes]
    greatest_ordinal: int
    has_more: bool


class Store:
    """One service. An entity that is put again leaves its old place and comes last."""

    def __init__(self, gaps: Random, first_ordinal: int) -> None:
        self._gaps = gaps
        self._last_ordinal = first_ordinal
        # Side by side, in the order of ordinals; None in place of a version that a newer one has replaced.
        self._ordinals: list[int] = []
        self._versions: list[Version | None] = []
        self._places: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Version]:
        return (version for version in self._versions if version is not None)

    @property
    def greatest_ordinal(self) -> int:
        """The ordinal of the newest version; 0 where there is none."""
        return self._ordinals[-1] if self._ordinals else 0

    def put(self, entity_id: str, state: str, make_body: Callable[[int], bytes]) -> int:
        """Add a version, whose body may tell its ordinal. Answers the ordinal."""
        ordinal = self._last_ordinal + MIN_GAP + int(self._gaps.random() * (_MAX_GAP - MIN_GAP))
        # A copy: what orjson.dumps answers holds on to several times its size.
        version = Version(entity_id, ordinal, state, bytes(memoryview(make_body(ordinal))))
        replaced = self._places.get(entity_id)
        if replaced is not None:
            self._versions[replaced] = None
        self._last_ordinal = ordinal
        self._places[entity_id] = len(self._ordinals)
        self._ordinals.append(ordinal)
        self._versions.append(version)
        if len(self._ordinals) > 2 * len(self._places):
            self._forget_replaced()
        return ordinal

    def _forget_replaced(self) -> None:
        self._versions = list(self)
        self._ordinals = [version.ordinal for version in self]
        self._places = {version.entity_id: place for place, version in enumerate(self)}

    def page(self, since: int, limit: int, *, inclusive: bool = False) -> Page:
        """The oldest `limit` versions after `since`; those from `since` on, if it is `inclusive`."""
        place = (bisect_left if inclusive else bisect_right)(self._ordinals, since)
        bodies: list[bytes] = []
        greatest = since
        for version in self._from(place):
            if len(bodies) == limit:
                return Page(bodies, greatest, has_more=True)
            bodies.append(version.body)
            greatest = version.ordinal
        return Page(bodies, greatest, has_more=False)

    def room_after(self, since: int) -> int:
        """How far an ordinal may be beyond `since` without passing any version, that is or is to come."""
        place = bisect_right(self._ordinals, since)
        following = next((version.ordinal for version in self._from(place)), self._last_ordinal + MIN_GAP)
        return max(0, following - 1 - since)

    def _from(self, place: int) -> Iterator[Version]:
        for index in range(place, len(self._versions)):
            if (version := self._versions[index]) is not None:
                yield version

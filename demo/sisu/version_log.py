"""The versions of one service's entities, as an export lists them: the newest of each, in the order of their ordinals.

Not thread-safe; its owner has the lock.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from random import Random

MIN_GAP = 8
"""The least difference of two ordinals, so that there are others between them: see FaultKind.EMPTY_PAGE."""
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
    """The content of an export's response."""

    bodies: list[bytes]
    greatest_ordinal: int
    has_more: bool


class VersionLog:
    """The versions of one service. An entity that is put again leaves its old position and comes last."""

    def __init__(self, gaps: Random, first_ordinal: int) -> None:
        self._gaps = gaps
        self._last_ordinal = first_ordinal
        # Parallel lists in the order of ordinals; None in place of a version that a newer one has replaced.
        self._ordinals: list[int] = []
        self._versions: list[Version | None] = []
        self._positions: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._positions)

    def __iter__(self) -> Iterator[Version]:
        return (version for version in self._versions if version is not None)

    @property
    def greatest_ordinal(self) -> int:
        """The ordinal of the newest version; 0 without one."""
        return self._ordinals[-1] if self._ordinals else 0

    def put(self, entity_id: str, state: str, make_body: Callable[[int], bytes]) -> int:
        """Add a version, whose body may contain its ordinal, and return the ordinal."""
        ordinal = self._last_ordinal + MIN_GAP + int(self._gaps.random() * (_MAX_GAP - MIN_GAP))
        # A copy: the bytes that orjson.dumps returns occupy several times their size.
        version = Version(entity_id, ordinal, state, bytes(memoryview(make_body(ordinal))))
        replaced = self._positions.get(entity_id)
        if replaced is not None:
            self._versions[replaced] = None
        self._last_ordinal = ordinal
        self._positions[entity_id] = len(self._ordinals)
        self._ordinals.append(ordinal)
        self._versions.append(version)
        if len(self._ordinals) > 2 * len(self._positions):
            self._remove_replaced()
        return ordinal

    def _remove_replaced(self) -> None:
        self._versions = list(self)
        self._ordinals = [version.ordinal for version in self]
        self._positions = {version.entity_id: position for position, version in enumerate(self)}

    def page(self, since: int, limit: int, *, inclusive: bool = False) -> Page:
        """Return the oldest `limit` versions after `since`, or from `since` on if `inclusive`."""
        position = (bisect_left if inclusive else bisect_right)(self._ordinals, since)
        bodies: list[bytes] = []
        greatest = since
        for version in self._from(position):
            if len(bodies) == limit:
                return Page(bodies, greatest, has_more=True)
            bodies.append(version.body)
            greatest = version.ordinal
        return Page(bodies, greatest, has_more=False)

    def room_after(self, since: int) -> int:
        """Return how far an ordinal may be beyond `since` without passing any present or future version."""
        position = bisect_right(self._ordinals, since)
        following = next((version.ordinal for version in self._from(position)), self._last_ordinal + MIN_GAP)
        return max(0, following - 1 - since)

    def _from(self, position: int) -> Iterator[Version]:
        for index in range(position, len(self._versions)):
            if (version := self._versions[index]) is not None:
                yield version

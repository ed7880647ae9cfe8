"""One batch: what one fetch returned."""

from collections.abc import Sequence
from dataclasses import dataclass

from shared.model.messages import Entity
from shared.model.services import Service

ONE_TIME_ORDINAL = 1
"""The ordinal of a one-time service once all of it is settled."""


@dataclass(frozen=True)
class Batch:
    """What one fetch returned: entities, the greatest ordinal, and whether there is more."""

    service: Service
    since: int
    """The ordinal after which it was fetched."""
    greatest_ordinal: int
    """The ordinal to store when all of it is settled."""
    has_more: bool
    entities: Sequence[Entity]
    unreadable: Sequence[int] = ()
    """The positions, ascending, of entities that no strict JSON parser accepts: they go into no chunk."""
    behind: int | None = None
    """The greatest ordinal that SISU has, where that is before `since`: SISU was restored from a backup, say."""

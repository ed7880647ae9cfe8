"""The state of a ledger at one moment, and the replies of the scripts that change it. Pure values.

Each reply type lists what one script returns; `shared/store/lua` has the scripts.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

BeginReply = Literal["BEGUN", "FENCED"]
"""BEGUN: the ledger is the execution's. FENCED: the ordinal has moved since the batch was fetched; nothing changed."""

AnnounceReply = Literal["ANNOUNCED", "STALE"]
"""STALE: the ledger belongs to another execution; nothing changed."""

SettleReply = Literal["SETTLED", "DUPLICATE", "STALE", "MISMATCH"]
"""DUPLICATE: the chunk is not in the ledger: settled or split before, or never there. STALE: the ledger belongs to
another execution. MISMATCH: the feedback claims another size than the chunk has. Only SETTLED changes anything."""

SplitReply = Literal["SPLIT", "SINGLE", "DUPLICATE", "STALE"]
"""SINGLE: the chunk is one entity and cannot be split. Only SPLIT changes anything."""

FailReply = Literal["FAILED", "DUPLICATE", "STALE", "MISMATCH"]
"""MISMATCH: the chunk has more than one entity. Only FAILED changes anything."""

AdvanceReply = Literal["ADVANCED", "ALREADY", "FENCED"]
"""ALREADY: the ordinal had been moved there before, and the reply was lost. FENCED: the ledger belongs to another
execution, not everything is settled, or the ordinal has moved since the fetch; nothing changed."""

FeedbackResult = Literal["SETTLED", "SPLIT", "FAILED", "DUPLICATE", "STALE", "MISMATCH"]
"""The effect of one feedback on the ledger."""


@dataclass(frozen=True)
class Progress:
    """The ledger and the counters of one service at one moment. All counts are of entities; a missing one is -1."""

    execution: str
    """The owner of the ledger; empty where there is none."""
    scheduled: int
    updated: int
    failed: int
    outstanding: Mapping[str, int]
    """chunkId → number of entities."""
    errors: Mapping[str, str]
    """chunkId → error text. Filled only when nothing is outstanding."""

"""Log what happens to feedback that changes nothing: one line a second at most for each kind, with a count.

A user who may send feedback may send any number of messages, and a disk full of log lines stops more than the import.
"""

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from shared.runtime.events import Event

log = structlog.get_logger()

INTERVAL_SECONDS = 1.0


@dataclass
class _Kind:
    level: int
    event: Event
    logged_at_seconds: float
    pending: int = 0
    fields: dict[str, object] = field(default_factory=dict)


class FeedbackLog:
    """Logs at once what is rare. Of what is frequent it logs one line per interval, with the fields of the last one.

    `count` says how many messages a line is about, so that the counts of all lines add up to the messages.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._kinds: dict[tuple[Event, object], _Kind] = {}

    def add(self, event: Event, *, level: int = logging.WARNING, reason: str | None = None, **fields: object) -> None:
        """Log a message, now or with others of its event and reason in the next line."""
        kind = self._kinds.setdefault((event, reason), _Kind(level, event, -INTERVAL_SECONDS))
        kind.pending += 1
        kind.fields = fields if reason is None else {"reason": reason, **fields}
        self._log_if_due(kind)

    def flush(self, *, at_once: bool = False) -> None:
        """Log what is pending and due, or all that is pending. To be called regularly."""
        for kind in self._kinds.values():
            self._log_if_due(kind, at_once=at_once)

    def _log_if_due(self, kind: _Kind, *, at_once: bool = False) -> None:
        now_seconds = self._clock()
        if kind.pending and (at_once or now_seconds - kind.logged_at_seconds >= INTERVAL_SECONDS):
            log.log(kind.level, kind.event, **kind.fields, count=kind.pending)
            kind.pending, kind.logged_at_seconds = 0, now_seconds

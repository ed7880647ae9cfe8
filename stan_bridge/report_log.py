"""Log reports that change nothing: one line a second at most for each reason, with a count."""

import time
from collections.abc import Callable

import structlog

from shared.runtime.events import Event
from stan_bridge.messages import InvalidReportReason

log = structlog.get_logger()

INTERVAL_SECONDS = 1.0


class ReportLog:
    """Logs at once what is rare; of what is frequent, one line per interval. The counts add up to the messages."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pending: dict[InvalidReportReason, int] = {}
        self._logged_at_seconds: dict[InvalidReportReason, float] = {}

    def add(self, reason: InvalidReportReason) -> None:
        """Log a report, now or with others in the next line."""
        self._pending[reason] = self._pending.get(reason, 0) + 1
        self.flush()

    def flush(self, *, at_once: bool = False) -> None:
        """Log what is pending and due, or all that is pending. To be called regularly."""
        now_seconds = self._clock()
        for reason in list(self._pending):
            if at_once or now_seconds - self._logged_at_seconds.get(reason, -INTERVAL_SECONDS) >= INTERVAL_SECONDS:
                log.info(Event.STAN_REPORT_UNKNOWN, reason=reason, count=self._pending.pop(reason))
                self._logged_at_seconds[reason] = now_seconds

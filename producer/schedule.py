"""When the next run is due, by cron expression and time zone."""

from collections.abc import Callable
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import structlog
from cronsim import CronSim

from shared.events import Event
from shared.stop import Stop

log = structlog.get_logger()

_LOOK_AT_THE_CLOCK_SECONDS = 20.0
"""A wall clock can jump, so one long wait would miss the time."""


def next_due(cron: str, after: datetime) -> datetime:
    """The first time after `after` that the expression names in the time zone of `after`. It is answered in UTC.

    Not in that zone: Python compares and subtracts times of one zone by what their clocks show, which is wrong by an
    hour where clocks are set back; runs would follow each other without a pause until it has passed.
    """
    return next(CronSim(cron, after)).astimezone(UTC)


async def wait_until_due(
    cron: str, timezone: ZoneInfo, stop: Stop, now: Callable[[ZoneInfo], datetime] = datetime.now
) -> bool:
    """Wait for the next time that a run is due. Answers False when asked to stop before."""
    due = next_due(cron, now(timezone))
    log.info(Event.WAITING_FOR_CRON, due=due.astimezone(timezone).isoformat())
    while (remaining := (due - now(timezone).astimezone(UTC)).total_seconds()) > 0:
        if await stop.wait(min(remaining, _LOOK_AT_THE_CLOCK_SECONDS)):
            return False
        # A clock that was set back would put the run off by as much.
        due = min(due, next_due(cron, now(timezone)))
    return True

"""When the next run is due, by cron expression and time zone."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from zoneinfo import ZoneInfo

from cronsim import CronSim

from shared.runtime.shutdown import Stop

Clock = Callable[[ZoneInfo], datetime]

_POLL_SECONDS = 1.0
"""A wall clock can jump, so one long wait would miss the time; and an operator may request something."""


def next_due(cron: str, after: datetime) -> datetime:
    """Return the first time after `after` that the expression names in the time zone of `after`, in UTC.

    Not in that zone: Python compares and subtracts times of one zone by their wall-clock values, which is wrong by an
    hour where clocks are set back; runs would follow each other without a break until it has passed.
    """
    return next(CronSim(cron, after)).astimezone(UTC)


class WakeReason(Enum):
    """Why a wait ended."""

    DUE = "due"
    REQUESTED = "requested"
    STOPPED = "stopped"


async def wait_until_due(
    due: datetime,
    cron: str,
    timezone: ZoneInfo,
    stop: Stop,
    has_requests: Callable[[], bool],
    now: Clock = datetime.now,
) -> WakeReason:
    """Wait for `due`, which `next_due` returned, until `has_requests` returns True, or until shutdown."""
    while (remaining := (due - now(timezone).astimezone(UTC)).total_seconds()) > 0:
        if has_requests():
            return WakeReason.REQUESTED
        if await stop.wait(min(remaining, _POLL_SECONDS)):
            return WakeReason.STOPPED
        # A clock that was set back would delay the run by as much.
        due = min(due, next_due(cron, now(timezone)))
    return WakeReason.DUE

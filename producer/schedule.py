"""When the next run is due, by cron expression and time zone."""

from collections.abc import Callable
from datetime import UTC, datetime
from enum import Enum
from zoneinfo import ZoneInfo

from cronsim import CronSim

from shared.stop import Stop

Clock = Callable[[ZoneInfo], datetime]

_LOOK_SECONDS = 1.0
"""A wall clock can jump, so one long wait would miss the time; and an operator may wish for something."""


def next_due(cron: str, after: datetime) -> datetime:
    """The first time after `after` that the expression names in the time zone of `after`. It is answered in UTC.

    Not in that zone: Python compares and subtracts times of one zone by what their clocks show, which is wrong by an
    hour where clocks are set back; runs would follow each other without a pause until it has passed.
    """
    return next(CronSim(cron, after)).astimezone(UTC)


class Woken(Enum):
    """Why a wait ended."""

    DUE = "due"
    WISHED = "wished"
    STOPPED = "stopped"


async def wait_until_due(
    due: datetime, cron: str, timezone: ZoneInfo, stop: Stop, wished: Callable[[], bool], now: Clock = datetime.now
) -> Woken:
    """Wait for `due`, as `next_due` answers it, or until `wished` answers True, or asked to stop."""
    while (remaining := (due - now(timezone).astimezone(UTC)).total_seconds()) > 0:
        if wished():
            return Woken.WISHED
        if await stop.wait(min(remaining, _LOOK_SECONDS)):
            return Woken.STOPPED
        # A clock that was set back would put the run off by as much.
        due = min(due, next_due(cron, now(timezone)))
    return Woken.DUE

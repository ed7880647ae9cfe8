"""The schedule of runs: cron in a time zone, through both daylight saving changes, and with a clock that jumps."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from producer.control.schedule import WakeReason, next_due, wait_until_due
from shared.runtime.shutdown import Stop

HELSINKI = ZoneInfo("Europe/Helsinki")


def local(text: str, fold: int = 0) -> datetime:
    """Return this time in Helsinki."""
    return datetime.fromisoformat(text).replace(tzinfo=HELSINKI, fold=fold)


def following(cron: str, after: datetime, count: int) -> list[datetime]:
    """Return the next `count` times that are due after `after`."""
    times = []
    for _ in range(count):
        times.append(next_due(cron, after))
        after = times[-1].astimezone(HELSINKI)
    return times


class ManualStop(Stop):
    """A stop flag whose waits take no time, but move a wall clock, which can also jump."""

    def __init__(self, start: datetime) -> None:
        super().__init__()
        self._now = start.astimezone(UTC)
        self.jumps: list[timedelta] = []
        self.waits_seconds: list[float] = []
        self.stop_after_waits = 10_000

    def now(self, timezone: ZoneInfo) -> datetime:
        """Return the time of the wall clock."""
        return self._now.astimezone(timezone)

    async def wait(self, seconds: float | None = None) -> bool:
        """Move the clock by this time and the next jump, and return whether a shutdown is requested now."""
        assert seconds is not None
        self.waits_seconds.append(seconds)
        self._now += timedelta(seconds=seconds)
        if self.jumps:
            self._now += self.jumps.pop(0)
        return len(self.waits_seconds) >= self.stop_after_waits


async def wait(clock: ManualStop) -> WakeReason:
    """Wait for the next full hour by this clock."""
    due = next_due("0 * * * *", clock.now(HELSINKI))
    return await wait_until_due(due, "0 * * * *", HELSINKI, clock, lambda: False, clock.now)


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        ("0 * * * *", "2024-05-01T10:00:00", "2024-05-01T11:00:00"),
        ("0 * * * *", "2024-05-01T10:59:59.9", "2024-05-01T11:00:00"),
        ("*/15 * * * *", "2024-05-01T10:16:00", "2024-05-01T10:30:00"),
        ("30 3 * * *", "2024-05-01T10:00:00", "2024-05-02T03:30:00"),
        ("0 6 * * mon", "2024-05-01T10:00:00", "2024-05-06T06:00:00"),
        ("0 0 29 2 *", "2024-03-01T00:00:00", "2028-02-29T00:00:00"),
    ],
)
def test_the_next_time_is_after_now(cron: str, after: str, expected: str) -> None:
    """The next time is the first one that matches the expression in the time zone, and never the current time."""
    assert next_due(cron, local(after)) == local(expected)


def test_hourly_runs_continue_when_clocks_are_set_forward() -> None:
    """On the day without the hour from 03:00 to 04:00, hourly runs are still an hour apart."""
    times = following("0 * * * *", local("2024-03-31T01:30:00"), 4)
    assert times == [datetime(2024, 3, 31, hour, tzinfo=UTC) for hour in (0, 1, 2, 3)]


def test_hourly_runs_continue_when_clocks_are_set_back() -> None:
    """On the day that has the hour from 03:00 to 04:00 twice, a run takes place in each of them."""
    times = following("0 * * * *", local("2024-10-27T02:30:00"), 4)
    assert times == [datetime(2024, 10, 27, hour, tzinfo=UTC) for hour in (0, 1, 2, 3)]


def test_a_daily_run_in_the_skipped_hour_is_not_skipped() -> None:
    """A run at 03:30 takes place once on the day that has no 03:30."""
    times = following("30 3 * * *", local("2024-03-30T12:00:00"), 2)
    assert [time.astimezone(HELSINKI).date().isoformat() for time in times] == ["2024-03-31", "2024-04-01"]


def test_a_daily_run_in_the_repeated_hour_is_not_repeated() -> None:
    """A run at 03:30 is not repeated on the day that has 03:30 twice."""
    times = following("30 3 * * *", local("2024-10-26T12:00:00"), 2)
    assert [time.astimezone(HELSINKI).date().isoformat() for time in times] == ["2024-10-27", "2024-10-28"]


async def test_waiting_ends_when_the_run_is_due() -> None:
    """The wait lasts until the clock reaches the next time, and returns DUE."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    assert await wait(clock) is WakeReason.DUE
    assert clock.now(HELSINKI) == local("2024-05-01T11:00:00")
    assert sum(clock.waits_seconds) == 20 * 60


async def test_the_clock_is_checked_often() -> None:
    """No single wait is so long that a jump of the clock would be noticed late."""
    clock = ManualStop(local("2024-05-01T10:00:01"))
    await wait(clock)
    assert max(clock.waits_seconds) <= 20


async def test_a_clock_set_forward_an_hour_makes_the_run_due() -> None:
    """When the clock jumps past the next time, the run is due at once."""
    clock = ManualStop(local("2024-05-01T10:10:00"))
    clock.jumps = [timedelta(hours=1)]
    assert await wait(clock) is WakeReason.DUE
    assert len(clock.waits_seconds) == 1


async def test_a_clock_set_back_an_hour_does_not_postpone_the_run() -> None:
    """After a jump back, the run is due at the next time of the new clock, not an hour later."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    clock.jumps = [timedelta(hours=-1)]
    assert await wait(clock) is WakeReason.DUE
    assert clock.now(HELSINKI) == local("2024-05-01T10:00:00")
    assert sum(clock.waits_seconds) < 21 * 60


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
async def test_hourly_waits_last_an_hour_when_clocks_are_changed(day: str) -> None:
    """On both days of a change, each wait between hourly runs lasts one hour, neither none nor two."""
    clock = ManualStop(local(f"{day}T01:00:00"))
    for _ in range(5):
        clock.waits_seconds.clear()
        assert await wait(clock) is WakeReason.DUE
        assert sum(clock.waits_seconds) == 60 * 60


async def test_a_shutdown_request_ends_the_wait() -> None:
    """On a shutdown request the wait returns STOPPED."""
    clock = ManualStop(local("2024-05-01T10:00:01"))
    clock.stop_after_waits = 3
    assert await wait(clock) is WakeReason.STOPPED
    assert len(clock.waits_seconds) == 3


async def test_a_shutdown_request_during_the_wait_ends_it_at_once() -> None:
    """A wait with the real clock ends at the request, not at the next time."""
    stop = Stop()
    due = datetime(9999, 1, 1, tzinfo=UTC)
    waiting = asyncio.create_task(wait_until_due(due, "0 0 1 1 *", HELSINKI, stop, lambda: False))
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        assert await waiting is WakeReason.STOPPED


async def test_an_operator_request_ends_the_wait() -> None:
    """An operator request is not postponed until the next run is due."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    has_requests = iter([False, False, True])
    due = next_due("0 * * * *", clock.now(HELSINKI))
    reason = await wait_until_due(due, "0 * * * *", HELSINKI, clock, lambda: next(has_requests), clock.now)
    assert reason is WakeReason.REQUESTED
    assert len(clock.waits_seconds) == 2

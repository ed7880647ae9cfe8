"""When runs are due: cron in a time zone, through both changes of the hour, and with a clock that jumps."""

import asyncio
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from producer.control.schedule import WakeReason, next_due, wait_until_due
from shared.runtime.shutdown import Stop

HELSINKI = ZoneInfo("Europe/Helsinki")


def local(text: str, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=HELSINKI, fold=fold)


def following(cron: str, after: datetime, count: int) -> list[datetime]:
    """Return the next times, each after the one before."""
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
        return self._now.astimezone(timezone)

    async def wait(self, seconds: float | None = None) -> bool:
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
    """The first time that the expression names, never the present one, on the clock of the time zone."""
    assert next_due(cron, local(after)) == local(expected)


def test_hourly_runs_go_on_when_clocks_are_set_forward() -> None:
    """Where 03:00 to 04:00 does not exist, hourly runs are an hour apart nevertheless."""
    times = following("0 * * * *", local("2024-03-31T01:30:00"), 4)
    assert times == [datetime(2024, 3, 31, hour, tzinfo=UTC) for hour in (0, 1, 2, 3)]


def test_hourly_runs_go_on_when_clocks_are_set_back() -> None:
    """Where 03:00 to 04:00 comes twice, there is a run in each of the two."""
    times = following("0 * * * *", local("2024-10-27T02:30:00"), 4)
    assert times == [datetime(2024, 10, 27, hour, tzinfo=UTC) for hour in (0, 1, 2, 3)]


def test_a_daily_run_in_the_hour_that_is_left_out_is_not_left_out() -> None:
    """A run at 03:30 takes place once on the day that has no 03:30."""
    times = following("30 3 * * *", local("2024-03-30T12:00:00"), 2)
    assert [time.astimezone(HELSINKI).date().isoformat() for time in times] == ["2024-03-31", "2024-04-01"]


def test_a_daily_run_in_the_hour_that_comes_twice_takes_place_once() -> None:
    """A run at 03:30 is not repeated on the day that has 03:30 twice."""
    times = following("30 3 * * *", local("2024-10-26T12:00:00"), 2)
    assert [time.astimezone(HELSINKI).date().isoformat() for time in times] == ["2024-10-27", "2024-10-28"]


async def test_waiting_ends_when_the_run_is_due() -> None:
    """The wait takes as long as the clock needs to the next time, and answers that it is due."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    assert await wait(clock) is WakeReason.DUE
    assert clock.now(HELSINKI) == local("2024-05-01T11:00:00")
    assert sum(clock.waits_seconds) == 20 * 60


async def test_the_clock_is_looked_at_often() -> None:
    """No single wait is so long that a clock which jumps would be noticed late."""
    clock = ManualStop(local("2024-05-01T10:00:01"))
    await wait(clock)
    assert max(clock.waits_seconds) <= 20


async def test_a_clock_set_forward_an_hour_makes_the_run_due() -> None:
    """When the clock jumps past the time, the run begins at once."""
    clock = ManualStop(local("2024-05-01T10:10:00"))
    clock.jumps = [timedelta(hours=1)]
    assert await wait(clock) is WakeReason.DUE
    assert len(clock.waits_seconds) == 1


async def test_a_clock_set_back_an_hour_does_not_put_the_run_off() -> None:
    """After a jump back the next time of the new clock counts, not the hour that lies an hour further away."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    clock.jumps = [timedelta(hours=-1)]
    assert await wait(clock) is WakeReason.DUE
    assert clock.now(HELSINKI) == local("2024-05-01T10:00:00")
    assert sum(clock.waits_seconds) < 21 * 60


@pytest.mark.parametrize("day", ["2024-03-31", "2024-10-27"])
async def test_every_hour_is_waited_through_when_clocks_are_set(day: str) -> None:
    """On both days hourly runs wait an hour each, neither none nor two."""
    clock = ManualStop(local(f"{day}T01:00:00"))
    for _ in range(5):
        clock.waits_seconds.clear()
        assert await wait(clock) is WakeReason.DUE
        assert sum(clock.waits_seconds) == 60 * 60


async def test_a_request_to_stop_ends_the_wait() -> None:
    """Asked to stop, the wait answers that nothing is due."""
    clock = ManualStop(local("2024-05-01T10:00:01"))
    clock.stop_after_waits = 3
    assert await wait(clock) is WakeReason.STOPPED
    assert len(clock.waits_seconds) == 3


async def test_a_request_during_the_wait_is_heard_at_once() -> None:
    """The wait with the real clock ends with the request and not with the hour."""
    stop = Stop()
    due = datetime(9999, 1, 1, tzinfo=UTC)
    waiting = asyncio.create_task(wait_until_due(due, "0 0 1 1 *", HELSINKI, stop, lambda: False))
    asyncio.get_running_loop().call_soon(stop.request)
    async with asyncio.timeout(5):
        assert await waiting is WakeReason.STOPPED


async def test_a_wish_of_an_operator_ends_the_wait() -> None:
    """What an operator wishes for is not put off until the next run is due."""
    clock = ManualStop(local("2024-05-01T10:40:00"))
    wishes = iter([False, False, True])
    due = next_due("0 * * * *", clock.now(HELSINKI))
    assert (
        await wait_until_due(due, "0 * * * *", HELSINKI, clock, lambda: next(wishes), clock.now) is WakeReason.REQUESTED
    )
    assert len(clock.waits_seconds) == 2

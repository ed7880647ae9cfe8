"""The pace of requests: a burst goes at once, and a flood is spread out."""

from shared.runtime.pace import Pace


def test_a_burst_goes_at_once() -> None:
    """After a quiet time, as many as the burst do not wait; the next one waits for one interval."""
    pace = Pace(per_second=10, burst=5)
    assert [round(pace.take(100.0), 3) for _ in range(7)] == [0, 0, 0, 0, 0, 0.1, 0.2]


def test_a_flood_is_spread_out() -> None:
    """However many come, they are evenly spaced in the long run."""
    pace = Pace(per_second=10, burst=1)
    delays = [pace.take(0.0) for _ in range(101)]
    assert round(delays[-1], 3) == 10


def test_what_is_slower_than_the_pace_never_waits() -> None:
    """One request every interval, for as long as it likes."""
    pace = Pace(per_second=10, burst=1)
    assert not any(round(pace.take(number / 10), 6) for number in range(1000))

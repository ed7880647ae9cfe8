"""How fast something may go that shares the event loop with the import. Pure."""


class Pace:
    """Turns, at most `per_second` of them in the long run, and up to `burst` at once after a quiet time."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._interval_seconds = 1 / per_second
        self._burst_seconds = burst / per_second
        self._next_seconds = float("-inf")
        """When the next turn would be due, if all turns were evenly spaced."""

    def take(self, now_seconds: float) -> float:
        """Take the next turn, and return in how many seconds it is; 0 for at once."""
        self._next_seconds = max(self._next_seconds, now_seconds - self._burst_seconds) + self._interval_seconds
        return max(0.0, self._next_seconds - now_seconds)

"""How many entities to ask SISU for at once: more, where larger pages measurably cost less for each entity.

Pure: what a page had, and when it was taken, comes in; an amount comes out. A service begins with the least amount.
After a few pages the double is tried; where an entity takes clearly less time than before it is kept, and the next
double is tried, up to the most. Where it does not, the amount before is gone back to, while the service lasts.

What is timed is the way from one page to the next: fetching and settling side by side, as they bound an import.
"""

from dataclasses import dataclass

from shared.services import Service

_PAGES_OF_A_TRIAL = 3
_CLEARLY = 0.95
"""Below this part of the time before; less than that is noise."""
_MOST_BYTES = 16 * 1024**2
"""A page that is expected to be larger is not asked for: two of them are in memory at a time, with their chunks."""


@dataclass(frozen=True)
class _Page:
    asked: int
    """For so many entities."""
    entities: int
    taken_at_seconds: float


class PageSize:
    """The amount to ask for, between `least` and `most`. Where these are equal, it is always that one."""

    def __init__(self, least: int, most: int) -> None:
        self._least = least
        self._most = most
        self._service: Service | None = None
        self._amount = self._amount_before = least
        self._cost_before: float | None = None
        """Seconds for an entity at the amount before."""
        self._growing = False
        self._before: _Page | None = None
        self._trial: list[tuple[float, int]] = []
        """Seconds and entities of pages of this amount."""

    def of(self, service: Service) -> int:
        """How many entities of `service` to ask for."""
        return self._amount if service == self._service else self._least

    def taken(self, service: Service, asked: int, entities: int, size_bytes: int, now_seconds: float) -> None:
        """A page was fetched, and is settled next; `now_seconds` is of a monotonic clock."""
        if service != self._service:
            self._begin(service)
        before, self._before = self._before, _Page(asked, entities, now_seconds)
        if size_bytes > _MOST_BYTES:
            self._stay_at(max(self._least, self._amount // 2))
        elif self._growing and before and before.asked == asked == self._amount:
            # So long it took to settle the page before, and to fetch this one meanwhile.
            self._trial.append((now_seconds - before.taken_at_seconds, before.entities))
            if len(self._trial) == _PAGES_OF_A_TRIAL:
                self._judge(size_bytes)

    def failed(self, service: Service) -> bool:
        """Asking for the amount has failed; answers whether a smaller one is left, which is the least from now on.

        No larger amount than half of what failed is tried again: SISU's limit, or its time-out, may be there.
        """
        amount = self.of(service)
        if amount == self._least:
            return False
        self._most = max(self._least, amount // 2)
        self._begin(service)
        return True

    def _begin(self, service: Service) -> None:
        self._service = service
        self._amount = self._amount_before = self._least
        self._cost_before = None
        self._growing = self._least < self._most
        self._before = None
        self._trial = []

    def _judge(self, size_bytes: int) -> None:
        cost = sum(seconds for seconds, _ in self._trial) / max(1, sum(entities for _, entities in self._trial))
        self._trial = []
        larger = min(2 * self._amount, self._most)
        if self._cost_before is not None and cost > self._cost_before * _CLEARLY:
            self._stay_at(self._amount_before)
        elif larger == self._amount or size_bytes * larger > _MOST_BYTES * self._amount:
            self._stay_at(self._amount)
        else:
            self._amount_before, self._cost_before, self._amount = self._amount, cost, larger

    def _stay_at(self, amount: int) -> None:
        self._amount, self._growing = amount, False

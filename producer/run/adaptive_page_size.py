"""How many entities to request from SISU at once: more, where larger pages measurably cost less per entity.

Pure: it is told the size of each page and when it came, and returns an amount. A service starts with the minimum. After
a few pages twice the amount is tried; where an entity then takes clearly less time, it is kept and doubled again, up to
the maximum. Where it does not, the previous amount is used for the rest of the service.

It measures the interval between two pages: fetching and settling run concurrently, and both bound an import.
"""

from dataclasses import dataclass

from shared.model.services import Service

_TRIAL_PAGES = 3
_IMPROVEMENT_RATIO = 0.95
"""A larger page must take less than this fraction of the previous time per entity; anything above is noise."""
_MAX_PAGE_BYTES = 16 * 1024**2
"""A page that is expected to be larger is not requested: two of them are in memory at a time, with their chunks."""


@dataclass(frozen=True)
class _Page:
    requested: int
    """Entities asked for."""
    entities: int
    """Entities returned."""
    recorded_at_seconds: float


class AdaptivePageSize:
    """The number of entities to request, between `minimum` and `maximum`; constant where these are equal."""

    def __init__(self, minimum: int, maximum: int) -> None:
        self._minimum = minimum
        self._maximum = maximum
        self._service: Service | None = None
        self._amount = self._amount_before = minimum
        self._cost_before: float | None = None
        """Seconds per entity at the previous amount."""
        self._growing = False
        self._before: _Page | None = None
        self._trial: list[tuple[float, int]] = []
        """Seconds and entities of pages of this amount."""

    def for_service(self, service: Service) -> int:
        """Return how many entities of `service` to request."""
        return self._amount if service == self._service else self._minimum

    def record_page(self, service: Service, requested: int, entities: int, size_bytes: int, now_seconds: float) -> None:
        """Record that a page was fetched, and is settled next; `now_seconds` is of a monotonic clock."""
        if service != self._service:
            self._reset(service)
        before, self._before = self._before, _Page(requested, entities, now_seconds)
        if size_bytes > _MAX_PAGE_BYTES:
            self._stay_at(max(self._minimum, self._amount // 2))
        elif self._growing and before and before.requested == requested == self._amount:
            # The time to settle the previous page, while this one was fetched.
            self._trial.append((now_seconds - before.recorded_at_seconds, before.entities))
            if len(self._trial) == _TRIAL_PAGES:
                self._evaluate(size_bytes)

    def record_failure(self, service: Service) -> bool:
        """Record that requesting the amount failed; return whether a smaller one is left, which is then the minimum.

        No amount above half of what failed is tried again: it may exceed a limit, or the time-out, of SISU.
        """
        amount = self.for_service(service)
        if amount == self._minimum:
            return False
        self._maximum = max(self._minimum, amount // 2)
        self._reset(service)
        return True

    def _reset(self, service: Service) -> None:
        self._service = service
        self._amount = self._amount_before = self._minimum
        self._cost_before = None
        self._growing = self._minimum < self._maximum
        self._before = None
        self._trial = []

    def _evaluate(self, size_bytes: int) -> None:
        cost = sum(seconds for seconds, _ in self._trial) / max(1, sum(entities for _, entities in self._trial))
        self._trial = []
        larger = min(2 * self._amount, self._maximum)
        if self._cost_before is not None and cost > self._cost_before * _IMPROVEMENT_RATIO:
            self._stay_at(self._amount_before)
        elif larger == self._amount or size_bytes * larger > _MAX_PAGE_BYTES * self._amount:
            self._stay_at(self._amount)
        else:
            self._amount_before, self._cost_before, self._amount = self._amount, cost, larger

    def _stay_at(self, amount: int) -> None:
        self._amount, self._growing = amount, False

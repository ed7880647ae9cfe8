"""What a run has learnt of SISU: which services not to request any more in it, and how often to try others. Pure.

It keeps a run bounded, however much of SISU fails, and is forgotten with the run: the next one tries everything again.
"""

from collections import Counter
from collections.abc import Callable

from shared.model.errors import (
    FetchError,
    ServiceForbiddenError,
    SisuConnectionError,
    SisuUnauthorizedError,
    SisuUnavailableError,
)
from shared.model.records import Result
from shared.model.services import Service
from shared.sisu.requester import uses_credentials

_TIMEOUTS_IN_A_ROW = 3
"""After as many services of an address that timed out, further ones get a single attempt each."""


class SisuConditions:
    """The conditions of one run after another, by base URL and by credentials."""

    def __init__(self, base_url: Callable[[Service], str]) -> None:
        self._base_url = base_url
        self.clear()

    def clear(self) -> None:
        """Forget everything: a new run begins."""
        self._unauthorized: dict[bool, str] = {}
        """Whether credentials were sent → why they, or requests without any, were rejected."""
        self._unavailable: dict[str, str] = {}
        """Base URL → the long pause that it requested."""
        self._unreachable: set[str] = set()
        """Base URLs to which no connection could be made."""
        self._timeouts: Counter[str] = Counter()
        """Base URL → services in a row that timed out."""

    def unrequested_outcome(self, service: Service) -> tuple[Result, str] | None:
        """Return the outcome of a service that is not requested in this run, with the reason; None for any other."""
        if reason := self._unauthorized.get(uses_credentials(service)):
            return "failed", f"{service.name}: {reason}"
        if reason := self._unavailable.get(self._base_url(service)):
            return "skipped", reason
        return None

    def is_unreachable(self, service: Service) -> bool:
        """Return whether the last connection to the service's address could not be made."""
        return self._base_url(service) in self._unreachable

    def attempts(self, service: Service) -> int | None:
        """Return how often to try a request of the service: once where it probably fails; None for the usual number."""
        is_doubtful = self.is_unreachable(service) or self._timeouts[self._base_url(service)] >= _TIMEOUTS_IN_A_ROW
        return 1 if is_doubtful else None

    def record_response(self, service: Service) -> None:
        """Note that SISU responded to a request of the service."""
        self._unreachable.discard(self._base_url(service))
        self._timeouts[self._base_url(service)] = 0

    def record_failure(self, service: Service, error: Exception) -> None:
        """Note that a service failed, for whatever reason."""
        base_url = self._base_url(service)
        if isinstance(error, SisuUnauthorizedError):
            self._unauthorized[uses_credentials(service)] = error.reason
        elif isinstance(error, SisuUnavailableError):
            self._unavailable[base_url] = error.reason
        elif isinstance(error, SisuConnectionError):
            self._unreachable.add(base_url)
        elif isinstance(error, FetchError) and error.timed_out:
            self._unreachable.discard(base_url)
            self._timeouts[base_url] += 1
        elif isinstance(error, FetchError | ServiceForbiddenError):
            self.record_response(service)

"""The faults that the simulator can be told to have, and when.

What a fault does to a response is in `demo.sisu.responses`, what it does to a connection in `demo.sisu.http_server`.
"""

import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from shared.model.services import Service


class FaultKind(StrEnum):
    """The ways in which SISU, or a proxy before it, can fail. In brackets: the fields of `Fault` that matter."""

    # For any response.
    STATUS = "status"
    """A status other than 200 [status, retry_after, retry_after_date_seconds, headers]."""
    HTML = "html"
    """A web page, with status 200."""
    HANG = "hang"
    """No response until the fault is released; then the right one."""
    DRIP = "drip"
    """The right response, byte by byte [pause_seconds]; the rest at once when the fault is released."""
    TRUNCATED = "truncated"
    """A part of the body [after_bytes], with its own Content-Length, or, unless [honest_length], that of the whole."""
    RESET = "reset"
    """A part of the body [after_bytes], then the connection is reset."""
    INVALID_UTF8 = "invalid_utf8"
    """A byte in a string of the body that is invalid in UTF-8."""
    # For exports only.
    EMPTY_PAGE = "empty_page"
    """No entities, but hasMore; with `progress` the ordinal advances, but passes no entity. When there is no ordinal
    left before the next entity (after some such pages in a row) the response is the right one."""
    IDLE_PAGE = "idle_page"
    """No entities and no more of them, with any greatestOrdinal [ordinal]."""
    NO_PROGRESS = "no_progress"
    """Entities and hasMore, but greatestOrdinal stays at `since`."""
    ORDINAL_BACK = "ordinal_back"
    """greatestOrdinal is one less than `since`."""
    ORDINAL_NULL = "ordinal_null"
    ORDINAL_STRING = "ordinal_string"
    """The right number, in quotes."""
    ORDINAL_HUGE = "ordinal_huge"
    """2^53 + 1, which becomes another number in a parser that uses doubles."""
    ORDINAL_MISSING = "ordinal_missing"
    NOT_A_LIST = "not_a_list"
    """`entities` is an object."""
    TWICE = "twice"
    """The first entity of the page is repeated at its end."""
    INCLUSIVE = "inclusive"
    """Entities from `since` on, not only those after it."""
    TOO_MANY = "too_many"
    """Up to `factor` times as many entities as the limit allows."""
    # For GraphQL only.
    GRAPHQL_ERRORS = "graphql_errors"
    """Status 200, errors and no data."""


_FOR_ANY_RESPONSE = frozenset(list(FaultKind)[:7])
HUGE_ORDINAL = 2**53 + 1


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault. Which details matter depends on its kind."""

    kind: FaultKind
    service: str | None = None
    """None: any service that can have such a fault."""
    times: int | None = 1
    """How many requests it hits; None: all, until it is released."""
    skip: int = 0
    """How many requests that it could hit it spares first."""
    status: int = 500
    retry_after: int | str | None = None
    """The header Retry-After as it is."""
    retry_after_date_seconds: float | None = None
    """The header Retry-After as a date, relative to the time of the response (dates have whole seconds)."""
    headers: Mapping[str, str] = {}
    after_bytes: int | None = None
    """None: half of the body."""
    pause_seconds: float = 0.01
    honest_length: bool = True
    progress: bool = True
    ordinal: int | None = None
    factor: int = 2

    def applies_to(self, service: Service) -> bool:
        """Return whether it can hit requests of this service."""
        if self.service not in (None, service.name):
            return False
        if self.kind is FaultKind.GRAPHQL_ERRORS:
            return bool(service.query)
        return service.api.is_export or self.kind in _FOR_ANY_RESPONSE

    def passed_bytes(self, body: bytes) -> int:
        """Return how many bytes of the body it lets pass."""
        return len(body) // 2 if self.after_bytes is None else min(self.after_bytes, len(body))


class ArmedFault:
    """A fault that was requested, as `SisuSimulator.fault` returns it."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        """How many requests it has hit."""
        self.released = threading.Event()
        self._skipped = 0

    def release(self) -> None:
        """Complete the responses that it holds back, and hit no more requests."""
        self.released.set()

    def hit(self, service: Service) -> bool:
        """Return whether it hits this request of the service, and count the hit."""
        spent = self.released.is_set() or (self.fault.times is not None and self.hits >= self.fault.times)
        if spent or not self.fault.applies_to(service):
            return False
        if self._skipped < self.fault.skip:
            self._skipped += 1
            return False
        self.hits += 1
        return True


class Faults:
    """The armed faults, in the order in which they were requested. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[ArmedFault] = []

    def arm(self, services: Mapping[str, Service], kind: str, details: Mapping[str, Any]) -> ArmedFault:
        """Arm a fault and return it. Raises ValueError, with the reason, for one that could never happen."""
        try:
            fault = msgspec.convert({"kind": kind, **details}, Fault)
        except msgspec.ValidationError as error:
            raise ValueError(f"no such fault: {error}") from error
        if fault.service is not None and fault.service not in services:
            raise ValueError(f"no such service: {fault.service}")
        if not any(fault.applies_to(service) for service in services.values()):
            raise ValueError(f"{fault.service or 'no service here'} cannot have the fault {fault.kind}")
        armed = ArmedFault(fault)
        with self._lock:
            self._armed.append(armed)
        return armed

    def next_for(self, service: Service) -> ArmedFault | None:
        """Return the fault that hits this request, or None."""
        with self._lock:
            return next((armed for armed in self._armed if armed.hit(service)), None)

    def release(self) -> None:
        """Release all faults."""
        with self._lock:
            for armed in self._armed:
                armed.release()
            self._armed.clear()

"""What the simulator can be told to do wrong, and when. What each fault does to an answer is in `demo.sisu_http`."""

import threading
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import msgspec

from shared.services import Service


class FaultKind(StrEnum):
    """The ways of a SISU, or of what stands before it, to fail. In brackets: what it looks at in a Fault."""

    # Of any answer.
    STATUS = "status"
    """Another status than 200 [status, retry_after, retry_after_date_seconds, headers]."""
    HTML = "html"
    """A web page, with status 200."""
    HANG = "hang"
    """No answer until the fault is released; then the right one."""
    DRIP = "drip"
    """The right answer, byte by byte [pause_seconds]; the rest at once when the fault is released."""
    TRUNCATED = "truncated"
    """A part of the body [after_bytes], with its own Content-Length, or, unless [honest_length], that of the whole."""
    RESET = "reset"
    """A part of the body [after_bytes], then the connection is reset."""
    INVALID_UTF8 = "invalid_utf8"
    """A byte in a string of the body that UTF-8 does not have."""
    # Of exports only.
    EMPTY_PAGE = "empty_page"
    """No entities, but hasMore; with `progress` the ordinal advances, yet passes no entity. Where there is no ordinal
    left before the next entity (after some such pages in a row) the answer is the right one."""
    NO_PROGRESS = "no_progress"
    """Entities and hasMore, but greatestOrdinal stays at `since`."""
    ORDINAL_BACK = "ordinal_back"
    """greatestOrdinal is one less than `since`."""
    ORDINAL_NULL = "ordinal_null"
    ORDINAL_STRING = "ordinal_string"
    """The right number, in quotes."""
    ORDINAL_HUGE = "ordinal_huge"
    """2^53 + 1, which is no more than a number to us but another one to those who count in doubles."""
    ORDINAL_MISSING = "ordinal_missing"
    NOT_A_LIST = "not_a_list"
    """`entities` is an object."""
    TWICE = "twice"
    """The first entity of the page stands at its end once more."""
    INCLUSIVE = "inclusive"
    """Entities from `since` on, not after it."""
    TOO_MANY = "too_many"
    """`factor` times as many entities as the limit allows, as far as there are so many."""
    # Of GraphQL only.
    GRAPHQL_ERRORS = "graphql_errors"
    """Status 200, errors and no data."""


_OF_ANY_ANSWER = frozenset(list(FaultKind)[:7])
HUGE_ORDINAL = 2**53 + 1


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One thing to do wrong. Which details matter depends on its kind."""

    kind: FaultKind
    service: str | None = None
    """None: any service that can have such a fault."""
    times: int | None = 1
    """How many requests it hits; None: all, until it is released."""
    skip: int = 0
    """How many requests, that it could hit, it leaves alone first."""
    status: int = 500
    retry_after: int | str | None = None
    """The header Retry-After as it is."""
    retry_after_date_seconds: float | None = None
    """The header Retry-After as a date, so far from the moment of the answer (dates have whole seconds)."""
    headers: Mapping[str, str] = {}
    after_bytes: int | None = None
    """None: half of the body."""
    pause_seconds: float = 0.01
    honest_length: bool = True
    progress: bool = True
    factor: int = 2

    def fits(self, service: Service) -> bool:
        """Whether it can hit requests of this service."""
        if self.service not in (None, service.name):
            return False
        if self.kind is FaultKind.GRAPHQL_ERRORS:
            return bool(service.query)
        return service.api.is_export or self.kind in _OF_ANY_ANSWER

    def part(self, body: bytes) -> int:
        """How many bytes of the body it lets pass."""
        return len(body) // 2 if self.after_bytes is None else min(self.after_bytes, len(body))


class ArmedFault:
    """A fault that was asked for; what `SisuSimulator.fault` answers."""

    def __init__(self, fault: Fault) -> None:
        self.fault = fault
        self.hits = 0
        """How many requests it has hit."""
        self.released = threading.Event()
        self._passed = 0

    def release(self) -> None:
        """Let go on those who hang or drip, and hit nobody any more."""
        self.released.set()

    def take(self, service: Service) -> bool:
        """Whether it hits this request of the service, which is counted."""
        spent = self.released.is_set() or (self.fault.times is not None and self.hits >= self.fault.times)
        if spent or not self.fault.fits(service):
            return False
        if self._passed < self.fault.skip:
            self._passed += 1
            return False
        self.hits += 1
        return True


class Faults:
    """The faults that are armed, in the order in which they were asked for. Safe for several threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: list[ArmedFault] = []

    def arm(self, services: Mapping[str, Service], kind: str, details: Mapping[str, Any]) -> ArmedFault:
        """Arm a fault. Raises ValueError for one that could never happen, with the reason."""
        try:
            fault = msgspec.convert({"kind": kind, **details}, Fault)
        except msgspec.ValidationError as error:
            raise ValueError(f"no such fault: {error}") from error
        if fault.service is not None and fault.service not in services:
            raise ValueError(f"no such service: {fault.service}")
        if not any(fault.fits(service) for service in services.values()):
            raise ValueError(f"{fault.service or 'no service here'} cannot have the fault {fault.kind}")
        armed = ArmedFault(fault)
        with self._lock:
            self._armed.append(armed)
        return armed

    def next_for(self, service: Service) -> ArmedFault | None:
        """The fault that hits this request, if any does."""
        with self._lock:
            return next((armed for armed in self._armed if armed.take(service)), None)

    def release(self) -> None:
        """Release all."""
        with self._lock:
            for armed in self._armed:
                armed.release()
            self._armed.clear()

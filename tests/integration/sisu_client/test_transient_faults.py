"""Transient faults are retried, within limits: invalid responses, no response, and a SISU that is not running."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from demo.sisu.simulator import SisuSimulator
from shared.model.errors import FetchError, SisuNoResponseError, SisuUnavailableError
from shared.model.services import Service
from shared.sisu.client import SisuClient
from shared.sisu.http import retry_after_seconds
from tests.integration.sisu_client.harness import (
    COUNTRY,
    PERIODS,
    PERSON,
    PLAN,
    SCALES,
    NoCache,
    bodies,
    client_of,
    settings_for,
)
from tests.support.waiting import wait_until_async

TRANSIENT = [
    pytest.param("status", {"status": 500}, id="500"),
    pytest.param("status", {"status": 502}, id="502"),
    pytest.param("status", {"status": 503}, id="503"),
    pytest.param("status", {"status": 504}, id="504"),
    *(pytest.param("status", {"status": status}, id=str(status)) for status in (408, 421, 423, 425, 429)),
    pytest.param("ordinal_back", {}, id="a lagging replica"),
    pytest.param("html", {}, id="a web page"),
    pytest.param("truncated", {}, id="cut off"),
    pytest.param("truncated", {"after_bytes": 0}, id="nothing"),
    pytest.param("truncated", {"honest_length": False}, id="shorter than announced"),
    pytest.param("truncated", {"honest_length": False, "after_bytes": 0}, id="nothing of what was announced"),
    pytest.param("reset", {}, id="reset"),
    pytest.param("reset", {"after_bytes": 0}, id="reset before the body"),
    pytest.param("invalid_utf8", {}, id="bad UTF-8"),
]


@pytest.mark.parametrize(("kind", "details"), TRANSIENT)
async def test_a_fault_that_passes_is_survived(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """After five faulty responses the sixth one is used, and contains nothing of the faulty ones."""
    sisu.fault(kind, service="PERSON", times=5, **details)
    batch = await client_of(sisu).fetch(PERSON, 0)
    assert bodies(batch) == [body for _, body in sisu.expected("PERSON").values()]
    assert len(sisu.requests) == 6


@pytest.mark.parametrize(("kind", "details"), TRANSIENT)
async def test_a_fault_that_does_not_pass_fails_the_service(
    sisu: SisuSimulator, kind: str, details: dict[str, Any]
) -> None:
    """After six attempts the service fails, with the address, the reason and the number of attempts."""
    fault = sisu.fault(kind, service="PERSON", times=None, **details)
    with pytest.raises(FetchError, match=r"PERSON: SISU at http://127.0.0.1:\d+: .* \(6 attempts\)"):
        await client_of(sisu).fetch(PERSON, 0)
    assert fault.hits == 6


@pytest.mark.parametrize("service", [COUNTRY, SCALES, PERIODS], ids=lambda service: service.name)
@pytest.mark.parametrize("kind", ["html", "truncated", "invalid_utf8"])
async def test_one_time_services_are_retried_too(sisu: SisuSimulator, service: Service, kind: str) -> None:
    """Faults are retried for every kind of API."""
    sisu.fault(kind, service=service.name)
    assert (await client_of(sisu).fetch(service, 0)).entities
    assert len(sisu.requests) == 2


async def test_backoffs_grow(sisu: SisuSimulator, backoffs: list[float]) -> None:
    """Each backoff between attempts is twice the previous one."""
    sisu.fault("status", service="PERSON", times=None)
    client = SisuClient(settings_for(sisu.uri), NoCache())  # type: ignore[arg-type]
    with pytest.raises(FetchError):
        await client.fetch(PERSON, 0)
    assert backoffs == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("seconds", [7, 900])
async def test_retry_after_in_seconds_is_honoured(
    sisu: SisuSimulator, backoffs: list[float], status: int, seconds: int
) -> None:
    """The backoff is the number of seconds that SISU asks for, if that is longer than the own backoff."""
    sisu.fault("status", service="PERSON", status=status, retry_after=seconds)
    await client_of(sisu).fetch(PERSON, 0)
    assert backoffs == [seconds]


async def test_retry_after_as_a_date_is_honoured(sisu: SisuSimulator, backoffs: list[float]) -> None:
    """The backoff lasts until the date that SISU names; a date in the past has no effect."""
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=100)
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=-100)
    await client_of(sisu).fetch(PERSON, 0)
    future, past = backoffs
    assert 95 < future <= 100
    assert past == 0.002, "its own backoff"


@pytest.mark.parametrize(
    "header", [{"retry_after": 901}, {"retry_after": "9" * 400}, {"retry_after_date_seconds": 3600}]
)
async def test_a_retry_after_that_is_too_long_fails_the_service(sisu: SisuSimulator, header: dict[str, Any]) -> None:
    """A Retry-After of more than a quarter of an hour fails the service at once, with its own error and that reason."""
    sisu.fault("status", service="PERSON", status=503, times=None, **header)
    with pytest.raises(SisuUnavailableError, match=r"returned 503 with Retry-After \d+ s, longer than a run waits"):
        await client_of(sisu).fetch(PERSON, 0)
    assert len(sisu.requests) == 1


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("-5", 0),
        ("0", 0),
        (" 7 ", 7),
        ("Mon, 01 Jan 2001 00:00:00 GMT", 0),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("Mon, 99 Jan 2001 00:00:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 +9999999999999", None),
        ("Wed, 21 Oct 2026 07:28:00 -9999", None),
        ("Fri, 31 Dec 9999 23:59:59 -2359", None),
        ("9" * 5000, None),
        ("\x00, , ,", None),
    ],
)
def test_any_retry_after_is_parsed_or_ignored(header: str | None, seconds: float | None) -> None:
    """A value that is neither seconds nor a date is ignored, and no value means less than zero seconds."""
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("date", "seconds"), [("Mon, 01 Jan 2001 00:00:00 GMT", 90), ("yesterday", 0), (None, 0)])
def test_a_retry_after_date_is_relative_to_the_date_header(date: str | None, seconds: float) -> None:
    """The backoff is the time from SISU's `Date` to its `Retry-After`; without a valid `Date`, from the local time."""
    assert retry_after_seconds("Mon, 01 Jan 2001 00:01:30 GMT", date) == seconds


async def test_a_retry_after_beyond_any_float_is_parsed() -> None:
    """A number of seconds that no float can represent counts as a long time, and causes no error."""
    assert (retry_after_seconds("9" * 400) or 0) > 15 * 60


@pytest.mark.parametrize("state", ["backing off", "hanging"])
async def test_a_fetch_can_be_cancelled(sisu: SisuSimulator, state: str) -> None:
    """A backoff, or a request without a response, ends when its task is cancelled, and delays no later fetch."""
    if state == "hanging":
        sisu.fault("hang", service="PERSON")
    else:
        sisu.fault("status", service="PERSON", status=503, retry_after=900)
    client = client_of(sisu)
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await wait_until_async(lambda: sisu.requests, "SISU gets the request")
    fetching.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert (await client.fetch(PLAN, 0)).entities


@pytest.mark.parametrize(
    ("kind", "details"), [("hang", {}), ("drip", {"pause_seconds": 0.02})], ids=["hanging", "dripping"]
)
async def test_no_attempt_exceeds_its_timeout(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """A SISU that sends nothing, or a byte from time to time, fails after the configured time."""
    sisu.fault(kind, service="PERSON", times=None, **details)
    async with asyncio.timeout(5):
        with pytest.raises(FetchError, match=r"no response within 0\.3 s|took too long"):
            await client_of(sisu, attempts=2, sis_timeout_seconds=0.3).fetch(PERSON, 0)
    assert len([request for request in sisu.requests if request.fault == kind]) == 2


async def test_a_slow_response_within_the_timeout_is_accepted(sisu: SisuSimulator) -> None:
    """A response that takes long, but less than the time-out, is not retried."""
    sisu.latency_seconds = 0.3
    assert (await client_of(sisu, sis_timeout_seconds=5).fetch(PERSON, 0)).entities
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("service", [PERSON, COUNTRY], ids=lambda service: service.name)
async def test_a_sisu_that_is_not_running_has_its_own_error(sisu: SisuSimulator, service: Service) -> None:
    """If no server listens, the error says so, and its class shows that other services need not be tried."""
    sisu.stop()
    with pytest.raises(SisuNoResponseError, match=rf"{service.name}: SISU at .*: no connection: Connection refused"):
        await client_of(sisu).fetch(service, 0)


async def test_an_unknown_host_is_reported() -> None:
    """A host name that cannot be resolved is named in the error."""
    with pytest.raises(SisuNoResponseError, match=r"SISU at http://sisu\.invalid: no connection: "):
        await client_of("http://sisu.invalid", attempts=1).fetch(PERSON, 0)


async def test_a_sisu_that_returns_is_reached(sisu: SisuSimulator, backoffs: list[float]) -> None:
    """Attempts continue while no server listens, and succeed when SISU is running again."""
    client = client_of(sisu)
    assert (await client.fetch(PERSON, 0)).entities
    sisu.stop()
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await _turn_until(lambda: bool(backoffs))
    sisu.start()
    assert (await fetching).entities


async def _turn_until(condition: Callable[[], bool]) -> None:
    """Wait like `wait_until_async`, for a test in which `asyncio.sleep` is replaced."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(lambda: None)

"""What may pass is tried again, for so long and no longer: bad answers, silence, and a SISU that is not there."""

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

PASSING = [
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


@pytest.mark.parametrize(("kind", "details"), PASSING)
async def test_a_fault_that_passes_is_outlived(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """After five bad answers the sixth counts, and nothing of the bad ones is left in it."""
    sisu.fault(kind, service="PERSON", times=5, **details)
    batch = await client_of(sisu).fetch(PERSON, 0)
    assert bodies(batch) == [body for _, body in sisu.expected("PERSON").values()]
    assert len(sisu.requests) == 6


@pytest.mark.parametrize(("kind", "details"), PASSING)
async def test_a_fault_that_does_not_pass_is_given_up(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """After six attempts the service has failed, with the address, the reason and the number of attempts."""
    armed = sisu.fault(kind, service="PERSON", times=None, **details)
    with pytest.raises(FetchError, match=r"PERSON: SISU at http://127.0.0.1:\d+: .* \(6 attempts\)"):
        await client_of(sisu).fetch(PERSON, 0)
    assert armed.hits == 6


@pytest.mark.parametrize("service", [COUNTRY, SCALES, PERIODS], ids=lambda service: service.name)
@pytest.mark.parametrize("kind", ["html", "truncated", "invalid_utf8"])
async def test_one_time_services_are_asked_again_too(sisu: SisuSimulator, service: Service, kind: str) -> None:
    """Every kind of API has the same patience."""
    sisu.fault(kind, service=service.name)
    assert (await client_of(sisu).fetch(service, 0)).entities
    assert len(sisu.requests) == 2


async def test_pauses_grow(sisu: SisuSimulator, pauses: list[float]) -> None:
    """Each pause between attempts is twice the one before."""
    sisu.fault("status", service="PERSON", times=None)
    client = SisuClient(settings_for(sisu.uri), NoCache())  # type: ignore[arg-type]
    with pytest.raises(FetchError):
        await client.fetch(PERSON, 0)
    assert pauses == [1, 2, 4, 8, 16]


@pytest.mark.parametrize("status", [429, 503])
@pytest.mark.parametrize("asked", [7, 900])
async def test_retry_after_in_seconds_is_honoured(
    sisu: SisuSimulator, pauses: list[float], status: int, asked: int
) -> None:
    """SISU is given the seconds that it asks for, where they are more than the usual pause."""
    sisu.fault("status", service="PERSON", status=status, retry_after=asked)
    await client_of(sisu).fetch(PERSON, 0)
    assert pauses == [asked]


async def test_retry_after_as_a_date_is_honoured(sisu: SisuSimulator, pauses: list[float]) -> None:
    """SISU is given the time up to the moment that it names; one in the past asks for nothing."""
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=100)
    sisu.fault("status", service="PERSON", status=503, retry_after_date_seconds=-100)
    await client_of(sisu).fetch(PERSON, 0)
    ahead, past = pauses
    assert 95 < ahead <= 100
    assert past == 0.002, "its own pause"


@pytest.mark.parametrize(
    "header", [{"retry_after": 901}, {"retry_after": "9" * 400}, {"retry_after_date_seconds": 3600}]
)
async def test_a_wait_longer_than_a_run_is_refused(sisu: SisuSimulator, header: dict[str, Any]) -> None:
    """Asked to wait for more than a quarter of an hour, the service fails at once with an error of its own."""
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
def test_any_retry_after_is_understood_or_ignored(header: str | None, seconds: float | None) -> None:
    """What is neither seconds nor a date is as if it were not there, and nothing asks for less than no time."""
    assert retry_after_seconds(header) == seconds


@pytest.mark.parametrize(("date", "seconds"), [("Mon, 01 Jan 2001 00:00:00 GMT", 90), ("yesterday", 0), (None, 0)])
def test_a_date_is_read_by_the_clock_of_the_one_who_wrote_it(date: str | None, seconds: float) -> None:
    """Whatever SISU's clock shows, the pause is from its `Date` to its `Retry-After`; without one, from our time."""
    assert retry_after_seconds("Mon, 01 Jan 2001 00:01:30 GMT", date) == seconds


async def test_an_endless_number_is_longer_than_any_wait() -> None:
    """A number of seconds that no float can hold is a long time, and no crash."""
    assert (retry_after_seconds("9" * 400) or 0) > 15 * 60


@pytest.mark.parametrize("how", ["asked to wait", "hanging"])
async def test_a_fetch_can_be_abandoned(sisu: SisuSimulator, how: str) -> None:
    """A long pause or a request without an answer ends with the one who waits, and the next fetch is not held up."""
    if how == "hanging":
        sisu.fault("hang", service="PERSON")
    else:
        sisu.fault("status", service="PERSON", status=503, retry_after=900)
    client = client_of(sisu)
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await wait_until_async(lambda: sisu.requests, "SISU is asked")
    fetching.cancel()
    async with asyncio.timeout(5):
        with pytest.raises(asyncio.CancelledError):
            await fetching
        assert (await client.fetch(PLAN, 0)).entities


@pytest.mark.parametrize(
    ("kind", "details"), [("hang", {}), ("drip", {"pause_seconds": 0.02})], ids=["hanging", "dripping"]
)
async def test_no_attempt_takes_longer_than_it_may(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """A SISU that says nothing, or a byte now and then for ever, is given up after the time that the settings allow."""
    sisu.fault(kind, service="PERSON", times=None, **details)
    async with asyncio.timeout(5):
        with pytest.raises(FetchError, match=r"no response within 0\.3 s|took too long"):
            await client_of(sisu, attempts=2, sis_timeout_seconds=0.3).fetch(PERSON, 0)
    assert len([request for request in sisu.requests if request.fault == kind]) == 2


async def test_a_slow_answer_within_its_time_is_read(sisu: SisuSimulator) -> None:
    """An answer that takes long, but not too long, is as good as a quick one."""
    sisu.latency_seconds = 0.3
    assert (await client_of(sisu, sis_timeout_seconds=5).fetch(PERSON, 0)).entities
    assert len(sisu.requests) == 1


@pytest.mark.parametrize("service", [PERSON, COUNTRY], ids=lambda service: service.name)
async def test_nobody_there_is_told_apart(sisu: SisuSimulator, service: Service) -> None:
    """Where nobody listens the error says so, and that other services need not be tried."""
    sisu.stop()
    with pytest.raises(SisuNoResponseError, match=rf"{service.name}: SISU at .*: no connection: Connection refused"):
        await client_of(sisu).fetch(service, 0)


async def test_an_unknown_host_is_told() -> None:
    """A name that nobody knows is named."""
    with pytest.raises(SisuNoResponseError, match=r"SISU at http://sisu\.invalid: no connection: "):
        await client_of("http://sisu.invalid", attempts=1).fetch(PERSON, 0)


async def test_a_sisu_that_comes_back_is_found(sisu: SisuSimulator, pauses: list[float]) -> None:
    """Attempts go on while nobody listens, and reach the one who does then."""
    client = client_of(sisu)
    assert (await client.fetch(PERSON, 0)).entities
    sisu.stop()
    fetching = asyncio.create_task(client.fetch(PERSON, 0))
    await _turn_until(lambda: bool(pauses))
    sisu.start()
    assert (await fetching).entities


async def _turn_until(condition: Callable[[], bool]) -> None:
    """As `wait_until_async`, where `asyncio.sleep` is replaced."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.to_thread(lambda: None)

"""Each fault of the simulator has its effect, the requested number of times, and no other effect."""

import datetime as dt
import http.client
import json
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import pytest
import requests

from demo.sisu.simulator import FaultKind, SisuSimulator
from shared.model.services import choose_services, load_services
from tests.support.sisu import PERSONS, TIMEOUT_SECONDS, get
from tests.support.waiting import wait_until

PERSON_AND_MORE = choose_services(load_services(), ["PERSON", "PLAN", "COUNTRY", "GRAPHQL_GRADE_SCALES"])
Raw = Callable[[], http.client.HTTPConnection]
COUNTRIES = "/kori/api/cached/codebooks/urn:code:country"


@pytest.fixture
def sisu() -> Iterator[SisuSimulator]:
    """Start a small SISU without faults."""
    with SisuSimulator(size=120, services=PERSON_AND_MORE) as simulator:
        yield simulator


@pytest.fixture
def raw(sisu: SisuSimulator) -> Iterator[Raw]:
    """Return a function that sends a request for persons, and returns the connection to read the response from."""
    with ExitStack() as stack:

        def send() -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", sisu.port, timeout=TIMEOUT_SECONDS)
            stack.callback(connection.close)
            connection.request("GET", PERSONS)
            return connection

        yield send


@pytest.mark.parametrize("status", [500, 502, 503, 429, 401, 403])
def test_a_status(sisu: SisuSimulator, status: int) -> None:
    """A status is returned the requested number of times, then the right response, and the log shows the fault."""
    right = get(sisu, PERSONS).content
    sisu.fault("status", status=status, times=2)
    responses = [get(sisu, PERSONS) for _ in range(3)]
    assert [response.status_code for response in responses] == [status, status, 200]
    assert responses[2].content == right
    assert not any("Retry-After" in response.headers for response in responses)
    assert [(each.status, each.entities, each.fault) for each in sisu.requests[1:3]] == [(status, 0, "status")] * 2


def test_retry_after(sisu: SisuSimulator) -> None:
    """A status can have a Retry-After in seconds, as a date or with any text, and other headers."""
    sisu.fault("status", status=429, retry_after=7)
    sisu.fault("status", status=503, retry_after_date_seconds=60)
    sisu.fault("status", status=503, retry_after="soon")
    sisu.fault("status", status=302, headers={"Location": "https://login.example.fi/"})
    assert get(sisu, PERSONS).headers["Retry-After"] == "7"
    retry_at = parsedate_to_datetime(get(sisu, PERSONS).headers["Retry-After"])
    assert abs((retry_at - dt.datetime.now(dt.UTC)).total_seconds() - 60) < 20
    assert get(sisu, PERSONS).headers["Retry-After"] == "soon"
    redirect = requests.get(sisu.uri + PERSONS, allow_redirects=False, timeout=TIMEOUT_SECONDS)
    assert (redirect.status_code, redirect.headers["Location"]) == (302, "https://login.example.fi/")


def test_a_hang_lasts_until_it_is_released(sisu: SisuSimulator) -> None:
    """No byte is sent before the fault is released, and then the right response."""
    right = get(sisu, PERSONS).content
    fault = sisu.fault("hang", times=None)
    with socket.create_connection(("127.0.0.1", sisu.port), TIMEOUT_SECONDS) as connection:
        connection.sendall(f"GET {PERSONS} HTTP/1.1\r\nConnection: close\r\n\r\n".encode())
        wait_until(lambda: len(sisu.requests) == 2, "the request hangs")
        assert (sisu.requests[1].status, sisu.requests[1].fault) == (0, "hang")
        connection.setblocking(False)
        with pytest.raises(BlockingIOError):
            connection.recv(1)
        connection.settimeout(TIMEOUT_SECONDS)
        fault.release()
        assert b"".join(iter(lambda: connection.recv(1 << 20), b"")).endswith(right)
    assert get(sisu, PERSONS).content == right


def test_a_hang_ends_with_the_simulator(sisu: SisuSimulator, raw: Raw) -> None:
    """A request that hangs when the simulator stops gets no response, and its connection ends."""
    sisu.fault("hang")
    connection = raw()
    wait_until(lambda: sisu.requests, "the request hangs")
    sisu.stop()
    with pytest.raises(ConnectionError):
        connection.getresponse()


def test_other_requests_are_served_while_one_hangs(sisu: SisuSimulator, raw: Raw) -> None:
    """A hang affects one connection only."""
    sisu.fault("hang", service="PERSON")
    raw()
    assert get(sisu, COUNTRIES).ok


def test_a_drip_sends_single_bytes(sisu: SisuSimulator, raw: Raw) -> None:
    """The headers are sent at once, and the body in single bytes until the fault is released."""
    right = get(sisu, PERSONS).content
    fault = sisu.fault("drip", pause_seconds=0.001)
    response = raw().getresponse()
    assert response.getheader("Content-Length") == str(len(right))
    start = b"".join(response.read1(1000) for _ in range(3))
    assert len(start) < 1000
    fault.release()
    assert start + response.read() == right


def test_truncated_with_its_own_length(sisu: SisuSimulator) -> None:
    """The truncated body is a complete HTTP response with its own Content-Length."""
    right = get(sisu, PERSONS).content
    sisu.fault("truncated", times=2, after_bytes=100)
    response = get(sisu, PERSONS)
    assert response.content == right[:100]
    assert response.headers["Content-Length"] == "100"


def test_truncated_with_the_whole_length(sisu: SisuSimulator, raw: Raw) -> None:
    """With the Content-Length of the whole body, the connection ends after half of it."""
    right = get(sisu, PERSONS).content
    sisu.fault("truncated", honest_length=False)
    with pytest.raises(http.client.IncompleteRead) as raised:
        raw().getresponse().read()
    assert raised.value.partial == right[: len(right) // 2]


@pytest.mark.parametrize("after_bytes", [0, 100, None])
def test_a_reset(sisu: SisuSimulator, raw: Raw, after_bytes: int | None) -> None:
    """The connection is reset in the body, not closed."""
    right = get(sisu, PERSONS).content
    sisu.fault("reset", after_bytes=after_bytes)
    connection = raw()
    with pytest.raises(ConnectionResetError):
        connection.getresponse().read()
    assert get(sisu, PERSONS).content == right
    assert [(each.status, each.entities, each.fault) for each in sisu.requests][1] == (200, 0, "reset")


def test_a_web_page(sisu: SisuSimulator) -> None:
    """A login page is returned with status 200."""
    sisu.fault("html")
    response = get(sisu, PERSONS)
    assert (response.status_code, response.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert response.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("since", [0, 10**9])
def test_invalid_utf8(sisu: SisuSimulator, since: int) -> None:
    """One byte in a string is not UTF-8; without it, the body is the right one."""
    right = get(sisu, PERSONS, since=since).content
    sisu.fault("invalid_utf8")
    body = get(sisu, PERSONS, since=since).content
    assert body.replace(b"\xff", b"") == right
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    json.loads(body.decode(errors="replace"))


# --- when a fault takes effect ---------------------------------------------------------------------------------------


def test_a_fault_affects_its_service_only(sisu: SisuSimulator) -> None:
    """Requests for other services are neither affected nor counted."""
    fault = sisu.fault("status", service="COUNTRY", status=500)
    assert get(sisu, PERSONS).ok
    assert get(sisu, COUNTRIES).status_code == 500
    assert get(sisu, COUNTRIES).ok
    assert fault.hits == 1


def test_a_fault_of_exports_does_not_affect_codebooks(sisu: SisuSimulator) -> None:
    """A fault of an ordinal does not apply to a codebook, which has none."""
    fault = sisu.fault("ordinal_null")
    assert get(sisu, COUNTRIES).ok
    assert fault.hits == 0


def test_a_fault_may_skip_requests(sisu: SisuSimulator) -> None:
    """The given number of requests is served normally first."""
    sisu.fault("status", skip=2)
    assert [get(sisu, PERSONS).status_code for _ in range(4)] == [200, 200, 500, 200]


def test_faults_take_effect_in_the_order_in_which_they_were_added(sisu: SisuSimulator) -> None:
    """Each request is affected by one fault, the oldest first."""
    for status in (500, 502, 503):
        sisu.fault("status", status=status)
    assert [get(sisu, PERSONS).status_code for _ in range(4)] == [500, 502, 503, 200]


def test_faults_end_when_they_are_released(sisu: SisuSimulator) -> None:
    """A fault without a number of times lasts until it is released."""
    sisu.fault("status", times=None)
    assert [get(sisu, PERSONS).status_code for _ in range(3)] == [500] * 3
    sisu.release_faults()
    assert get(sisu, PERSONS).ok


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("sulk", {}),
        ("status", {"service": "UNKNOWN"}),
        ("ordinal_null", {"service": "COUNTRY"}),
        ("graphql_errors", {"service": "PERSON"}),
        ("status", {"colour": "red"}),
        ("status", {"status": "red"}),
    ],
)
def test_an_invalid_fault_is_rejected(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """A fault that is misspelled or cannot apply raises an error, so that no test passes because of it."""
    with pytest.raises(ValueError, match=r"no such|cannot have"):
        sisu.fault(kind, **details)


def test_every_kind_of_fault_has_a_test() -> None:
    """Every kind of fault occurs in the tests, here or in the file for bad pages."""
    text = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_sisu_simulator_*.py"))
    assert [kind for kind in FaultKind if f'"{kind}"' not in text] == []

"""Each fault of the simulator does what it says, as often as it was asked to, and nothing else."""

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
    """Start a small SISU, to be told what to do wrong."""
    with SisuSimulator(size=120, services=PERSON_AND_MORE) as simulator:
        yield simulator


@pytest.fixture
def raw(sisu: SisuSimulator) -> Iterator[Raw]:
    """Send a request for persons, whose answer is then read as it comes."""
    with ExitStack() as stack:

        def send() -> http.client.HTTPConnection:
            connection = http.client.HTTPConnection("127.0.0.1", sisu.port, timeout=TIMEOUT_SECONDS)
            stack.callback(connection.close)
            connection.request("GET", PERSONS)
            return connection

        yield send


@pytest.mark.parametrize("status", [500, 502, 503, 429, 401, 403])
def test_a_status(sisu: SisuSimulator, status: int) -> None:
    """Any status comes as often as was asked for; then all is well, and the log says what was done."""
    right = get(sisu, PERSONS).content
    sisu.fault("status", status=status, times=2)
    answers = [get(sisu, PERSONS) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [status, status, 200]
    assert answers[2].content == right
    assert not any("Retry-After" in answer.headers for answer in answers)
    assert [(r.status, r.entities, r.fault) for r in sisu.requests[1:3]] == [(status, 0, "status")] * 2


def test_retry_after(sisu: SisuSimulator) -> None:
    """A status comes with a Retry-After in seconds, as a date, or with any text, and with other headers."""
    sisu.fault("status", status=429, retry_after=7)
    sisu.fault("status", status=503, retry_after_date_seconds=60)
    sisu.fault("status", status=503, retry_after="soon")
    sisu.fault("status", status=302, headers={"Location": "https://login.example.fi/"})
    assert get(sisu, PERSONS).headers["Retry-After"] == "7"
    moment = parsedate_to_datetime(get(sisu, PERSONS).headers["Retry-After"])
    assert abs((moment - dt.datetime.now(dt.UTC)).total_seconds() - 60) < 20
    assert get(sisu, PERSONS).headers["Retry-After"] == "soon"
    redirect = requests.get(sisu.uri + PERSONS, allow_redirects=False, timeout=TIMEOUT_SECONDS)
    assert (redirect.status_code, redirect.headers["Location"]) == (302, "https://login.example.fi/")


def test_a_hang_lasts_until_it_is_released(sisu: SisuSimulator) -> None:
    """Not a byte comes before the release; then comes the right answer."""
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
    """Who hangs when the simulator stops gets no answer, but an end."""
    sisu.fault("hang")
    connection = raw()
    wait_until(lambda: sisu.requests, "the request hangs")
    sisu.stop()
    with pytest.raises(ConnectionError):
        connection.getresponse()


def test_others_are_served_while_one_hangs(sisu: SisuSimulator, raw: Raw) -> None:
    """A hang holds up one connection."""
    sisu.fault("hang", service="PERSON")
    raw()
    assert get(sisu, COUNTRIES).ok


def test_a_drip_comes_byte_by_byte(sisu: SisuSimulator, raw: Raw) -> None:
    """Head and Content-Length come at once, the body in single bytes until the fault is released."""
    right = get(sisu, PERSONS).content
    fault = sisu.fault("drip", pause_seconds=0.001)
    response = raw().getresponse()
    assert response.getheader("Content-Length") == str(len(right))
    begun = b"".join(response.read1(1000) for _ in range(3))
    assert len(begun) < 1000
    fault.release()
    assert begun + response.read() == right


def test_truncated_with_its_own_length(sisu: SisuSimulator) -> None:
    """HTTP sees a whole answer; JSON does not."""
    right = get(sisu, PERSONS).content
    sisu.fault("truncated", times=2, after_bytes=100)
    answer = get(sisu, PERSONS)
    assert answer.content == right[:100]
    assert answer.headers["Content-Length"] == "100"


def test_truncated_with_the_whole_length(sisu: SisuSimulator, raw: Raw) -> None:
    """HTTP misses the other half, and the connection has ended."""
    right = get(sisu, PERSONS).content
    sisu.fault("truncated", honest_length=False)
    with pytest.raises(http.client.IncompleteRead) as cut:
        raw().getresponse().read()
    assert cut.value.partial == right[: len(right) // 2]


@pytest.mark.parametrize("after_bytes", [0, 100, None])
def test_a_reset(sisu: SisuSimulator, raw: Raw, after_bytes: int | None) -> None:
    """In the middle of the body the connection is reset, not closed."""
    right = get(sisu, PERSONS).content
    sisu.fault("reset", after_bytes=after_bytes)
    connection = raw()
    with pytest.raises(ConnectionResetError):
        connection.getresponse().read()
    assert get(sisu, PERSONS).content == right
    assert [(r.status, r.entities, r.fault) for r in sisu.requests][1] == (200, 0, "reset")


def test_a_web_page(sisu: SisuSimulator) -> None:
    """A login page comes with status 200."""
    sisu.fault("html")
    answer = get(sisu, PERSONS)
    assert (answer.status_code, answer.headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert answer.text.startswith("<!DOCTYPE html>")


@pytest.mark.parametrize("since", [0, 10**9])
def test_invalid_utf8(sisu: SisuSimulator, since: int) -> None:
    """One byte in a string is not UTF-8; but for it, the body is the right one."""
    right = get(sisu, PERSONS, since=since).content
    sisu.fault("invalid_utf8")
    body = get(sisu, PERSONS, since=since).content
    assert body.replace(b"\xff", b"") == right
    with pytest.raises(UnicodeDecodeError):
        body.decode()
    json.loads(body.decode(errors="replace"))


# --- when a fault hits -----------------------------------------------------------------------------------------------


def test_a_fault_hits_its_service_only(sisu: SisuSimulator) -> None:
    """Requests of other services neither suffer nor count."""
    fault = sisu.fault("status", service="COUNTRY", status=500)
    assert get(sisu, PERSONS).ok
    assert get(sisu, COUNTRIES).status_code == 500
    assert get(sisu, COUNTRIES).ok
    assert fault.hits == 1


def test_a_fault_of_exports_leaves_others_alone(sisu: SisuSimulator) -> None:
    """A codebook has no ordinal that could be wrong."""
    fault = sisu.fault("ordinal_null")
    assert get(sisu, COUNTRIES).ok
    assert fault.hits == 0


def test_a_fault_may_wait(sisu: SisuSimulator) -> None:
    """So many requests are left alone first."""
    sisu.fault("status", skip=2)
    assert [get(sisu, PERSONS).status_code for _ in range(4)] == [200, 200, 500, 200]


def test_faults_come_in_the_order_in_which_they_were_asked_for(sisu: SisuSimulator) -> None:
    """One request has one fault."""
    for status in (500, 502, 503):
        sisu.fault("status", status=status)
    assert [get(sisu, PERSONS).status_code for _ in range(4)] == [500, 502, 503, 200]


def test_faults_end_when_they_are_released(sisu: SisuSimulator) -> None:
    """Without a number of times, a fault lasts until then."""
    sisu.fault("status", times=None)
    assert [get(sisu, PERSONS).status_code for _ in range(3)] == [500] * 3
    sisu.release_faults()
    assert get(sisu, PERSONS).ok


@pytest.mark.parametrize(
    ("kind", "details"),
    [
        ("sulk", {}),
        ("status", {"service": "NOBODY"}),
        ("ordinal_null", {"service": "COUNTRY"}),
        ("graphql_errors", {"service": "PERSON"}),
        ("status", {"colour": "red"}),
        ("status", {"status": "red"}),
    ],
)
def test_a_fault_that_cannot_be_is_refused(sisu: SisuSimulator, kind: str, details: dict[str, Any]) -> None:
    """A test that misspells its fault does not pass for that."""
    with pytest.raises(ValueError, match=r"no such|cannot have"):
        sisu.fault(kind, **details)


def test_every_kind_of_fault_has_a_test() -> None:
    """A new kind gets a test, here or in the file for bad pages."""
    text = "".join(file.read_text(encoding="utf-8") for file in Path(__file__).parent.glob("test_sisu_simulator_*.py"))
    assert [kind for kind in FaultKind if f'"{kind}"' not in text] == []

"""Access to the simulator: credentials, connections, TLS, and the log of requests."""

import http.client
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import requests

from demo.sisu.simulator import Credentials, SisuSimulator, Tls
from tests.support.certificates import make_certificates
from tests.support.sisu import PERSONS, TIMEOUT_SECONDS, get, post

MakeSisu = Callable[..., SisuSimulator]


@pytest.fixture
def make_sisu() -> Iterator[MakeSisu]:
    """Return a function that starts a small SISU."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(SisuSimulator(**{"size": 300, **options}))


@pytest.mark.parametrize(
    ("required", "headers"),
    [
        (Credentials(user="sis", password="pä:ss"), {"Authorization": "Basic c2lzOnDDpDpzcw=="}),
        (Credentials(api_key="key"), {"X-Api-Key": "key"}),
        (Credentials(token="abc"), {"Authorization": "Bearer abc"}),
        (Credentials(token="abc"), {"token": "abc"}),
    ],
)
def test_credentials_are_required(make_sisu: MakeSisu, required: Credentials, headers: dict[str, str]) -> None:
    """Exports and GraphQL return 401 without the right credentials; the public API requires none."""
    sisu = make_sisu(credentials=required)
    assert get(sisu, PERSONS, headers).status_code == 200
    assert get(sisu, PERSONS).status_code == 401
    assert get(sisu, PERSONS, {name: f"{value}x" for name, value in headers.items()}).status_code == 401
    assert post(sisu, "/graphql", {"query": "{ grade_scales { id } }"}).status_code == 401
    assert get(sisu, "/kori/api/cached/codebooks/urn:code:country").status_code == 200
    sisu.credentials = Credentials(token="rotated")
    assert get(sisu, PERSONS, headers).status_code == 401


def test_some_services_may_be_forbidden(make_sisu: MakeSisu) -> None:
    """A forbidden service returns 403, and the others return their entities."""
    sisu = make_sisu(forbidden=["PERSON"])
    assert get(sisu, PERSONS).status_code == 403
    assert get(sisu, "/osuva/api/plans/v1/export").status_code == 200


def test_the_log_has_every_request(make_sisu: MakeSisu) -> None:
    """A request is in the log as soon as its response has arrived, with what was served."""
    sisu = make_sisu(forbidden=["PLAN"])
    response = get(sisu, PERSONS, since=5, limit=3).json()
    get(sisu, "/osuva/api/plans/v1/export", since=5, limit=3)
    get(sisu, "/nowhere")
    served = [
        (request.service, request.since, request.limit, request.status, request.entities, request.greatest_ordinal)
        for request in sisu.requests
    ]
    assert served == [
        ("PERSON", 5, 3, 200, 3, response["greatestOrdinal"]),
        ("PLAN", None, None, 403, 0, None),
        (None, None, None, 404, 0, None),
    ]
    times_seconds = [request.time_seconds for request in sisu.requests]
    assert sorted(times_seconds) == times_seconds


def test_latency_delays_each_response(make_sisu: MakeSisu) -> None:
    """A response takes at least the configured latency."""
    sisu = make_sisu(latency_seconds=0.05)
    assert get(sisu, PERSONS).elapsed.total_seconds() >= 0.05


def test_connections_are_kept_alive(make_sisu: MakeSisu) -> None:
    """Several requests use one connection."""
    sisu = make_sisu()
    connection = http.client.HTTPConnection("127.0.0.1", sisu.port, timeout=TIMEOUT_SECONDS)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", PERSONS)
        assert len(connection.getresponse().read()) > 1_000
        assert connection.sock is first
    connection.close()


def test_a_stopped_sisu_can_be_started_again(make_sisu: MakeSisu) -> None:
    """A stop also closes open connections; the next start has the same port and entities."""
    sisu = make_sisu()
    with requests.Session() as session:
        before = session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content
        sisu.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS)
        sisu.start()
        assert session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content == before


def test_tls_with_a_private_authority(make_sisu: MakeSisu, tmp_path: Path) -> None:
    """TLS can be verified with the authority's certificate, and may require a client certificate."""
    for name, content in make_certificates().items():
        (tmp_path / name).write_bytes(content)
    ca, client = str(tmp_path / "ca.pem"), (str(tmp_path / "client.pem"), str(tmp_path / "client.key"))
    without_client_certificate = make_sisu(tls=Tls(tmp_path / "server.pem", tmp_path / "server.key"))
    with_client_certificate = make_sisu(
        tls=Tls(tmp_path / "server.pem", tmp_path / "server.key", client_ca_path=tmp_path / "ca.pem")
    )
    assert requests.get(without_client_certificate.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(without_client_certificate.uri + PERSONS, timeout=TIMEOUT_SECONDS)
    assert requests.get(with_client_certificate.uri + PERSONS, verify=ca, cert=client, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(with_client_certificate.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS)

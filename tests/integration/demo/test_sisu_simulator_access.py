"""Who may read from the simulator, over which connections, and what it notes of it."""

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
    """Start a small SISU of this test's own."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(SisuSimulator(**{"size": 300, **options}))


@pytest.mark.parametrize(
    ("demanded", "headers"),
    [
        (Credentials(user="sis", password="pä:ss"), {"Authorization": "Basic c2lzOnDDpDpzcw=="}),
        (Credentials(api_key="key"), {"X-Api-Key": "key"}),
        (Credentials(token="abc"), {"Authorization": "Bearer abc"}),
        (Credentials(token="abc"), {"token": "abc"}),
    ],
)
def test_credentials_are_demanded(make_sisu: MakeSisu, demanded: Credentials, headers: dict[str, str]) -> None:
    """Exports and GraphQL answer 401 without the right credentials; what is public asks for none."""
    sisu = make_sisu(credentials=demanded)
    assert get(sisu, PERSONS, headers).status_code == 200
    assert get(sisu, PERSONS).status_code == 401
    assert get(sisu, PERSONS, {name: f"{value}x" for name, value in headers.items()}).status_code == 401
    assert post(sisu, "/graphql", {"query": "{ grade_scales { id } }"}).status_code == 401
    assert get(sisu, "/kori/api/cached/codebooks/urn:code:country").status_code == 200
    sisu.credentials = Credentials(token="rotated")
    assert get(sisu, PERSONS, headers).status_code == 401


def test_some_services_may_be_forbidden(make_sisu: MakeSisu) -> None:
    """A service that the credentials do not reach answers 403, the others answer."""
    sisu = make_sisu(forbidden=["PERSON"])
    assert get(sisu, PERSONS).status_code == 403
    assert get(sisu, "/osuva/api/plans/v1/export").status_code == 200


def test_the_log_has_every_request(make_sisu: MakeSisu) -> None:
    """Who looks at the log after an answer finds it there, with what was served."""
    sisu = make_sisu(forbidden=["PLAN"])
    answer = get(sisu, PERSONS, since=5, limit=3).json()
    get(sisu, "/osuva/api/plans/v1/export", since=5, limit=3)
    get(sisu, "/nowhere")
    served = [(r.service, r.since, r.limit, r.status, r.entities, r.greatest_ordinal) for r in sisu.requests]
    assert served == [
        ("PERSON", 5, 3, 200, 3, answer["greatestOrdinal"]),
        ("PLAN", None, None, 403, 0, None),
        (None, None, None, 404, 0, None),
    ]
    assert sorted(r.time_seconds for r in sisu.requests) == [r.time_seconds for r in sisu.requests]


def test_latency_holds_each_answer_back(make_sisu: MakeSisu) -> None:
    """An answer takes at least as long as was set."""
    sisu = make_sisu(latency_seconds=0.05)
    assert get(sisu, PERSONS).elapsed.total_seconds() >= 0.05


def test_connections_are_kept(make_sisu: MakeSisu) -> None:
    """Several requests go over one connection."""
    sisu = make_sisu()
    connection = http.client.HTTPConnection("127.0.0.1", sisu.port, timeout=TIMEOUT_SECONDS)
    connection.connect()
    first = connection.sock
    for _ in range(3):
        connection.request("GET", PERSONS)
        assert len(connection.getresponse().read()) > 1_000
        assert connection.sock is first
    connection.close()


def test_a_stopped_sisu_is_gone_and_comes_back_as_it_was(make_sisu: MakeSisu) -> None:
    """A stop ends kept connections, too; a start is on the same port, with the same entities."""
    sisu = make_sisu()
    with requests.Session() as session:
        before = session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content
        sisu.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS)
        sisu.start()
        assert session.get(sisu.uri + PERSONS, timeout=TIMEOUT_SECONDS).content == before


def test_tls_with_a_private_authority(make_sisu: MakeSisu, tmp_path: Path) -> None:
    """TLS is verifiable with the authority's certificate, and may demand one of the client, too."""
    for name, content in make_certificates().items():
        (tmp_path / name).write_bytes(content)
    ca, client = str(tmp_path / "ca.pem"), (str(tmp_path / "client.pem"), str(tmp_path / "client.key"))
    open_to_all = make_sisu(tls=Tls(tmp_path / "server.pem", tmp_path / "server.key"))
    strict = make_sisu(tls=Tls(tmp_path / "server.pem", tmp_path / "server.key", client_ca_path=tmp_path / "ca.pem"))
    assert requests.get(open_to_all.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.exceptions.SSLError):
        requests.get(open_to_all.uri + PERSONS, timeout=TIMEOUT_SECONDS)
    assert requests.get(strict.uri + PERSONS, verify=ca, cert=client, timeout=TIMEOUT_SECONDS).ok
    with pytest.raises(requests.ConnectionError):
        requests.get(strict.uri + PERSONS, verify=ca, timeout=TIMEOUT_SECONDS)

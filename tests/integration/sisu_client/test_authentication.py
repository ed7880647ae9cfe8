"""Who asks, and who answers: every way to authenticate, TLS, and no secret in what is told of it."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests
from structlog.testing import capture_logs

from demo.sisu.simulator import Credentials, SisuSimulator, Tls
from shared.model.errors import FetchError, ImporterError, SisuNoResponseError, SisuUnauthorizedError
from shared.model.services import Service
from shared.sisu.session import authentication
from tests.integration.sisu_client.harness import (
    COUNTRY,
    PERIODS,
    PERSON,
    SCALES,
    SECRET,
    USER,
    client_of,
    settings_for,
)
from tests.support.certificates import make_certificates


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with `ca.pem`, and the server's and the client's certificates and keys."""
    folder = tmp_path_factory.mktemp("certificates")
    for name, content in make_certificates().items():
        (folder / name).write_bytes(content)
    return folder


@pytest.mark.parametrize(
    ("demanded", "settings"),
    [
        (Credentials(user="importer", password=SECRET), USER),
        (Credentials(user="käyttäjä", password="s€cret"), {"sis_api_user": "käyttäjä", "sis_api_password": "s€cret"}),
        (Credentials(token=SECRET), {"proxy_token": SECRET}),
    ],
    ids=["password", "password beyond ASCII", "token"],
)
async def test_credentials_open_the_door(sisu: SisuSimulator, demanded: Credentials, settings: dict[str, str]) -> None:
    """With the credentials of the settings SISU answers, without them it does not."""
    sisu.credentials = demanded
    assert (await client_of(sisu, **settings).fetch(PERSON, 0)).entities
    with pytest.raises(SisuUnauthorizedError):
        await client_of(sisu).fetch(PERSON, 0)


@pytest.mark.parametrize("api_key", [None, SECRET])
async def test_a_client_certificate_opens_the_door(certificates: Path, api_key: str | None) -> None:
    """A SISU that demands a certificate, and a key with it, gets both; without the certificate it hangs up."""
    tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    own = {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"}
    with SisuSimulator(size=300, tls=tls, credentials=Credentials(api_key=api_key)) as sisu:
        trusting = {"sis_ca_path": certificates / "ca.pem"}
        assert (await client_of(sisu, **trusting, **own, api_key=api_key).fetch(PERSON, 0)).entities
        assert (await client_of(sisu, **trusting, **own, api_key=api_key).fetch(SCALES, 0)).entities
        # A server that closes at once may be quicker than its refusal.
        with pytest.raises((SisuUnauthorizedError, FetchError)):
            await client_of(sisu, **trusting).fetch(PERSON, 0)


@pytest.mark.parametrize(
    ("settings", "headers", "blamed"),
    [
        ([], {}, "none is set"),
        (["user"], {"Authorization": "Basic aW1wb3J0ZXI6czNjcmV0"}, "SIS_API_USER and SIS_API_PASSWORD"),
        (["token"], {"Authorization": f"Bearer {SECRET}", "token": SECRET}, "PROXY_TOKEN"),
        (["certificate"], {}, "KEY_PATH and CERT_PATH"),
        (["certificate", "key"], {"X-Api-Key": SECRET}, "API_KEY, KEY_PATH and CERT_PATH"),
        (["user", "certificate", "key", "token"], {"Authorization": "Basic aW1wb3J0ZXI6czNjcmV0"}, "SIS_API_USER and"),
        (["certificate", "key", "token"], {"X-Api-Key": SECRET}, "API_KEY, KEY_PATH and CERT_PATH"),
        (["certificate", "token"], {}, "KEY_PATH and CERT_PATH"),
    ],
)
def test_the_first_way_to_authenticate_that_applies_is_taken(
    certificates: Path, settings: list[str], headers: dict[str, str], blamed: str
) -> None:
    """Password before certificate before token, one of them only, and the variables that it comes from are known."""
    ways: dict[str, dict[str, object]] = {
        "user": USER,
        "certificate": {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"},
        "key": {"api_key": SECRET},
        "token": {"proxy_token": SECRET},
    }
    chosen = {name: value for way in settings for name, value in ways[way].items()}
    auth, variables = authentication(settings_for("https://sisu.example.org", **chosen))
    request = requests.Request("GET", "https://sisu.example.org").prepare()
    auth(request)
    assert dict(request.headers) == headers
    assert blamed in variables


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Return a server that answers everything with 500, and the headers that it got."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            got.append(dict(self.headers))
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", got
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("service", [PERIODS, COUNTRY], ids=lambda service: service.name)
@pytest.mark.parametrize("way", ["user", "token", "netrc"])
async def test_the_public_api_gets_no_credentials(
    recorder: tuple[str, list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: Service,
    way: str,
) -> None:
    """What needs no credentials gets none, be it those of the settings or those in somebody's .netrc."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login importer password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    uri, got = recorder
    settings = {"user": USER, "token": {"proxy_token": SECRET}, "netrc": {}}[way]
    with pytest.raises(FetchError):
        await client_of("https://elsewhere.example.org", kori_public_api_url=uri, **settings).fetch(service, 0)
    assert len(got) == 6
    assert {name.lower() for headers in got for name in headers} <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_private_authority_is_trusted_where_it_is_named(certificates: Path) -> None:
    """A certificate of a private authority is refused, and accepted with SIS_CA_PATH, for both addresses."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with SisuSimulator(size=300, tls=tls) as sisu:
        with pytest.raises(SisuNoResponseError, match=r"TLS failed: .*certificate verify failed"):
            await client_of(sisu).fetch(PERSON, 0)
        for service in (PERSON, COUNTRY):
            assert (await client_of(sisu, sis_ca_path=certificates / "ca.pem").fetch(service, 0)).entities


async def test_a_certificate_for_another_host_is_refused(certificates: Path) -> None:
    """A trusted authority does not make up for a wrong name."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with SisuSimulator(size=100, tls=tls) as sisu:
        client = client_of(f"https://localhost:{sisu.port}", sis_ca_path=certificates / "ca.pem")
        with pytest.raises(SisuNoResponseError, match=r"TLS failed: .*localhost"):
            await client.fetch(PERSON, 0)


# --- secrets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "settings",
    [USER, {"proxy_token": SECRET}, {"api_key": SECRET}],
    ids=["password", "token", "certificate and key"],
)
@pytest.mark.parametrize("fault", ["none there", "status", "401", "redirect", "html", "truncated", "no_progress"])
async def test_no_secret_is_in_an_error_or_a_log(certificates: Path, settings: dict[str, str], fault: str) -> None:
    """However a request fails, neither the error, nor its causes, nor a line of the log has the credentials."""
    if "api_key" in settings:
        settings = {
            **settings,
            "key_path": str(certificates / "client.key"),
            "cert_path": str(certificates / "client.pem"),
        }
    with SisuSimulator(size=200) as sisu, capture_logs() as logged:
        if fault == "none there":
            sisu.stop()
        elif fault == "401":
            sisu.credentials = Credentials(token="another")
        elif fault == "redirect":
            sisu.fault("status", service="PERSON", status=302, headers={"Location": f"https://x/{SECRET}"})
        else:
            sisu.fault(fault, service="PERSON", times=None)
        with pytest.raises(ImporterError) as failed:
            await client_of(sisu, attempts=2, **settings).fetch(PERSON, 0)
    error: BaseException | None = failed.value
    while error:
        assert SECRET not in f"{error} {error!r}"
        error = error.__cause__ or error.__context__
    assert SECRET not in str(logged)
    assert "aW1wb3J0ZXI6czNjcmV0" not in str(logged)

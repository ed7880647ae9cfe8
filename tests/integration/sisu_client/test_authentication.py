"""Authentication and TLS: every method, on both sides, without any secret in errors and logs."""

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
    ("required", "settings"),
    [
        (Credentials(user="importer", password=SECRET), USER),
        (Credentials(user="käyttäjä", password="s€cret"), {"sis_api_user": "käyttäjä", "sis_api_password": "s€cret"}),
        (Credentials(token=SECRET), {"proxy_token": SECRET}),
    ],
    ids=["password", "password beyond ASCII", "token"],
)
async def test_the_configured_credentials_are_sent(
    sisu: SisuSimulator, required: Credentials, settings: dict[str, str]
) -> None:
    """SISU accepts requests with the credentials of the settings, and rejects requests without them."""
    sisu.credentials = required
    assert (await client_of(sisu, **settings).fetch(PERSON, 0)).entities
    with pytest.raises(SisuUnauthorizedError):
        await client_of(sisu).fetch(PERSON, 0)


@pytest.mark.parametrize("api_key", [None, SECRET])
async def test_the_client_certificate_is_presented(certificates: Path, api_key: str | None) -> None:
    """A SISU that requires a certificate, and an API key, gets both; without the certificate the request fails."""
    tls = Tls(certificates / "server.pem", certificates / "server.key", certificates / "ca.pem")
    own = {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"}
    with SisuSimulator(size=300, tls=tls, credentials=Credentials(api_key=api_key)) as sisu:
        authority = {"sis_ca_path": certificates / "ca.pem"}
        assert (await client_of(sisu, **authority, **own, api_key=api_key).fetch(PERSON, 0)).entities
        assert (await client_of(sisu, **authority, **own, api_key=api_key).fetch(SCALES, 0)).entities
        # The connection of a server that closes at once may end before its alert arrives.
        with pytest.raises((SisuUnauthorizedError, FetchError)):
            await client_of(sisu, **authority).fetch(PERSON, 0)


@pytest.mark.parametrize(
    ("methods", "headers", "named"),
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
def test_the_first_configured_authentication_method_is_used(
    certificates: Path, methods: list[str], headers: dict[str, str], named: str
) -> None:
    """Only one method is used, a password before a certificate before a token, and its variables are named."""
    settings_of: dict[str, dict[str, object]] = {
        "user": USER,
        "certificate": {"key_path": certificates / "client.key", "cert_path": certificates / "client.pem"},
        "key": {"api_key": SECRET},
        "token": {"proxy_token": SECRET},
    }
    settings = {name: value for method in methods for name, value in settings_of[method].items()}
    auth, variables = authentication(settings_for("https://sisu.example.org", **settings))
    request = requests.Request("GET", "https://sisu.example.org").prepare()
    auth(request)
    assert dict(request.headers) == headers
    assert named in variables


@pytest.fixture
def recorder() -> Iterator[tuple[str, list[dict[str, str]]]]:
    """Start a server that responds 500 to everything; yield its address and the headers that it received."""
    received: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            received.append(dict(self.headers))
            self.send_error(500)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", received
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("service", [PERIODS, COUNTRY], ids=lambda service: service.name)
@pytest.mark.parametrize("method", ["user", "token", "netrc"])
async def test_the_public_api_gets_no_credentials(
    recorder: tuple[str, list[dict[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    service: Service,
    method: str,
) -> None:
    """The public API gets no credentials, neither those of the settings nor those of a .netrc file."""
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine 127.0.0.1 login importer password {SECRET}\n")
    monkeypatch.setenv("NETRC", str(netrc))
    uri, received = recorder
    settings = {"user": USER, "token": {"proxy_token": SECRET}, "netrc": {}}[method]
    with pytest.raises(FetchError):
        await client_of("https://elsewhere.example.org", kori_public_api_url=uri, **settings).fetch(service, 0)
    assert len(received) == 6
    assert {name.lower() for headers in received for name in headers} <= {
        "host",
        "user-agent",
        "accept",
        "accept-encoding",
        "connection",
    }


# --- TLS --------------------------------------------------------------------------------------------------------------


async def test_a_private_authority_is_trusted_if_it_is_configured(certificates: Path) -> None:
    """A certificate of a private authority is rejected, and accepted with SIS_CA_PATH, for both addresses."""
    tls = Tls(certificates / "server.pem", certificates / "server.key")
    with SisuSimulator(size=300, tls=tls) as sisu:
        with pytest.raises(SisuNoResponseError, match=r"TLS failed: .*certificate verify failed"):
            await client_of(sisu).fetch(PERSON, 0)
        for service in (PERSON, COUNTRY):
            assert (await client_of(sisu, sis_ca_path=certificates / "ca.pem").fetch(service, 0)).entities


async def test_a_certificate_for_another_host_is_rejected(certificates: Path) -> None:
    """A certificate of a trusted authority must also have the right host name."""
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
@pytest.mark.parametrize("fault", ["not running", "status", "401", "redirect", "html", "truncated", "no_progress"])
async def test_no_secret_is_in_an_error_or_a_log(certificates: Path, settings: dict[str, str], fault: str) -> None:
    """However a request fails, neither the error, nor its causes, nor a log line contains the credentials."""
    if "api_key" in settings:
        settings = {
            **settings,
            "key_path": str(certificates / "client.key"),
            "cert_path": str(certificates / "client.pem"),
        }
    with SisuSimulator(size=200) as sisu, capture_logs() as logged:
        if fault == "not running":
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

"""Proxies of the environment: used, by-passed, and named where they fail."""

import socket
from pathlib import Path

import pytest

from demo.sisu.simulator import SisuSimulator, Tls
from shared.model.errors import SisuConnectionError
from tests.integration.sisu_client.harness import PERSON, client_of
from tests.support.certificates import write_certificates
from tests.support.scripted_http import response, scripted_server
from tests.support.tunnel import tunnel

PAGE = b'{"entities":[],"hasMore":false,"greatestOrdinal":7}'
PASSWORD = "s3cret"
REJECTED = response(b"", status="407 Proxy Authentication Required")


def as_proxy(uri: str) -> str:
    """Return the address of a proxy with a user and a password."""
    return uri.replace("http://", f"http://importer:{PASSWORD}@")


def respond(connection: socket.socket, _: bytes, __: int) -> bool:
    """Respond in SISU's place."""
    connection.sendall(response(PAGE))
    return True


def reject(connection: socket.socket, _: bytes, __: int) -> bool:
    """Demand other credentials."""
    connection.sendall(REJECTED)
    return False


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy"])
async def test_a_request_uses_the_proxy(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The whole address of SISU is requested from the proxy, with the proxy's own credentials."""
    with scripted_server(respond) as proxy:
        monkeypatch.setenv(name, as_proxy(proxy.uri))
        await client_of("http://sisu.test").fetch(PERSON, 0)
        [(_, head)] = proxy.requests
    assert head.startswith(b"GET http://sisu.test/ori/api/")
    assert b"Proxy-Authorization: Basic " in head


async def test_an_excepted_host_is_reached_directly(sisu: SisuSimulator, monkeypatch: pytest.MonkeyPatch) -> None:
    """NO_PROXY names hosts for which the proxy is not used."""
    with scripted_server(reject) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.uri)
        monkeypatch.setenv("NO_PROXY", "example.org,127.0.0.1")
        assert (await client_of(sisu).fetch(PERSON, 0)).entities
        assert proxy.requests == []


@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_proxy_that_rejects_the_credentials_is_named(monkeypatch: pytest.MonkeyPatch, scheme: str) -> None:
    """407: the error names the variables, and neither the proxy's password nor the credentials of SISU."""
    with scripted_server(reject) as proxy:
        monkeypatch.setenv(f"{scheme.upper()}_PROXY", as_proxy(proxy.uri))
        with pytest.raises(SisuConnectionError, match=r"HTTPS_PROXY, HTTP_PROXY\) failed: .*407") as raised:
            await client_of(f"{scheme}://sisu.test", attempts=2).fetch(PERSON, 0)
        assert len(proxy.requests) == 2
    assert PASSWORD not in str(raised.value)


@pytest.mark.parametrize("address", ["http://127.0.0.1:1", "http://"])
async def test_an_unusable_proxy_is_named(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    """Nothing listens at its address, or the address has no host."""
    monkeypatch.setenv("HTTP_PROXY", address)
    with pytest.raises(SisuConnectionError, match=r"the proxy of the environment \(HTTPS_PROXY, HTTP_PROXY\) failed"):
        await client_of("http://sisu.test", attempts=2).fetch(PERSON, 0)


@pytest.mark.parametrize("bundle", ["none", "REQUESTS_CA_BUNDLE"])
async def test_the_private_authority_holds_through_a_proxy(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: str
) -> None:
    """TLS goes through the proxy's tunnel to SISU, whose authority is that of SIS_CA_PATH, with or without a bundle."""
    files = write_certificates(tmp_path)
    tls = Tls(files / "server.pem", files / "server.key")
    with SisuSimulator(seed=7, size=20, tls=tls) as sisu, tunnel() as proxy:
        monkeypatch.setenv("HTTPS_PROXY", proxy.uri)
        if bundle == "REQUESTS_CA_BUNDLE":
            monkeypatch.setenv(bundle, str(files / "other-ca.pem"))
        client = client_of(sisu, sis_ca_path=files / "ca.pem")
        assert (await client.fetch(PERSON, 0)).entities
        assert proxy.targets == [sisu.uri.removeprefix("https://")]

"""Connections to a real NATS: credentials, trusted certificates, and servers that are unreachable or silent."""

import asyncio
from pathlib import Path

import pytest

from shared.broker import connection as broker_module
from shared.broker.connection import Broker
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.shutdown import Stop
from tests.conftest import MakeServer
from tests.support.brokers import CHANNELS, connected, publish, settings_for
from tests.support.certificates import make_certificates

CHANNEL = CHANNELS[0]
SECRET = "s3cret-t0ken"


@pytest.mark.parametrize(
    ("authorization", "credentials", "token"),
    [
        ("token: right", "", SECRET),
        ("token: right", "", None),
        ("user: importer, password: right", f"importer:{SECRET}@", None),
    ],
)
async def test_rejected_credentials_are_a_configuration_error(
    make_nats: MakeServer, authorization: str, credentials: str, token: str | None
) -> None:
    """A wrong or missing token or password ends the process at once, naming the address and never the secret."""
    server = make_nats(config=f"authorization {{ {authorization} }}")
    error = await _ends_with(f"nats://{credentials}127.0.0.1:{server.port}", nats_token=token)
    assert isinstance(error, ConfigurationError)
    assert f"NATS at 127.0.0.1:{server.port} rejected the credentials: check NATS_TOKEN" in str(error)
    assert SECRET not in str(error)


async def test_valid_credentials_are_accepted(make_nats: MakeServer) -> None:
    """A token from the settings, and a user and password from the address, are accepted by the server."""
    by_token = make_nats(config=f"authorization {{ token: {SECRET} }}")
    async with connected(by_token.uri, nats_token=SECRET) as broker:
        await publish(broker, "1")
    by_password = make_nats(config=f"authorization {{ user: importer, password: {SECRET} }}")
    async with connected(f"nats://importer:{SECRET}@127.0.0.1:{by_password.port}") as broker:
        await publish(broker, "1")


@pytest.mark.parametrize("credentials", ["", f"importer:{SECRET}@"])
async def test_connecting_to_an_unreachable_server_fails(
    make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch, credentials: str
) -> None:
    """If no server listens, the attempts end after a bounded time with the address and the reason."""
    monkeypatch.setattr(broker_module, "_START_SECONDS", 0.5)
    port = make_nats(start=False).port
    async with asyncio.timeout(5):
        error = await _ends_with(f"nats://{credentials}127.0.0.1:{port}")
    assert isinstance(error, DependencyLostError)
    assert f"NATS at 127.0.0.1:{port} cannot be reached: Connection refused" in str(error)
    assert SECRET not in str(error)


async def test_connecting_to_a_silent_server_fails(make_nats: MakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that accepts connections and never responds fails in the same way as an unreachable one."""
    monkeypatch.setattr(broker_module, "_START_SECONDS", 0.5)
    server = make_nats()
    server.pause()
    async with asyncio.timeout(5):
        error = await _ends_with(server.uri)
    assert isinstance(error, DependencyLostError)
    assert f"NATS at 127.0.0.1:{server.port} cannot be reached" in str(error)


async def test_a_server_that_starts_late_is_waited_for(make_nats: MakeServer) -> None:
    """A process that starts before its NATS connects as soon as NATS has started."""
    server = make_nats(start=False)
    connecting = asyncio.create_task(Broker.connect(settings_for(server.uri), CHANNELS, "test", Stop()))
    await asyncio.to_thread(server.start)
    broker = await connecting
    assert broker.client.is_connected
    await broker.close()


async def test_a_connection_that_is_closed_for_good_ends_the_process(nats_uri: str) -> None:
    """After an error without a reconnect, the process ends with the server and the reason."""
    stop = Stop()
    async with connected(nats_uri, stop) as broker:
        broker.client._max_payload = 64 * 1024 * 1024
        await broker.client.publish(CHANNEL, b"x" * 4 * 1024 * 1024)
        with pytest.raises(DependencyLostError, match=r"NATS at .* closed the connection for good: .*payload"):
            await stop.run_to_completion(asyncio.Event().wait(), 60)  # type: ignore[arg-type]


async def test_an_orderly_close_is_not_a_failure(nats_uri: str) -> None:
    """A connection that the process closes itself is not reported as lost."""
    stop = Stop()
    async with connected(nats_uri, stop) as broker:
        pass
    assert broker.client.is_closed
    assert not stop._failure.done()


async def test_tls_is_verified_and_a_private_authority_can_be_configured(make_nats: MakeServer, tmp_path: Path) -> None:
    """A certificate of an unknown authority ends the process; with NATS_CA_PATH it is trusted."""
    config = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }'
    certificates = make_certificates()
    server = make_nats(tls=True, config=config, files=certificates)
    error = await _ends_with(server.uri)
    assert isinstance(error, ConfigurationError)
    assert f"the certificate of NATS at 127.0.0.1:{server.port} cannot be trusted" in str(error)
    assert "NATS_CA_PATH" in str(error)
    ca_path = tmp_path / "ca.pem"
    ca_path.write_bytes(certificates["ca.pem"])
    async with connected(server.uri, nats_ca_path=ca_path) as broker:
        await publish(broker, "1")


async def _ends_with(nats_uri: str, **others: object) -> Exception:
    """Connect as a process does, and return the error that it ends with."""
    stop = Stop()

    async def work() -> int:
        async with connected(nats_uri, stop, **others):
            return 0

    with pytest.raises((ConfigurationError, DependencyLostError)) as raised:
        await stop.run_to_completion(work(), 60)
    return raised.value

"""TLS to STAN follows the same rules as TLS to NATS."""

from pathlib import Path

import pytest

from demo.servers.processes import Server
from shared.broker.stan.session import StanIdentity, StanSession
from shared.config.settings import StanBridgeSettings
from shared.model.errors import ConfigurationError, DependencyLostError
from tests.conftest import MakeServer
from tests.support.certificates import write_certificates

TLS = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key", ca_file: "$FILES/ca.pem", verify: true }'
ITS_OWN = 'secure: true\n  tls { client_cert: "%s/client.pem", client_key: "%s/client.key", client_ca: "%s/ca.pem" }'
IDENTITY = StanIdentity("importer-nats", "importer-api", "stan_bridge")


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write certificates."""
    return write_certificates(tmp_path_factory.mktemp("files"))


@pytest.fixture
def stan(make_stan: MakeServer, files: Path) -> Server:
    """Start a STAN that demands client certificates, of its own client, too."""
    certificates = {path.name: path.read_bytes() for path in files.iterdir()}
    return make_stan(config=TLS, tls=True, files=certificates, streaming=ITS_OWN % (files, files, files))


async def connect(stan: Server, **paths: Path) -> None:
    """Start a session with these files, and end it."""
    settings = StanBridgeSettings(nats_uri="nats://unused", redis_uri="redis://unused", stan_uri=stan.uri, **paths)
    session = await StanSession.connect(settings.stan_login(), IDENTITY, 5.0)
    await session.publish("ORI_PERSON_CHANNEL", b"{}")
    await session.close()


async def test_a_private_authority_and_a_client_certificate(stan: Server, files: Path) -> None:
    """With both, the session starts."""
    await connect(
        stan,
        stan_ca_path=files / "ca.pem",
        stan_key_path=files / "client.key",
        stan_cert_path=files / "client.pem",
    )


async def test_an_authority_that_is_not_trusted(stan: Server) -> None:
    """TLS is always verified: the message names the setting."""
    with pytest.raises(ConfigurationError, match="STAN_CA_PATH"):
        await connect(stan)


async def test_a_missing_client_certificate(stan: Server, files: Path) -> None:
    """A server that demands a certificate, and gets none, is not connected to."""
    with pytest.raises((ConfigurationError, DependencyLostError), match="STAN"):
        await connect(stan, stan_ca_path=files / "ca.pem")

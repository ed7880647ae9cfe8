"""The servers that all other tests rely on, in each variant that this machine supports, behave as documented."""

import os
import shutil
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import nats
import pytest
import redis

from demo.servers.processes import Server
from demo.servers.specs import ServerError
from tests.support import servers
from tests.support.certificates import make_self_signed
from tests.support.streams import add_message, count_messages

Make = Callable[..., Server]

SHORT_SECONDS = 0.5


@pytest.fixture(params=["local", "containers"])
def choice(request: pytest.FixtureRequest) -> servers.Choice:
    """Return each variant that the settings allow."""
    configured = os.environ.get(servers.SETTING)
    if request.param == "local":
        return servers.local_choice("for the tests of the servers")
    if configured == "local":
        pytest.skip("containers are turned off")
    try:
        return servers.container_choice()
    except ServerError as error:
        if configured == "containers":
            raise
        pytest.skip(str(error))


@pytest.fixture
def new_nats(choice: servers.Choice) -> Iterator[Make]:
    """Return a function that starts a NATS."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(choice.nats(**options))


@pytest.fixture
def new_redis(choice: servers.Choice) -> Iterator[Make]:
    """Return a function that starts a Redis."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(choice.redis(**options))


@pytest.fixture(scope="module")
def certificate() -> dict[str, bytes]:
    """Return a self-signed certificate for 127.0.0.1 and its key."""
    return make_self_signed()


async def test_nats_keeps_its_streams_when_restarted_or_killed(new_nats: Make) -> None:
    """The address, port and streams are the same after an orderly restart and after SIGKILL."""
    server = new_nats()
    uri = server.uri
    await add_message(uri)
    server.restart()
    assert (server.uri, await count_messages(uri)) == (uri, 1)
    server.kill()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", server.port))
    server.start()
    assert await count_messages(uri) == 1


async def test_a_store_can_be_restored_or_deleted_while_nats_is_down(new_nats: Make, tmp_path: Path) -> None:
    """The content of `data` is what the server has after its next start."""
    server = new_nats()
    await add_message(server.uri)
    server.stop()
    shutil.copytree(server.data, tmp_path / "copy")
    server.start()
    await add_message(server.uri)
    assert await count_messages(server.uri) == 2
    server.kill()
    shutil.rmtree(server.data)
    shutil.copytree(tmp_path / "copy", server.data)
    server.start()
    assert await count_messages(server.uri) == 1
    server.stop()
    shutil.rmtree(server.data)
    server.data.mkdir()
    server.start()
    assert await count_messages(server.uri) == 0


def test_a_paused_nats_does_not_respond_until_it_is_resumed(new_nats: Make) -> None:
    """The connection stays open, and the response to a request arrives after the pause."""
    server = new_nats()
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert connection.recv(4096).startswith(b"INFO")
        server.pause()
        connection.sendall(b'CONNECT {"verbose": false}\r\nPING\r\n')
        connection.settimeout(SHORT_SECONDS)
        with pytest.raises(TimeoutError):
            connection.recv(1, socket.MSG_PEEK)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(100).startswith(b"PONG")


async def test_nats_accepts_further_configuration_and_files(new_nats: Make) -> None:
    """Limits, a token from a separate file and limits of JetStream apply, and the store stays in `data`."""
    server = new_nats(
        config='max_payload: 65536\ninclude "files/token.conf"\njetstream { max_file_store: 100MB }',
        files={"token.conf": "authorization { token: a-token }"},
    )
    client = await nats.connect(server.uri, token="a-token", allow_reconnect=False)
    assert client.max_payload == 65536
    await client.jetstream().add_stream(name="S", subjects=["s"])
    await client.close()
    server.stop()
    assert list(server.data.rglob("streams/S"))


def test_redis_keeps_its_data_when_restarted_or_killed(new_redis: Make) -> None:
    """Every confirmed write is still there after an orderly restart and after SIGKILL."""
    server = new_redis()
    with redis.Redis.from_url(server.uri) as client:
        client.set("a", "1")
    server.restart()
    with redis.Redis.from_url(server.uri) as client:
        client.set("b", "2")
    server.kill()
    with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.uri, retry=None) as client:
        client.get("a")
    server.start()
    with redis.Redis.from_url(server.uri) as client:
        assert client.mget("a", "b") == [b"1", b"2"]


def test_redis_without_its_file_loses_its_data(new_redis: Make) -> None:
    """A given directive overrides the built-in one."""
    server = new_redis(config="appendonly no")
    with redis.Redis.from_url(server.uri) as client:
        client.set("a", "1")
    server.kill()
    server.start()
    with redis.Redis.from_url(server.uri) as client:
        assert client.dbsize() == 0


def test_redis_with_an_acl_file_becomes_ready(new_redis: Make) -> None:
    """The readiness check needs no credentials, and nothing else works without them."""
    server = new_redis(
        config='aclfile "$FILES/users.acl"',
        files={"users.acl": "user default off\nuser importer on >secret ~* &* +@all\n"},
    )
    with redis.Redis.from_url(server.uri, username="importer", password="secret") as client:
        assert client.ping()
    with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(server.uri) as client:
        client.ping()


def test_a_paused_redis_does_not_respond_until_it_is_resumed(new_redis: Make) -> None:
    """A client times out during the pause, and gets responses after it."""
    server = new_redis()
    server.pause()
    with pytest.raises(redis.TimeoutError), redis.Redis.from_url(server.uri, socket_timeout=1, retry=None) as client:
        client.ping()
    server.resume()
    with redis.Redis.from_url(server.uri, socket_timeout=10) as client:
        assert client.ping()


async def test_nats_with_tls_becomes_ready(new_nats: Make, certificate: dict[str, bytes]) -> None:
    """The address of a NATS with TLS has the scheme tls, and the server requires TLS."""
    config = 'tls { cert_file: "$FILES/cert.pem", key_file: "$FILES/key.pem" }'
    server = new_nats(tls=True, config=config, files=certificate)
    assert server.uri == f"tls://127.0.0.1:{server.port}"
    with socket.create_connection(("127.0.0.1", server.port)) as connection:
        assert b'"tls_required":true' in connection.recv(4096)
    trust = ssl.create_default_context(cadata=certificate["cert.pem"].decode())
    client = await nats.connect(server.uri, tls=trust, allow_reconnect=False)
    assert client.is_connected
    await client.close()


def test_redis_with_tls_becomes_ready(new_redis: Make, certificate: dict[str, bytes], tmp_path: Path) -> None:
    """The address of a Redis with TLS has the scheme rediss; the readiness check needs no client certificate."""
    config = "tls-cert-file $FILES/cert.pem\ntls-key-file $FILES/key.pem\ntls-ca-cert-file $FILES/cert.pem"
    try:
        server = new_redis(tls=True, config=config, files=certificate)
    except ServerError as error:
        if "tls-port" not in str(error):
            raise
        pytest.skip("this redis-server is built without TLS")
    for name, content in certificate.items():
        (tmp_path / name).write_bytes(content)
    paths = {"ssl_ca_certs": "cert.pem", "ssl_certfile": "cert.pem", "ssl_keyfile": "key.pem"}
    with redis.Redis.from_url(server.uri, **{key: str(tmp_path / name) for key, name in paths.items()}) as client:
        assert server.uri.startswith("rediss://")
        assert client.ping()


@pytest.mark.parametrize("name", ["nats", "redis"])
def test_servers_can_be_stopped_and_killed_in_any_state(choice: servers.Choice, name: str) -> None:
    """A server can be stopped, killed and started whether it is running, paused, stopped or dead."""
    with getattr(choice, name)() as server:
        server.pause()
        server.stop()
        server.stop()
        server.kill()
        server.start()
        server.pause()
        server.kill()
        server.kill()
        server.stop()
        server.start()
        server.ready(0)


@pytest.mark.parametrize("name", ["nats", "redis"])
def test_a_server_that_does_not_start_reports_the_reason(choice: servers.Choice, name: str) -> None:
    """The error contains the end of the server's log."""
    with (
        pytest.raises(ServerError, match=r"ended:\n(.*\n)*.*(no-such-value|server\.conf:4)"),
        getattr(choice, name)(config="port no-such-value"),
    ):
        pass


@pytest.mark.parametrize("name", ["nats", "redis"])
def test_a_used_port_is_an_error_if_it_was_given_and_is_changed_otherwise(choice: servers.Choice, name: str) -> None:
    """A given port is never changed, since clients may know it; a chosen one is changed if it is in use."""
    make = getattr(choice, name)
    with make() as first:
        with pytest.raises(ServerError), make(port=first.port):
            pass
        second = make()
        second.port = first.port  # as if it had been free when it was chosen
        with second:
            assert second.port != first.port


def test_an_address_is_known_before_the_server_is_started(choice: servers.Choice) -> None:
    """The address of a server that is not running yet can be given to clients."""
    server = choice.redis()
    try:
        with pytest.raises(redis.ConnectionError), redis.Redis.from_url(server.uri, retry=None) as client:
            client.ping()
        uri = server.uri
        server.start()
        assert server.uri == uri
    finally:
        server.close()
    assert not server.data.exists()

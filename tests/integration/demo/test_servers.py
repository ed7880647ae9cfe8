"""The servers that all other tests stand on, in each variant that this machine can have: what is said of them is so."""

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
    """Each variant, as far as the settings allow it."""
    wish = os.environ.get(servers.SETTING)
    if request.param == "local":
        return servers.local_choice("for its own tests")
    if wish == "local":
        pytest.skip("containers are not wanted")
    try:
        return servers.container_choice()
    except ServerError as error:
        if wish == "containers":
            raise
        pytest.skip(str(error))


@pytest.fixture
def new_nats(choice: servers.Choice) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(choice.nats(**options))


@pytest.fixture
def new_redis(choice: servers.Choice) -> Iterator[Make]:
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(choice.redis(**options))


@pytest.fixture(scope="module")
def certificate() -> dict[str, bytes]:
    """Make a certificate for 127.0.0.1 that signs itself, and its key."""
    return make_self_signed()


async def test_nats_keeps_its_streams_when_restarted_or_killed(new_nats: Make) -> None:
    """Address, port and streams are the same after an orderly restart, and after SIGKILL."""
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


async def test_a_store_can_be_put_back_or_wiped_while_nats_is_down(new_nats: Make, tmp_path: Path) -> None:
    """What lies in `data` is what the server has after its next start."""
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


def test_a_paused_nats_answers_nothing_until_it_is_resumed(new_nats: Make) -> None:
    """The connection stays, and what was asked is answered after the pause."""
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


async def test_nats_takes_further_configuration_and_files(new_nats: Make) -> None:
    """Limits, a token from a file of its own, and limits of JetStream that leave the store where it is."""
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
    """All that was answered is there after an orderly restart, and after SIGKILL."""
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


def test_redis_without_its_file_forgets_everything(new_redis: Make) -> None:
    """A directive given overrides the one that is built in."""
    server = new_redis(config="appendonly no")
    with redis.Redis.from_url(server.uri) as client:
        client.set("a", "1")
    server.kill()
    server.start()
    with redis.Redis.from_url(server.uri) as client:
        assert client.dbsize() == 0


def test_redis_with_a_password_or_an_acl_file_is_ready_all_the_same(new_redis: Make) -> None:
    """Readiness needs no credential; without one nothing else is to be had."""
    server = new_redis(
        config='aclfile "$FILES/users.acl"',
        files={"users.acl": "user default off\nuser importer on >secret ~* &* +@all\n"},
    )
    with redis.Redis.from_url(server.uri, username="importer", password="secret") as client:
        assert client.ping()
    with pytest.raises(redis.AuthenticationError), redis.Redis.from_url(server.uri) as client:
        client.ping()


def test_a_paused_redis_answers_nothing_until_it_is_resumed(new_redis: Make) -> None:
    """A client's time-out sees the pause."""
    server = new_redis()
    server.pause()
    with pytest.raises(redis.TimeoutError), redis.Redis.from_url(server.uri, socket_timeout=1, retry=None) as client:
        client.ping()
    server.resume()
    with redis.Redis.from_url(server.uri, socket_timeout=10) as client:
        assert client.ping()


async def test_nats_with_tls_is_ready_and_takes_only_tls(new_nats: Make, certificate: dict[str, bytes]) -> None:
    """Its address says so, too."""
    config = 'tls { cert_file: "$FILES/cert.pem", key_file: "$FILES/key.pem" }'
    server = new_nats(tls=True, config=config, files=certificate)
    assert server.uri == f"tls://127.0.0.1:{server.port}"
    trust = ssl.create_default_context(cadata=certificate["cert.pem"].decode())
    client = await nats.connect(server.uri, tls=trust, allow_reconnect=False)
    assert client.is_connected
    await client.close()


def test_redis_with_tls_is_ready_and_takes_only_tls(
    new_redis: Make, certificate: dict[str, bytes], tmp_path: Path
) -> None:
    """Its address says so, too. Readiness does without the certificate that clients have to have."""
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
def test_paused_stopped_and_dead_servers_can_be_stopped_and_killed(choice: servers.Choice, name: str) -> None:
    """Tests need not know in which state they left a server."""
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
def test_a_server_that_does_not_start_says_why(choice: servers.Choice, name: str) -> None:
    """The error has the end of the server's log."""
    with (
        pytest.raises(ServerError, match=r"ended:\n(.*\n)*.*(no-such-value|server\.conf:4)"),
        getattr(choice, name)(config="port no-such-value"),
    ):
        pass


@pytest.mark.parametrize("name", ["nats", "redis"])
def test_a_taken_port_is_an_error_where_it_was_asked_for_and_changed_where_not(
    choice: servers.Choice, name: str
) -> None:
    """Clients that were told of a port find the server there, or nobody."""
    make = getattr(choice, name)
    with make() as first:
        with pytest.raises(ServerError), make(port=first.port):
            pass
        second = make()
        second.port = first.port  # as if it had been free when it was chosen
        with second:
            assert second.port != first.port


def test_an_address_is_known_before_the_server_is_started(choice: servers.Choice) -> None:
    """A client can be pointed to a server that is not there yet."""
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

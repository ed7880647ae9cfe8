"""The security settings of Redis, each with a server that requires it: accepted with it, a clear error without it."""

import os
import socket
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from demo.servers.processes import RedisServer, Server, ServerError
from shared.config.tls_files import TlsFiles
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient, connect_redis
from shared.store.redis_client import make_redis as make_redis_client
from shared.store.scripts import Scripts
from tests.conftest import MakeServer
from tests.support.certificates import write_certificates
from tests.support.programs import ProcessUnderTest, run
from tests.support.sentinel import MASTER, Sentinel
from tests.support.startup_errors import BOTH, QUICK_SECONDS, last_word, variables
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import wait_until

SECRET = "s3cret/passw0rd"
ENCODED = "s3cret%2Fpassw0rd"
USERS = (
    f"user default off\nuser importer on >{SECRET} ~* &* +@all\nuser reader on >{SECRET} ~* &* +@read +@connection\n"
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with certificates."""
    return write_certificates(tmp_path_factory.mktemp("files"))


@pytest.fixture
def redis_with_users(make_redis: MakeServer) -> Server:
    """Start a Redis with users, which all have a password."""
    return make_redis(config="aclfile $FILES/users.acl", files={"users.acl": USERS})


class TlsFronts:
    """Several TLS proxies in front of a Redis, since the Redis of many machines is built without TLS."""

    def __init__(self, stack: ExitStack, port: int, files: Path) -> None:
        self.ports = {
            name: stack.enter_context(
                TlsProxy(port, files / f"{certificate}.pem", files / f"{certificate}.key", client_ca)
            ).port
            for name, certificate, client_ca in (
                ("tls", "server", None),
                ("expired", "expired-server", None),
                ("mutual", "server", files / "ca.pem"),
            )
        }

    def uri(self, name: str) -> str:
        """Return the address of a proxy, with the credentials of a user."""
        return f"rediss://importer:{ENCODED}@127.0.0.1:{self.ports[name]}/0"


@pytest.fixture
def fronts(redis_with_users: Server, files: Path) -> Iterator[TlsFronts]:
    """Start the TLS proxies in front of the Redis with users."""
    with ExitStack() as stack:
        yield TlsFronts(stack, redis_with_users.port, files)


@pytest.mark.parametrize(("front", "certificate"), [("tls", None), ("mutual", "client")])
async def test_the_required_settings_are_accepted(
    fronts: TlsFronts, files: Path, front: str, certificate: str | None
) -> None:
    """With the authority, the client certificate if one is required, and the user's password, the connection works."""
    own = (files / f"{certificate}.pem", files / f"{certificate}.key") if certificate else (None, None)
    client = await connect_redis(fronts.uri(front), TlsFiles(files / "ca.pem", *own))
    assert await client.redis.acl_whoami() == "importer"
    await client.close()


async def test_a_certificate_for_another_host_is_rejected(fronts: TlsFronts, files: Path) -> None:
    """A certificate of a trusted authority must also have the right host name."""
    uri = fronts.uri("tls").replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigurationError, match=r"localhost.*; check REDIS_CA_PATH") as raised:
        await connect_redis(uri, TlsFiles(files / "ca.pem"))
    assert ENCODED not in str(raised.value)


@BOTH
@pytest.mark.parametrize(
    ("front", "settings", "error"),
    [
        ("tls", {}, "unable to get local issuer certificate (_ssl.c"),
        ("tls", {"REDIS_CA_PATH": "other-ca.pem"}, "unable to get local issuer certificate (_ssl.c"),
        ("expired", {"REDIS_CA_PATH": "ca.pem"}, "certificate has expired"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem", "own": "other-client"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
        ("mutual", {"REDIS_CA_PATH": "ca.pem", "own": "expired-client"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
    ],
    ids=["no authority", "another authority", "expired", "no certificate", "untrusted", "expired certificate"],
)
def test_an_untrusted_certificate_is_reported(
    fronts: TlsFronts, files: Path, program: tuple[str, ...], front: str, settings: Mapping[str, str], error: str
) -> None:
    """If one side does not trust the other's certificate, a program ends at once and says which variables to check."""
    names = dict(settings)
    if own := names.pop("own", None):
        names |= {"REDIS_CERT_PATH": f"{own}.pem", "REDIS_KEY_PATH": f"{own}.key"}
    paths = {name: str(files / value) for name, value in names.items()}
    outcome = run(*program, **variables(REDIS_URI=fronts.uri(front), **paths))
    reason = last_word(outcome, SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert error in reason
    assert "check REDIS_C" in reason
    assert outcome.seconds < QUICK_SECONDS


@BOTH
@pytest.mark.parametrize("login", ["importer:wr0ng@", f"stranger:{ENCODED}@", f":{ENCODED}@", ""])
def test_rejected_credentials_are_reported(redis_with_users: Server, program: tuple[str, ...], login: str) -> None:
    """A wrong or missing user or password ends a program at once, and is never shown."""
    outcome = run(*program, **variables(REDIS_URI=f"redis://{login}127.0.0.1:{redis_with_users.port}/0"))
    reason = last_word(outcome, "wr0ng", SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert reason.endswith("; check REDIS_URI and the user's permissions")
    assert outcome.seconds < QUICK_SECONDS


@BOTH
def test_a_missing_permission_is_reported(redis_with_users: Server, nats_uri: str, program: tuple[str, ...]) -> None:
    """A program whose user may only read ends at its first denied command, and says what to check."""
    uri = f"redis://reader:{ENCODED}@127.0.0.1:{redis_with_users.port}/0"
    reason = last_word(run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri)), SECRET, ENCODED)
    assert "Redis denied " in reason
    assert reason.endswith("; check REDIS_URI and the user's permissions")


@BOTH
def test_a_password_that_is_changed_while_connected(
    redis_with_users: Server, nats_uri: str, program: tuple[str, ...]
) -> None:
    """A Redis that restarts with another password ends a program with 3, for a restart, which then ends with 2."""
    uri = f"redis://importer:{ENCODED}@127.0.0.1:{redis_with_users.port}/0"
    with ProcessUnderTest(program[0], **variables(REDIS_URI=uri, NATS_URI=nats_uri)) as process:
        process.wait_for('"lock_acquired"' if program[0] == "producer" else '"started"')
        wait_until(lambda: has_heartbeat(redis_with_users.port), "its heartbeat is in Redis")
        redis_with_users.stop()
        users = redis_with_users.data.parent / "files" / "users.acl"
        users.write_text(USERS.replace(SECRET, "another"))
        redis_with_users.start()
        reason = last_word(process.outcome(40), SECRET, ENCODED, code=3)
    assert reason.endswith("; check REDIS_URI and the user's permissions")
    again = last_word(run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri)), SECRET, ENCODED, code=2)
    assert again.startswith("Redis denied the first contact with ")


def has_heartbeat(port: int) -> bool:
    """Return whether a process has recorded its heartbeat."""
    with redis.Redis(port=port, username="importer", password=SECRET) as client:
        return bool(client.zcard(keys.PROCESSES))


@pytest.fixture
def cluster() -> Iterator[int]:
    """Start a Redis in cluster mode that serves all slots; return its port."""
    try:
        server = RedisServer(config="cluster-enabled yes\n")
    except ServerError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    with server, redis.Redis(port=server.port, decode_responses=True) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        wait_until(lambda: "cluster_state:ok" in client.execute_command("CLUSTER", "INFO"), "it serves all slots")
        client.execute_command("ACL", "SETUSER", "poor", "on", f">{SECRET}", "~*", "&*", "+@all", "-info", "-cluster")
        yield server.port


@BOTH
@pytest.mark.parametrize("login", ["", f"poor:{ENCODED}@"])
def test_a_redis_in_cluster_mode_is_an_error(cluster: int, nats_uri: str, program: tuple[str, ...], login: str) -> None:
    """A program ends at its start with the reason, even if its user has no permission for INFO."""
    uri = f"redis://{login}127.0.0.1:{cluster}/0"
    outcome = run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri))
    assert "Redis is in cluster mode, which is not supported" in last_word(outcome, SECRET, ENCODED)
    assert outcome.seconds < QUICK_SECONDS


async def test_a_script_that_a_cluster_rejects_is_an_error(cluster: int) -> None:
    """If the mode of the server is unknown, the error of its first script names cluster mode."""
    async with make_redis_client(f"redis://127.0.0.1:{cluster}") as client:
        with pytest.raises(ConfigurationError, match="Redis is in cluster mode"):
            await Ledger(Scripts(RedisClient(client)), "K").begin("1a" * 12, 0, {"0": 1})


def test_the_check_reports_cluster_mode(cluster: int, nats_uri: str) -> None:
    """`importer check` reports a Redis in cluster mode as an error."""
    uri = f"redis://127.0.0.1:{cluster}/0"
    outcome = run("admin", "check", "--json", **variables(REDIS_URI=uri, NATS_URI=nats_uri))
    assert outcome.code == 1
    assert "Redis is in cluster mode, which is not supported" in outcome.output


@contextmanager
def unresponsive_port() -> Iterator[int]:
    """Yield a port with a full queue of connections, so that the kernel drops all further packets to it."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("is_behind_sentinel", [False, True])
async def test_a_second_address_of_a_host_is_tried(
    make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch, *, is_behind_sentinel: bool
) -> None:
    """If the first address does not respond, the second one is tried in time, at the start and at a reconnect."""
    server = make_redis()
    with ExitStack() as stack:
        sentinel = stack.enter_context(Sentinel(server.port)) if is_behind_sentinel else None
        unresponsive = stack.enter_context(unresponsive_port())
        resolve = socket.getaddrinfo

        def two_addresses(host: str, port: int, *rest: Any, **others: Any) -> list[Any]:
            ports = [unresponsive, port] if host == "two.example.org" else [port]
            return [address for each in ports for address in resolve("127.0.0.1", each, *rest, **others)]

        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        uri = f"redis+sentinel://two.example.org:{sentinel.port}/{MASTER}" if sentinel else None
        started = time.monotonic()
        client = await connect_redis(uri or f"redis://two.example.org:{server.port}")
        assert time.monotonic() - started < 4
        await client.redis.connection_pool.disconnect()
        started = time.monotonic()
        await client.run("a test", lambda redis: redis.set("key", "1"))
        assert time.monotonic() - started < 4
        await client.close()

"""What Redis can demand of us, each by a server that demands it: we are let in with it, and end clearly without it."""

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
    """Certificates."""
    return write_certificates(tmp_path_factory.mktemp("files"))


@pytest.fixture
def restricted_users(make_redis: MakeServer) -> Server:
    """Return a Redis with users, where nobody is let in without a password."""
    return make_redis(config="aclfile $FILES/users.acl", files={"users.acl": USERS})


class Fronts:
    """TLS before a Redis, of several kinds; the Redis of many machines is built without it."""

    def __init__(self, stack: ExitStack, port: int, files: Path) -> None:
        self.ports = {
            name: stack.enter_context(TlsProxy(port, files / f"{who}.pem", files / f"{who}.key", client_ca)).port
            for name, who, client_ca in (
                ("tls", "server", None),
                ("expired", "expired-server", None),
                ("mutual", "server", files / "ca.pem"),
            )
        }

    def uri(self, name: str) -> str:
        return f"rediss://importer:{ENCODED}@127.0.0.1:{self.ports[name]}/0"


@pytest.fixture
def fronts(restricted_users: Server, files: Path) -> Iterator[Fronts]:
    """Start the restricted Redis, behind TLS."""
    with ExitStack() as stack:
        yield Fronts(stack, restricted_users.port, files)


@pytest.mark.parametrize(("front", "certificate"), [("tls", None), ("mutual", "client")])
async def test_let_in(fronts: Fronts, files: Path, front: str, certificate: str | None) -> None:
    """With the authority, the client certificate where one is demanded, and the user's password we get in."""
    own = (files / f"{certificate}.pem", files / f"{certificate}.key") if certificate else (None, None)
    client = await connect_redis(fronts.uri(front), TlsFiles(files / "ca.pem", *own))
    assert await client.redis.acl_whoami() == "importer"
    await client.close()


async def test_a_certificate_for_another_host_is_refused(fronts: Fronts, files: Path) -> None:
    """A trusted authority does not make up for a wrong name."""
    uri = fronts.uri("tls").replace("127.0.0.1", "localhost")
    with pytest.raises(ConfigurationError, match=r"localhost.*; check REDIS_CA_PATH") as refused:
        await connect_redis(uri, TlsFiles(files / "ca.pem"))
    assert ENCODED not in str(refused.value)


@BOTH
@pytest.mark.parametrize(
    ("front", "shown", "told"),
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
def test_refused_by_tls(
    fronts: Fronts, files: Path, program: tuple[str, ...], front: str, shown: Mapping[str, str], told: str
) -> None:
    """Without a certificate that each side trusts a program ends at once and says which variables to check."""
    names = dict(shown)
    if own := names.pop("own", None):
        names |= {"REDIS_CERT_PATH": f"{own}.pem", "REDIS_KEY_PATH": f"{own}.key"}
    paths = {name: str(files / value) for name, value in names.items()}
    outcome = run(*program, **variables(REDIS_URI=fronts.uri(front), **paths))
    reason = last_word(outcome, SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert told in reason
    assert "check REDIS_C" in reason
    assert outcome.seconds < QUICK_SECONDS


@BOTH
@pytest.mark.parametrize("login", ["importer:wr0ng@", f"stranger:{ENCODED}@", f":{ENCODED}@", ""])
def test_refused_credentials(restricted_users: Server, program: tuple[str, ...], login: str) -> None:
    """A wrong password, an unknown user, a password without its user, none at all: told at once, never shown."""
    outcome = run(*program, **variables(REDIS_URI=f"redis://{login}127.0.0.1:{restricted_users.port}/0"))
    reason = last_word(outcome, "wr0ng", SECRET, ENCODED)
    assert reason.startswith("Redis denied the first contact with 127.0.0.1:")
    assert reason.endswith("; check REDIS_URI and the user's permissions")
    assert outcome.seconds < QUICK_SECONDS


@BOTH
def test_refused_rights(restricted_users: Server, nats_uri: str, program: tuple[str, ...]) -> None:
    """A user who may only read is let in, and the first command that he may not use is named."""
    uri = f"redis://reader:{ENCODED}@127.0.0.1:{restricted_users.port}/0"
    reason = last_word(run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri)), SECRET, ENCODED)
    assert "Redis denied " in reason
    assert reason.endswith("; check REDIS_URI and the user's permissions")


@BOTH
def test_a_password_that_is_changed_while_connected(
    restricted_users: Server, nats_uri: str, program: tuple[str, ...]
) -> None:
    """A Redis that no longer knows the password ends a program with 3, to be started again; then it is a setting."""
    uri = f"redis://importer:{ENCODED}@127.0.0.1:{restricted_users.port}/0"
    with ProcessUnderTest(program[0], **variables(REDIS_URI=uri, NATS_URI=nats_uri)) as ours:
        ours.wait_for('"lock_acquired"' if program[0] == "producer" else '"started"')
        wait_until(lambda: has_changed_redis(restricted_users.port), "it has changed something in Redis")
        restricted_users.stop()
        users = restricted_users.data.parent / "files" / "users.acl"
        users.write_text(USERS.replace(SECRET, "another"))
        restricted_users.start()
        reason = last_word(ours.outcome(40), SECRET, ENCODED, code=3)
    assert reason.endswith("; check REDIS_URI and the user's permissions")
    again = last_word(run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri)), SECRET, ENCODED, code=2)
    assert again.startswith("Redis denied the first contact with ")


def has_changed_redis(port: int) -> bool:
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
def test_a_redis_in_cluster_mode(cluster: int, nats_uri: str, program: tuple[str, ...], login: str) -> None:
    """It is not supported, which is said at the start, also to a user without the permission for INFO."""
    uri = f"redis://{login}127.0.0.1:{cluster}/0"
    outcome = run(*program, **variables(REDIS_URI=uri, NATS_URI=nats_uri))
    assert "Redis is in cluster mode, which is not supported" in last_word(outcome, SECRET, ENCODED)
    assert outcome.seconds < QUICK_SECONDS


async def test_a_script_that_a_cluster_rejects(cluster: int) -> None:
    """Where the server does not tell its mode, its error does."""
    async with make_redis_client(f"redis://127.0.0.1:{cluster}") as client:
        with pytest.raises(ConfigurationError, match="Redis is in cluster mode"):
            await Ledger(Scripts(RedisClient(client)), "K").begin("1a" * 12, 0, {"0": 1})


def test_the_check_names_cluster_mode(cluster: int, nats_uri: str) -> None:
    """`importer check` says so as an error."""
    uri = f"redis://127.0.0.1:{cluster}/0"
    outcome = run("admin", "check", "--json", **variables(REDIS_URI=uri, NATS_URI=nats_uri))
    assert outcome.code == 1
    assert "Redis is in cluster mode, which is not supported" in outcome.output


@contextmanager
def address_that_swallows_packets() -> Iterator[int]:
    """Yield a port whose queue of connections is full: the kernel drops what comes for it."""
    with socket.socket() as listener, ExitStack() as stack:
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(3):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(listener.getsockname())
        yield listener.getsockname()[1]


@pytest.mark.parametrize("is_behind_sentinel", [False, True])
async def test_a_host_name_whose_first_address_swallows_packets(
    make_redis: MakeServer, monkeypatch: pytest.MonkeyPatch, *, is_behind_sentinel: bool
) -> None:
    """The second address is tried in time, at the start and when the connection has to be made again."""
    server = make_redis()
    with ExitStack() as stack:
        sentinel = stack.enter_context(Sentinel(server.port)) if is_behind_sentinel else None
        dead = stack.enter_context(address_that_swallows_packets())
        resolve = socket.getaddrinfo

        def two_addresses(host: str, port: int, *rest: Any, **others: Any) -> list[Any]:
            ports = [dead, port] if host == "two.example.org" else [port]
            return [answer for each in ports for answer in resolve("127.0.0.1", each, *rest, **others)]

        monkeypatch.setattr(socket, "getaddrinfo", two_addresses)
        uri = f"redis+sentinel://two.example.org:{sentinel.port}/{MASTER}" if sentinel else None
        begun = time.monotonic()
        client = await connect_redis(uri or f"redis://two.example.org:{server.port}")
        assert time.monotonic() - begun < 4
        await client.redis.connection_pool.disconnect()
        begun = time.monotonic()
        await client.run("a test", lambda redis: redis.set("here", "1"))
        assert time.monotonic() - begun < 4
        await client.close()

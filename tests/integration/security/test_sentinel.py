"""Redis with a real Sentinel: with a password, with TLS, with a wrong address, and when the master changes."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from demo.servers.processes import RedisServer, Server, ServerError, free_port
from shared.config.tls_files import TlsFiles
from shared.model import keys
from shared.model.errors import ConfigurationError
from shared.store.redis_client import connect_redis
from tests.support.certificates import write_certificates
from tests.support.programs import ProcessUnderTest, run
from tests.support.sentinel import MASTER, Sentinel
from tests.support.startup_errors import BOTH, last_word, variables
from tests.support.tls_proxy import TlsProxy
from tests.support.waiting import wait_until

SECRET = "s3cret-passw0rd"
CONFIG = f"requirepass {SECRET}\nmasterauth {SECRET}\n"


def local_redis(config: str = CONFIG) -> Server:
    """Return a local Redis, since a Sentinel and replicas must reach it at the address that clients use."""
    try:
        return RedisServer(config=config)
    except ServerError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@pytest.fixture
def master() -> Iterator[Server]:
    """Start a Redis that is the master."""
    with local_redis() as server:
        yield server


def address(port: int, password: str = SECRET, name: str = MASTER, scheme: str = "redis+sentinel") -> str:
    """Return an address with two Sentinels, of which only the second one is running."""
    return f"{scheme}://:{password}@127.0.0.1:1,127.0.0.1:{port}/{name}/0"


async def test_a_connection_with_a_password(master: Server) -> None:
    """A Sentinel that is not running is skipped, and the master that another one names gets the password."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        client = await connect_redis(address(sentinel.port))
        await client.redis.set("key", "1")
        await client.close()
    with redis.Redis(port=master.port, password=SECRET) as direct:
        assert direct.get("key") == b"1"


async def test_a_sentinel_with_an_ipv6_address(master: Server) -> None:
    """An IPv6 address in brackets is used, and one that does not respond is skipped."""
    with Sentinel(master.port, password=SECRET, host="::1") as sentinel:
        uri = f"redis+sentinel://:{SECRET}@[::1]:1,[::1]:{sentinel.port}/{MASTER}"
        client = await connect_redis(uri)
        await client.redis.set("key", "1")
        await client.close()
    with redis.Redis(port=master.port, password=SECRET) as direct:
        assert direct.get("key") == b"1"


async def test_a_sentinel_with_the_address_of_a_redis_is_an_error(master: Server) -> None:
    """The address of a Sentinel with the scheme of a Redis is an error that names the right scheme."""
    expected = pytest.raises(ConfigurationError, match=r"leads to a Sentinel: write it as redis\+sentinel://")
    with Sentinel(master.port, password=SECRET) as sentinel, expected:
        await connect_redis(f"redis://127.0.0.1:{sentinel.port}")


async def test_a_connection_with_tls(master: Server, tmp_path: Path) -> None:
    """With rediss+sentinel the connection to the master uses TLS, with the client certificate and authority check."""
    files = write_certificates(tmp_path)
    tls_files = TlsFiles(files / "ca.pem", files / "client.pem", files / "client.key")
    with (
        TlsProxy(master.port, files / "server.pem", files / "server.key", files / "ca.pem") as front,
        Sentinel(front.port) as sentinel,
    ):
        client = await connect_redis(address(sentinel.port, scheme="rediss+sentinel"), tls_files)
        await client.redis.set("key", "1")
        await client.close()
    with redis.Redis(port=master.port, password=SECRET) as direct:
        assert direct.get("key") == b"1"


@BOTH
@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"REDIS_CA_PATH": "other-ca.pem"}, "check REDIS_CA_PATH"),
        ({"REDIS_CA_PATH": "ca.pem"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
    ],
    ids=["another authority", "no certificate"],
)
def test_an_untrusted_certificate_is_reported(
    master: Server, tmp_path: Path, program: tuple[str, ...], settings: dict[str, str], error: str
) -> None:
    """A TLS error of a master that a Sentinel names is reported as without a Sentinel."""
    files = write_certificates(tmp_path)
    with (
        TlsProxy(master.port, files / "server.pem", files / "server.key", files / "ca.pem") as front,
        Sentinel(front.port) as sentinel,
    ):
        uri = address(sentinel.port, scheme="rediss+sentinel")
        paths = {name: str(files / value) for name, value in settings.items()}
        reason = last_word(run(*program, **variables(REDIS_URI=uri, **paths)), SECRET)
    assert reason.endswith(error)


@BOTH
def test_a_wrong_password_is_reported(master: Server, program: tuple[str, ...]) -> None:
    """A password that the master rejects ends a program at once, with what to check."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        outcome = run(*program, **variables(REDIS_URI=address(sentinel.port, password="wr0ng")))
    assert last_word(outcome, "wr0ng", SECRET).endswith("; check REDIS_URI and the user's permissions")


@BOTH
def test_an_unknown_master_is_reported(master: Server, program: tuple[str, ...]) -> None:
    """A master's name that no Sentinel knows ends a program after bounded attempts, with the name."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        outcome = run(*program, **variables(REDIS_URI=address(sentinel.port, name="unknown")))
    reason = last_word(outcome, SECRET, code=3)
    assert "Redis is unavailable (the first contact with 127.0.0.1:1,127.0.0.1:" in reason
    assert "'unknown'" in reason


@BOTH
def test_an_unreachable_sentinel_is_reported(program: tuple[str, ...]) -> None:
    """Without any running Sentinel a program ends after bounded attempts, with the exit code for a restart."""
    outcome = run(*program, **variables(REDIS_URI=address(free_port())))
    assert "No master found for 'importer'" in last_word(outcome, SECRET, code=3)


def test_a_collector_survives_a_change_of_the_master(master: Server, nats_uri: str) -> None:
    """When a replica takes over and the old master dies, the same process continues there, with new heartbeats."""
    with (
        local_redis(f"{CONFIG}replicaof 127.0.0.1 {master.port}\n") as replica,
        Sentinel(master.port, password=SECRET) as sentinel,
        ProcessUnderTest(
            "ack_collector", **variables(REDIS_URI=address(sentinel.port), NATS_URI=nats_uri)
        ) as collector,
        redis.Redis(port=replica.port, password=SECRET) as new_master,
    ):
        collector.wait_for('"started"')
        wait_until(sentinel.knows_a_replica, "the Sentinel knows the replica", 30)
        sentinel.fail_over()
        wait_until(lambda: sentinel.master_port() == replica.port, "the replica is the master", 30)
        master.kill()
        new_master.delete(keys.PROCESSES)
        wait_until(lambda: new_master.zcard(keys.PROCESSES) == 1, "a heartbeat of the collector", 30)
        collector.terminate()
        outcome = collector.outcome()
    assert outcome.code == 0, outcome.output
    assert "Traceback" not in outcome.output

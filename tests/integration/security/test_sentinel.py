"""Redis behind a real Sentinel: with a password, with TLS, with a wrong address, and when the master changes."""

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
    """Start a local process, since a Sentinel and replicas must find it under the address that clients use."""
    try:
        return RedisServer(config=config)
    except ServerError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))


@pytest.fixture
def master() -> Iterator[Server]:
    with local_redis() as server:
        yield server


def address(port: int, password: str = SECRET, name: str = MASTER, scheme: str = "redis+sentinel") -> str:
    """Of a Sentinel that is there, beside one that is not."""
    return f"{scheme}://:{password}@127.0.0.1:1,127.0.0.1:{port}/{name}/0"


async def test_let_in_with_a_password(master: Server) -> None:
    """The Sentinel that answers tells the master, which gets the password; one that is not there is passed over."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        client = await connect_redis(address(sentinel.port))
        await client.redis.set("here", "1")
        await client.close()
    with redis.Redis(port=master.port, password=SECRET) as there:
        assert there.get("here") == b"1"


async def test_a_sentinel_with_an_address_of_ipv6(master: Server) -> None:
    """Hosts in brackets are found, one that is not there is passed over."""
    with Sentinel(master.port, password=SECRET, host="::1") as sentinel:
        uri = f"redis+sentinel://:{SECRET}@[::1]:1,[::1]:{sentinel.port}/{MASTER}"
        client = await connect_redis(uri)
        await client.redis.set("here", "1")
        await client.close()
    with redis.Redis(port=master.port, password=SECRET) as there:
        assert there.get("here") == b"1"


async def test_a_sentinel_that_is_written_as_a_redis(master: Server) -> None:
    """A Sentinel replies to a PING as well; what to write is said at once."""
    expected = pytest.raises(ConfigurationError, match=r"leads to a Sentinel: write it as redis\+sentinel://")
    with Sentinel(master.port, password=SECRET) as sentinel, expected:
        await connect_redis(f"redis://127.0.0.1:{sentinel.port}")


async def test_let_in_with_tls(master: Server, tmp_path: Path) -> None:
    """By rediss+sentinel the master is spoken to by TLS, with our certificate, and its authority is checked."""
    files = write_certificates(tmp_path)
    ours = TlsFiles(files / "ca.pem", files / "client.pem", files / "client.key")
    with (
        TlsProxy(master.port, files / "server.pem", files / "server.key", files / "ca.pem") as front,
        Sentinel(front.port) as sentinel,
    ):
        client = await connect_redis(address(sentinel.port, scheme="rediss+sentinel"), ours)
        await client.redis.set("here", "1")
        await client.close()


@BOTH
@pytest.mark.parametrize(
    ("shown", "told"),
    [
        ({"REDIS_CA_PATH": "other-ca.pem"}, "check REDIS_CA_PATH"),
        ({"REDIS_CA_PATH": "ca.pem"}, "check REDIS_CERT_PATH and REDIS_KEY_PATH"),
    ],
    ids=["another authority", "no certificate"],
)
def test_refused_by_tls(
    master: Server, tmp_path: Path, program: tuple[str, ...], shown: dict[str, str], told: str
) -> None:
    """What a master that was found by a Sentinel refuses is told as without one."""
    files = write_certificates(tmp_path)
    with (
        TlsProxy(master.port, files / "server.pem", files / "server.key", files / "ca.pem") as front,
        Sentinel(front.port) as sentinel,
    ):
        uri = address(sentinel.port, scheme="rediss+sentinel")
        paths = {name: str(files / value) for name, value in shown.items()}
        reason = last_word(run(*program, **variables(REDIS_URI=uri, **paths)), SECRET)
    assert reason.endswith(told)


@BOTH
def test_refused_with_a_wrong_password(master: Server, program: tuple[str, ...]) -> None:
    """The master's refusal ends a program at once, with what to check."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        outcome = run(*program, **variables(REDIS_URI=address(sentinel.port, password="wr0ng")))
    assert last_word(outcome, "wr0ng", SECRET).endswith("; check REDIS_URI and the user's permissions")


@BOTH
def test_an_unknown_master(master: Server, program: tuple[str, ...]) -> None:
    """A name that no Sentinel knows is told, after bounded attempts."""
    with Sentinel(master.port, password=SECRET) as sentinel:
        outcome = run(*program, **variables(REDIS_URI=address(sentinel.port, name="stranger")))
    reason = last_word(outcome, SECRET, code=3)
    assert "Redis is unavailable (the first contact with 127.0.0.1:1,127.0.0.1:" in reason
    assert "'stranger'" in reason


@BOTH
def test_no_sentinel_answers(program: tuple[str, ...]) -> None:
    """Without any Sentinel a program gives up after bounded attempts, and can be started again."""
    outcome = run(*program, **variables(REDIS_URI=address(free_port())))
    assert "No master found for 'importer'" in last_word(outcome, SECRET, code=3)


def test_a_collector_outlives_a_change_of_the_master(master: Server, nats_uri: str) -> None:
    """A replica takes over, and the old master dies: the same process goes on there, with new signs of life."""
    with (
        local_redis(f"{CONFIG}replicaof 127.0.0.1 {master.port}\n") as replica,
        Sentinel(master.port, password=SECRET) as sentinel,
        ProcessUnderTest(
            "ack_collector", **variables(REDIS_URI=address(sentinel.port), NATS_URI=nats_uri)
        ) as collector,
        redis.Redis(port=replica.port, password=SECRET) as new,
    ):
        collector.wait_for('"started"')
        wait_until(sentinel.knows_a_replica, "the Sentinel knows the replica", 30)
        sentinel.fail_over()
        wait_until(lambda: sentinel.master_port() == replica.port, "the replica is the master", 30)
        master.kill()
        new.delete(keys.PROCESSES)
        wait_until(lambda: new.zcard(keys.PROCESSES) == 1, "the collector beats there", 30)
        collector.terminate()
        outcome = collector.outcome()
    assert outcome.code == 0, outcome.output
    assert "Traceback" not in outcome.output

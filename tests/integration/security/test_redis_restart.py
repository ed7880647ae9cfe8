"""A Redis with the shipped users and an append-only file holds after a restart what it held before."""

import dataclasses
import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from demo.servers.processes import RedisServer, Server
from demo.servers.specs import REDIS, ServerError
from demo.sisu.simulator import SisuSimulator
from shared.model import keys
from tests.support.programs import ProcessUnderTest, run
from tests.support.restricted_users import REDIS_USERS, RestrictedUsers


class Redis7(RedisServer):
    """A Redis of a version that replays its append-only file with the permissions of a user."""

    spec = dataclasses.replace(REDIS, minimum=(7, 0), install="apt-get install redis-server")


READER = "user reader on >change-me-reader ~* &* +@all\n"
"""Beside the shipped users, for the test to see every key."""


@pytest.fixture
def users(restricted_nats: Server) -> Iterator[tuple[RestrictedUsers, Server]]:
    """Start a SISU and servers with the shipped users; Redis appends all writes to its file."""
    try:
        server = Redis7(
            config="appendonly yes\naclfile $FILES/users.acl", files={"users.acl": f"{REDIS_USERS}{READER}"}
        )
    except ServerError as error:
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    with server, SisuSimulator(size=200) as sisu:
        yield RestrictedUsers(restricted_nats.uri, server.uri, sisu), server


def read_everything(server: Server) -> dict[str, tuple[object, bool]]:
    """Return each key's whole content, and whether it expires."""
    with redis.Redis(port=server.port, username="reader", password="change-me-reader", decode_responses=True) as client:
        return {key: (read_key(client, key), client.ttl(key) != -1) for key in client.scan_iter()}


def read_key(client: redis.Redis, key: str) -> object:
    match kind := client.type(key):
        case "string":
            return client.get(key)
        case "hash":
            return client.hgetall(key)
        case "list":
            return client.lrange(key, 0, -1)
        case "zset":
            return client.zrange(key, 0, -1, withscores=True)
    raise AssertionError(f"{key} is a {kind}")


@pytest.mark.parametrize("end", ["restart", "kill"])
def test_nothing_is_lost_by_a_restart(users: tuple[RestrictedUsers, Server], tmp_path: Path, end: str) -> None:
    """After an import with a dead letter, a pause and a rewind, every key is the same, after a crash as well."""
    restricted, server = users
    restricted.sisu.put("PERSON", {"id": "bad", "documentState": "ACTIVE"})
    with ExitStack() as stack:
        producer = ProcessUnderTest(
            "producer", "--once", **restricted.variables("producer") | {"SERVICES": "PERSON,COUNTRY"}
        )
        stack.enter_context(producer).wait_for('"lock_acquired"')
        collector = stack.enter_context(ProcessUnderTest("ack_collector", **restricted.variables("ack_collector")))
        arguments = ("--db", str(tmp_path / "store"), "--fail-id", "bad")
        stack.enter_context(ProcessUnderTest("demo.mankeli", *arguments, **restricted.variables("mankeli")))
        assert producer.outcome().code == 0, producer.output
        collector.terminate()  # it removes its heartbeat, which would expire meanwhile
        assert collector.outcome().code == 0
    for command in (("rewind", "PERSON", "--to", "7"), ("pause", "--reason", "a test")):
        outcome = run("admin", *command, **restricted.variables("operator"))
        assert outcome.code == 0, outcome.output
    before = read_everything(server)
    wanted = {"LATEST_PERSON_ORDINAL", keys.RUNS, keys.SERVICES, keys.REWINDS, keys.PAUSED, keys.CURRENT_EXECUTION_HASH}
    assert wanted <= before.keys()

    if end == "kill":
        server.kill()
        server.start()
    else:
        server.restart()

    assert read_everything(server) == before

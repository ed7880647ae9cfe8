"""The fixtures for servers: shared ones are clean for each test, and factories start separate ones."""

import pytest
import redis

from demo.servers.processes import Server
from demo.servers.specs import ServerError
from tests.conftest import MakeServer
from tests.support.streams import add_message, count_messages


async def test_shared_servers_are_clean_for_each_test(nats_uri: str, redis_uri: str) -> None:
    """No data of another test is left; this test leaves some, and runs twice under two names."""
    assert await count_messages(nats_uri) == 0
    await add_message(nats_uri)
    with redis.Redis.from_url(redis_uri) as client:
        assert client.dbsize() == 0
        client.set("a", "1")


test_shared_servers_are_clean_for_the_next_test = test_shared_servers_are_clean_for_each_test


async def test_factories_start_separate_servers(
    make_nats: MakeServer, make_redis: MakeServer, nats_server: Server
) -> None:
    """Each call of a factory makes another server, which is started unless `start` is false."""
    started, not_started = make_nats(), make_nats(start=False)
    assert len({started.port, not_started.port, nats_server.port}) == 3
    started.ready(0)
    with pytest.raises(ServerError):
        not_started.ready(0)
    make_redis(config="requirepass secret").ready(0)

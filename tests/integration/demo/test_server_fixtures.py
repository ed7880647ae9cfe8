"""The servers that tests are given: shared ones are clean, and those of a test's own are its own."""

import pytest
import redis

from demo.servers.processes import Server
from demo.servers.specs import ServerError
from tests.conftest import MakeServer
from tests.support.streams import add_message, count_messages


async def test_shared_servers_are_clean_for_each_test(nats_uri: str, redis_uri: str) -> None:
    """Nothing of another test is left; this one leaves something for itself run again."""
    assert await count_messages(nats_uri) == 0
    await add_message(nats_uri)
    with redis.Redis.from_url(redis_uri) as client:
        assert client.dbsize() == 0
        client.set("a", "1")


test_shared_servers_are_clean_for_the_next_test = test_shared_servers_are_clean_for_each_test


async def test_factories_make_servers_of_a_tests_own(
    make_nats: MakeServer, make_redis: MakeServer, nats_server: Server
) -> None:
    """Each is another server, started unless it is not to be."""
    one, two = make_nats(), make_nats(start=False)
    assert len({one.port, two.port, nats_server.port}) == 3
    one.ready(0)
    with pytest.raises(ServerError):
        two.ready(0)
    make_redis(config="requirepass secret").ready(0)

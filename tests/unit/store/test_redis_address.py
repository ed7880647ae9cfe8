"""Addresses of Redis and of Sentinels: every part of them reaches the client."""

import pytest

from shared.config.redis_address import RedisAddress
from shared.config.settings import CollectorSettings, read_settings
from shared.store.redis_client import make_redis
from tests.unit.conftest import SetEnvironment


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://host", {"host": "host"}),
        ("redis://host:6380/3", {"host": "host", "port": 6380, "db": 3}),
        ("redis://user:p%40ss@host", {"host": "host", "username": "user", "password": "p@ss"}),
        ("redis://:57%23W%2F%3F%20%3A@host/1", {"host": "host", "username": None, "password": "57#W/? :", "db": 1}),
        ("redis://:a:b@c@host", {"host": "host", "password": "a:b@c"}),
        ("redis://[::1]", {"host": "::1", "port": 6379, "db": 0, "password": None}),
        ("redis://ada:x@[fe80::1%eth0]:1/2", {"host": "fe80::1%eth0", "port": 1, "db": 2, "username": "ada"}),
        ("redis://", {"host": "localhost", "port": 6379}),
    ],
)
def test_an_address_of_redis_is_parsed(uri: str, expected: dict[str, object]) -> None:
    """The client gets the host, port, database and decoded credentials of a redis:// address."""
    options = make_redis(uri).connection_pool.connection_kwargs
    assert {name: options.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("uri", "sentinels", "master", "expected"),
    [
        ("redis+sentinel://one/mymaster", [("one", 26379)], "mymaster", {"db": 0, "password": None}),
        ("redis+sentinel://[::1],[::2]:3/mymaster", [("::1", 26379), ("::2", 3)], "mymaster", {"db": 0}),
        (
            "redis+sentinel://user:p%2Fss@one:1,two:2/mymaster/4",
            [("one", 1), ("two", 2)],
            "mymaster",
            {"db": 4, "username": "user", "password": "p/ss"},
        ),
    ],
)
def test_an_address_of_sentinels_is_parsed(
    environment: SetEnvironment,
    uri: str,
    sentinels: list[tuple[str, int]],
    master: str,
    expected: dict[str, object],
) -> None:
    """The client gets all sentinels, the master's name, the database and the master's credentials of the address."""
    environment(REDIS_URI=uri)
    address = read_settings(CollectorSettings).redis_uri.get_secret_value()
    pool = make_redis(address).connection_pool
    options = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(each["host"], each["port"]) for each in options] == sentinels
    assert pool.service_name == master
    assert {name: pool.connection_kwargs.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("uri", "encrypted"), [("redis+sentinel://one/mymaster", False), ("rediss+sentinel://one/mymaster", True)]
)
def test_the_scheme_decides_whether_the_master_is_encrypted(uri: str, *, encrypted: bool) -> None:
    """An address with rediss+sentinel:// uses TLS to the master, and one with redis+sentinel:// does not."""
    pool = make_redis(uri).connection_pool
    assert any("SSL" in kind.__name__ for kind in pool.connection_class.__mro__) is encrypted


def test_an_address_is_shown_without_credentials() -> None:
    """Hosts and ports alone, an IPv6 address in brackets."""
    assert RedisAddress.parse("redis+sentinel://ada:s3cret@[::1]:1,two/m").redacted == "[::1]:1,two:26379"

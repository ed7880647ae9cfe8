"""Addresses of Redis and of Sentinels: every part of them reaches the client."""

import pytest

from shared.config.settings import CollectorSettings, read_settings
from shared.store.redis_client import make_redis
from tests.unit.conftest import SetEnvironment


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("redis://host", {"host": "host"}),
        ("redis://host:6380/3", {"host": "host", "port": 6380, "db": 3}),
        ("redis://user:p%40ss@host", {"host": "host", "username": "user", "password": "p@ss"}),
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

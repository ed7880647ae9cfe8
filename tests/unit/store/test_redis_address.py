"""Addresses of Redis, and of Sentinels: all that stands in them reaches the client."""

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
def test_an_address_of_redis_is_taken_apart(uri: str, expected: dict[str, object]) -> None:
    """Host, port, database and credentials of redis:// arrive at the client, undoing percent-encoding."""
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
def test_an_address_of_sentinels_is_taken_apart(
    environment: SetEnvironment,
    uri: str,
    sentinels: list[tuple[str, int]],
    master: str,
    expected: dict[str, object],
) -> None:
    """All sentinels, the name of the master, the database and the master's credentials are read from the address."""
    environment(REDIS_URI=uri)
    address = read_settings(CollectorSettings).redis_uri.get_secret_value()
    pool = make_redis(address).connection_pool
    asked = [sentinel.connection_pool.connection_kwargs for sentinel in pool.sentinel_manager.sentinels]
    assert [(options["host"], options["port"]) for options in asked] == sentinels
    assert pool.service_name == master
    assert {name: pool.connection_kwargs.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("uri", "encrypted"), [("redis+sentinel://one/mymaster", False), ("rediss+sentinel://one/mymaster", True)]
)
def test_sentinels_lead_to_an_encrypted_master_where_asked(uri: str, *, encrypted: bool) -> None:
    """rediss+sentinel:// speaks TLS to the master."""
    pool = make_redis(uri).connection_pool
    assert any("SSL" in kind.__name__ for kind in pool.connection_class.__mro__) is encrypted

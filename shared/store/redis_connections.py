"""redis-py's connections, with one change: of a host name with several addresses all are tried in time.

asyncio tries the addresses one after another, and redis-py's time-out covers all of them together, so one address that
swallows packets would hide all that follow. With `happy_eyeballs_delay` (RFC 8305) the next one is tried beside it.
"""

from collections.abc import Mapping
from typing import Any

from redis.asyncio.connection import Connection, SSLConnection
from redis.asyncio.sentinel import SentinelManagedConnection

_NEXT_ADDRESS_SECONDS = 0.5


class _AllAddresses(Connection):
    def _connection_arguments(self) -> Mapping[str, Any]:
        return {**super()._connection_arguments(), "happy_eyeballs_delay": _NEXT_ADDRESS_SECONDS}


class PlainConnection(_AllAddresses):
    """A connection without TLS."""


class TlsConnection(_AllAddresses, SSLConnection):
    """A connection with TLS."""


class SentinelConnection(SentinelManagedConnection, PlainConnection):
    """A connection to the master that Sentinels name."""


class SentinelTlsConnection(SentinelManagedConnection, TlsConnection):
    """A connection with TLS to the master that Sentinels name."""

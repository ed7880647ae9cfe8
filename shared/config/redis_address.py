"""The address of Redis, as in REDIS_URI. Parsed without a client library, so that it is validated at start-up."""

from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote, urlsplit

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379


@dataclass(frozen=True)
class RedisAddress:
    """A parsed address.

    ``redis://[user:password@]host:port/database``, ``rediss://…`` for TLS, and for Sentinel
    ``redis+sentinel://[user:password@]host:port,host:port/<name of the master>[/database]`` (``rediss+sentinel`` for
    TLS).
    """

    tls: bool
    hosts: tuple[tuple[str, int], ...]
    """Hosts with their ports: of Redis, exactly one; of Sentinel, one or more."""
    database: int
    master: str | None = None
    """The name under which Sentinel knows the master; None without Sentinel."""
    username: str | None = None
    password: str | None = None

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse `uri`. Raises ValueError, without quoting it, since it may have a password."""
        try:
            parts = urlsplit(uri)
        except ValueError:
            raise ValueError("is not an address") from None
        if parts.scheme not in SCHEMES:
            raise ValueError("must begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")
        if parts.query or parts.fragment:  # redis-py reads options from it, one of which turns off TLS verification
            raise ValueError("must not have options after ? or #")
        is_sentinel = parts.scheme.endswith("+sentinel")
        host_part = parts.netloc.rpartition("@")[2]
        path = parts.path.strip("/")
        if is_sentinel and not (host_part and path):
            raise ValueError("must name hosts and the master: redis+sentinel://host:26379,host:26379/mymaster")
        master, _, database = path.partition("/") if is_sentinel else ("", "", path)
        default_port = _DEFAULT_SENTINEL_PORT if is_sentinel else _DEFAULT_PORT
        addresses = host_part.split(",") if is_sentinel else [host_part]
        try:
            hosts = tuple(_host_and_port(address, default_port) for address in addresses)
            number = int(database or 0)
        except ValueError:
            raise ValueError(
                "is not an address that Redis understands: redis://user:password@host:6379/0, with / in a password "
                "written as %2F"
            ) from None
        return cls(
            tls=parts.scheme.startswith("rediss"),
            hosts=hosts,
            database=number,
            master=master or None,
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
        )

    @property
    def redacted(self) -> str:
        """The hosts and ports, without credentials."""
        return ",".join(f"{host}:{port}" for host, port in self.hosts)


def _host_and_port(address: str, default_port: int) -> tuple[str, int]:
    if address.startswith("["):  # IPv6
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":")
    else:
        host, _, port = address.partition(":")
    if not host.strip():
        host = "localhost"
    return host, int(port or default_port)

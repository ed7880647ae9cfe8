"""The address of Redis, as in REDIS_URI. Parsed without a client library, so that it is validated at start-up."""

import ipaddress
import re
from dataclasses import dataclass
from typing import Self
from urllib.parse import unquote

SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_DEFAULT_PORT = 6379
_DEFAULT_SENTINEL_PORT = 26379
_MAX_PORT = 65535
_NUMBER = re.compile(r"[0-9]{1,5}", re.ASCII)
_HOST_AND_PORT = re.compile(r"(\[(?P<ipv6>[^\[\]]*)\]|(?P<host>[A-Za-z0-9._-]+))(:(?P<port>[0-9]{0,5}))?", re.ASCII)


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
        scheme, separator, rest = uri.partition("://")
        if not separator or scheme not in SCHEMES:
            raise ValueError("must begin with redis://, rediss://, redis+sentinel:// or rediss+sentinel://")
        authority, path = _split_path(rest)
        login, _, host_part = authority.rpartition("@")
        user, _, password = login.partition(":")
        is_sentinel = scheme.endswith("+sentinel")
        if is_sentinel and not (host_part and path):
            raise ValueError("must name hosts and the master: redis+sentinel://host:26379,host:26379/mymaster")
        master, _, database = path.partition("/") if is_sentinel else ("", "", path)
        default_port = _DEFAULT_SENTINEL_PORT if is_sentinel else _DEFAULT_PORT
        addresses = host_part.split(",") if is_sentinel else [host_part or "localhost"]
        return cls(
            tls=scheme.startswith("rediss"),
            hosts=tuple(_host_and_port(address, default_port) for address in addresses),
            database=_database(database),
            master=unquote(master) or None,
            username=unquote(user) or None,
            password=unquote(password) or None,
        )

    @property
    def redacted(self) -> str:
        """The hosts and ports, without credentials."""
        return ",".join(f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in self.hosts)


def _split_path(rest: str) -> tuple[str, str]:
    """Split what follows the scheme into user, password and hosts on one side, and the path on the other.

    Not by urllib, which cuts a password at the first #, ? or /, and takes what precedes it for the host.
    """
    end = re.search(r"[/?#]", rest)
    authority, tail = (rest[: end.start()], rest[end.start() :]) if end else (rest, "")
    if "@" in tail:
        raise ValueError("has a user or password that must be percent-encoded: write / as %2F, # as %23, ? as %3F")
    if "?" in tail or "#" in tail:
        raise ValueError("must not have options after ? or #: the files for TLS are in REDIS_CA_PATH and its like")
    if not (rest.isprintable() and " " not in rest):
        raise ValueError("must not have spaces or line breaks: write a space in a password as %20")
    return authority, tail.strip("/")


def _database(text: str) -> int:
    if text and not _NUMBER.fullmatch(text):
        raise ValueError("must end with the number of a database, like /0, or without one")
    return int(text or 0)


def _host_and_port(address: str, default_port: int) -> tuple[str, int]:
    parts = _HOST_AND_PORT.fullmatch(address)
    if parts is None or int(parts["port"] or default_port) > _MAX_PORT:
        raise ValueError(
            "is not an address that Redis understands: redis://user:password@host:6379/0, an IPv6 address in brackets, "
            "and : @ / in a user or password written as %3A, %40, %2F"
        )
    if parts["ipv6"]:
        try:
            ipaddress.IPv6Address(parts["ipv6"])
        except ValueError:
            raise ValueError("has brackets, and no IPv6 address in them") from None
    return parts["ipv6"] or parts["host"], int(parts["port"] or default_port)

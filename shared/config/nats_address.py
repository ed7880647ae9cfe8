"""The addresses of NATS, as in NATS_URI. Parsed without a client library, so that they are validated at start-up."""

from dataclasses import dataclass, field
from typing import Self
from urllib.parse import SplitResult, unquote, urlsplit

_SCHEMES = ("nats", "tls")
_DEFAULT_PORT = 4222
_FORM = "must be nats://host:4222 or tls://host:4222, several separated by commas"
_ENCODE = "in a user or password, write / as %2F, ? as %3F, # as %23, , as %2C and % as %25"


@dataclass(frozen=True)
class NatsServerAddress:
    """One server, without credentials."""

    scheme: str
    host: str
    """A name or an address; one of IPv6 has no brackets."""
    port: int

    @property
    def host_and_port(self) -> str:
        """Return the host and port, like ``nats.example.org:4222`` or ``[::1]:4222``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def uri(self) -> str:
        """Return the address as a URI, which has no credentials."""
        return f"{self.scheme}://{self.host_and_port}"


@dataclass(frozen=True)
class NatsAddress:
    """All servers of NATS_URI, and the one user or token that they share.

    ``nats://[user:password@]host:port`` or ``tls://…``, several separated by commas; ``token@`` in place of a user and
    password is a token. All of it may be percent-encoded.
    """

    servers: tuple[NatsServerAddress, ...]
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Parse `uri`. Raises ValueError, without quoting it, since it may have a password."""
        parts = [_split(address.strip()) for address in uri.split(",")]
        logins = {login for each in parts if (login := _login(each)) != (None, None)}
        if len(logins) > 1:
            raise ValueError("must have the same user and password for all servers")
        user, password = logins.pop() if logins else (None, None)
        servers = tuple(
            NatsServerAddress(each.scheme, each.hostname or "", each.port or _DEFAULT_PORT) for each in parts
        )
        return cls(servers, token=user) if password is None else cls(servers, user, password)

    @property
    def demands_tls(self) -> bool:
        """Whether any of the addresses is tls://. Then no server may be without TLS, since one can name others."""
        return any(server.scheme == "tls" for server in self.servers)

    @property
    def redacted(self) -> str:
        """The hosts and ports, without credentials."""
        return ", ".join(server.host_and_port for server in self.servers)


def _split(address: str) -> SplitResult:
    """Split one address. Errors of urllib are left out of the chain, since they may quote a password."""
    try:
        parts = urlsplit(address)
    except ValueError:
        raise ValueError("is not an address") from None
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"{_FORM}; {_ENCODE}" if "@" in address else _FORM)
    try:
        port = parts.port
    except ValueError:
        # Where a password has a slash, what precedes it looks like the port.
        raise ValueError(f"is not an address: its port must be a number; {_ENCODE}") from None
    if not parts.hostname or port == 0 or " " in parts.hostname:
        raise ValueError(_FORM)
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"must not have anything after the port; {_ENCODE}")
    return parts


def _login(parts: SplitResult) -> tuple[str | None, str | None]:
    """Return the user and the password, decoded; a user alone is a token."""
    try:
        user, password = (
            unquote(text, errors="strict") if text is not None else None for text in (parts.username, parts.password)
        )
    except UnicodeDecodeError:
        raise ValueError(f"has a user or password that is not UTF-8; {_ENCODE}") from None
    return user or (None if password is None else ""), password

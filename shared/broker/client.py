"""The client of nats-py, with what it lacks.

All addresses of a host name are tried, renewed files are followed, and TLS that was asked for is demanded.

nats-py 2.16 leaves a host name to asyncio, which tries its addresses one after another without a limit of its own: one
that swallows packets uses up the whole time, in every attempt. It also builds its TLS context once, and uses TLS only
where the server's INFO demands it, which comes in clear text. The methods overridden here are private, so the tests
connect through a network that swallows packets, renew certificates, and read what a server without TLS is sent.
"""

import asyncio
import socket
import ssl
from collections import Counter
from collections.abc import Callable

import nats.aio.client
import nats.errors
from nats.aio.client import Srv

_RESOLVE_SECONDS = 5.0
_ADDRESS_CONNECT_SECONDS = 2.0
"""For the TCP connection to one address; several of them must fit into the time of an operator's command."""


class TlsNotOfferedError(nats.errors.Error):
    """A server without TLS, where TLS was asked for. It was sent nothing."""


class NatsClient(nats.aio.client.Client):
    """A client whose TLS context `make_tls` makes for each attempt to connect; None stands for the defaults.

    `demands_tls`: raise TlsNotOfferedError at a server without TLS, before anything is sent to it.
    """

    def __init__(self, make_tls: Callable[[], ssl.SSLContext | None], *, demands_tls: bool) -> None:
        super().__init__()
        self._make_tls = make_tls
        self._demands_tls = demands_tls
        self._attempts: Counter[str] = Counter()
        """To connect to each server so far."""

    async def _connect_to_server(self, s: Srv) -> None:
        """Connect to a server: to the first of its addresses that accepts a connection.

        Each attempt begins with another address, since one that accepts connections may still never respond. The
        certificate is verified against the host name, which stays in `s`.
        """
        if tls := self._make_tls():
            self.options["tls"] = tls
        addresses = await _resolve(str(s.uri.hostname), int(s.uri.port or 0))
        timeout_seconds, uri = self.options["connect_timeout"], s.uri
        first = self._attempts[uri.netloc] % len(addresses)
        self._attempts[uri.netloc] += 1
        self.options["connect_timeout"] = min(timeout_seconds, _ADDRESS_CONNECT_SECONDS)
        errors: list[Exception] = []
        try:
            for address in addresses[first:] + addresses[:first]:
                s.uri = uri._replace(netloc=f"[{address}]:{uri.port}" if ":" in address else f"{address}:{uri.port}")
                try:
                    return await super()._connect_to_server(s)
                except (OSError, TimeoutError) as error:
                    errors.append(error)
            raise errors[0]
        finally:
            s.uri, self.options["connect_timeout"] = uri, timeout_seconds

    def _connect_command(self) -> bytes:
        """Return the CONNECT command, which has the credentials. Raises nats.errors.Error where it must not be sent.

        The connection may have no TLS, or the file of the credentials may be half written. nats-py would not try again
        after any other error.
        """
        if self._demands_tls and not self._server_info.get("tls_required"):
            raise TlsNotOfferedError("the server does not demand TLS, so nothing was sent to it")
        try:
            return super()._connect_command()
        except (OSError, nats.errors.Error):
            raise
        except Exception as error:  # noqa: BLE001 - whatever the parts of a file lead to
            raise nats.errors.Error(f"the credentials file cannot be used: {type(error).__name__}") from None


async def _resolve(host: str, port: int) -> list[str]:
    """Return the addresses of a host name, in the order of the system's preference. Raises OSError, TimeoutError."""
    async with asyncio.timeout(_RESOLVE_SECONDS):
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))

"""The hosts that a process is reached at. Requests that name another one are rejected.

Otherwise another site could have its own name resolved to this machine's address (DNS rebinding), and read with a
browser inside the network what this process serves.
"""

import ipaddress
import re
import socket
from collections.abc import Collection

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.runtime.http_responses import error_response

_HOST = re.compile(r"(?:\[(?P<ipv6>[0-9a-f:.]+)\]|(?P<name>[^:\[\]/@]+))(?::[0-9]*)?", re.IGNORECASE | re.ASCII)


class AllowedHosts:
    """Which hosts are ours: `names`, this machine's name, and what no other site can have resolved.

    That is an IP address, and a name without a dot.
    """

    def __init__(self, names: Collection[str] = ()) -> None:
        self._names = {name.lower() for name in (*names, socket.gethostname())}

    def allows(self, host_and_port: str) -> bool:
        """Return whether a host, with or without a port, is one of ours."""
        parts = _HOST.fullmatch(host_and_port)
        if parts is None:
            return False
        name = (parts["ipv6"] or parts["name"]).lower().rstrip(".")
        return "." not in name or name in self._names or _is_address(name)


class RejectForeignHosts:
    """Middleware that rejects requests whose Host is not ours. One without a Host does not come from a browser."""

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app = app
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        host = Request(scope).headers.get("Host")
        if host and not self._hosts.allows(host):
            message = "this host is not allowed; add it to HTTP_ALLOWED_HOSTS if it is this producer's or collector's"
            await error_response(421, message)(scope, receive, send)
        else:
            await self._app(scope, receive, send)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True

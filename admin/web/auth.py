"""Who may use the dashboard: read-only views are open, actions and dead letters require EXPLORER_TOKEN in a header.

No token is in an address or a cookie, and cross-site requests are rejected, so another site cannot make a browser send
one.
"""

import asyncio
import hmac

import structlog
from pydantic import SecretStr
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.runtime.events import Event
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_responses import error_response

log = structlog.get_logger()

_DELAY_SECONDS = 1.0
"""Until the response to a wrong token."""
_LOG_SECONDS = 1.0
_UNAUTHORIZED = 401


class RequireToken:
    """Middleware that lets through only same-site requests with the token; without a configured token, none."""

    def __init__(self, app: ASGIApp, token: SecretStr | None, hosts: AllowedHosts) -> None:
        self._app = app
        self._token = token
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        request = Request(scope)
        rejection = self._rejection(request)
        if rejection:
            if rejection[0] == _UNAUTHORIZED and _given_token(request):  # without one it is a page that has none yet
                await _wrong_tokens.slow_down(request)
            await error_response(*rejection)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _rejection(self, request: Request) -> tuple[int, str] | None:
        """Return the status and message with which a request is rejected; None where it is allowed."""
        if self._is_cross_site(request):
            return 403, "cross-site requests are not allowed; HTTP_ALLOWED_HOSTS lists the names of a proxy in front"
        if self._token is None:
            return 403, "actions are disabled: EXPLORER_TOKEN is not set"
        if not hmac.compare_digest(_given_token(request).encode(), self._token.get_secret_value().encode()):
            return _UNAUTHORIZED, "the token is missing or wrong"
        return None

    def _is_cross_site(self, request: Request) -> bool:
        """Return whether another site made a browser send this.

        A browser says so itself in Sec-Fetch-Site, but not over plain HTTP. Then Origin is ours if it is the Host or
        one of our hosts: a proxy in front may have replaced the Host, as nginx does.
        """
        if (site := request.headers.get("Sec-Fetch-Site")) is not None:
            return site not in ("same-origin", "none")
        origin = request.headers.get("Origin")
        if origin is None:
            return False
        host = origin.partition("://")[2]
        return host != request.headers.get("Host") and not self._hosts.allows(host)


def _given_token(request: Request) -> str:
    scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
    return bearer if scheme.lower() == "bearer" else request.headers.get("token", "")


class _WrongTokens:
    """Logs wrong tokens, a line per second at most, and delays their responses: guessing takes long, and is seen."""

    def __init__(self) -> None:
        self._unlogged = 0
        self._next_line_seconds = float("-inf")

    async def slow_down(self, request: Request) -> None:
        """Wait, after the log has a line with the client, and the number of wrong tokens since the last line."""
        self._unlogged += 1
        now_seconds = asyncio.get_running_loop().time()
        if now_seconds >= self._next_line_seconds:
            client = request.client.host if request.client else None
            log.warning(Event.TOKEN_REJECTED, client=client, count=self._unlogged)
            self._unlogged, self._next_line_seconds = 0, now_seconds + _LOG_SECONDS
        await asyncio.sleep(_DELAY_SECONDS)


_wrong_tokens = _WrongTokens()

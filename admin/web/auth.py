"""Who may use the dashboard: read-only views are open, actions and dead letters require EXPLORER_TOKEN in a header.

No token is in an address or a cookie, and cross-site requests are rejected, so another site cannot make a browser send
one.
"""

import hmac

from pydantic import SecretStr
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from shared.runtime.http_responses import error_response


class RequireToken:
    """Middleware that lets through only same-site requests with the token; without a configured token, none."""

    def __init__(self, app: ASGIApp, token: SecretStr | None) -> None:
        self._app = app
        self._token = token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        rejection = self._rejection(Request(scope))
        if rejection:
            await error_response(*rejection)(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    def _rejection(self, request: Request) -> tuple[int, str] | None:
        """Return the status and message with which a request is rejected; None where it is allowed."""
        origin = request.headers.get("Origin")
        is_cross_site = request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none")
        if is_cross_site or (origin is not None and origin.partition("://")[2] != request.headers.get("Host")):
            return 403, "cross-site requests are not allowed"
        if self._token is None:
            return 403, "actions are disabled: EXPLORER_TOKEN is not set"
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        given = bearer if scheme.lower() == "bearer" else request.headers.get("token", "")
        if not hmac.compare_digest(given.encode(), self._token.get_secret_value().encode()):
            return 401, "the token is missing or wrong"
        return None

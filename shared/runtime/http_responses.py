"""What all responses of a process have in common: headers that protect a browser, and errors as JSON."""

from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class SecurityHeaders:
    """Middleware that adds the security headers to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self._app(scope, receive, send_with_headers)


def header_lines() -> list[tuple[bytes, bytes]]:
    """Return the security headers for a response that no application made."""
    return [(name.lower().encode(), value.encode()) for name, value in _HEADERS.items()]


def error_response(status: int, message: str) -> Response:
    """Return the response to a failed request."""
    return JSONResponse({"error": message}, status_code=status)


async def respond_http_error(_: Request, error: Exception) -> Response:
    """Respond to an unknown path or method, or to what an endpoint rejected."""
    assert isinstance(error, HTTPException)
    response = error_response(error.status_code, error.detail)
    response.headers.update(error.headers or {})
    return response

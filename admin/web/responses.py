"""What all responses of the dashboard and its API have in common, and how a request's body is parsed."""

from typing import TypeVar

import msgspec
from starlette.datastructures import MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from shared.model.records import Record, encode

_BODY_MAX_BYTES = 64 * 1024
_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}

T = TypeVar("T")


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


async def parse_body(request: Request, kind: type[T]) -> T:
    """Parse the body as an object of this kind; an empty body is an empty object. Raises HTTPException."""
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _BODY_MAX_BYTES:
            raise HTTPException(413, f"the body must not exceed {_BODY_MAX_BYTES} bytes")
    if not body:
        body = b"{}"
    elif request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "the body must be JSON, with Content-Type application/json")
    try:
        return msgspec.json.decode(body, type=kind)
    except UnicodeDecodeError:
        raise HTTPException(400, "invalid body: it is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"invalid body: {error}") from None


def json_response(body: bytes) -> Response:
    """Return a response whose body is JSON already."""
    return Response(body, media_type="application/json")


def ok(record: Record | None = None) -> Response:
    """Return the response to a successful action, with its record where there is one."""
    return json_response(encode(record).encode() if record else b'{"ok":true}')


def error_response(status: int, message: str) -> Response:
    """Return the response to a failed request."""
    return JSONResponse({"error": message}, status_code=status)


async def favicon(_: Request) -> Response:
    """Return no icon: browsers request one unasked."""
    return Response(status_code=204)

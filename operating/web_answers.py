"""What every answer of the page and its API has in common, and how a request's body is read."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from shared.records import Record, encode

_PAGE = Path(__file__).with_name("page")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_BODY_MAX_BYTES = 64 * 1024

HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


async def body_of(request: Request, kind: type[Any]) -> Any:
    """The body as an object of this kind; an empty body is one with nothing in it. Raises HTTPException."""
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > _BODY_MAX_BYTES:
            raise HTTPException(413, f"a body has {_BODY_MAX_BYTES} bytes at most")
    if not body:
        body = b"{}"
    elif request.headers.get("Content-Type", "").partition(";")[0].strip() != "application/json":
        raise HTTPException(415, "a body is JSON, and Content-Type says so")
    try:
        return msgspec.json.decode(body, type=kind)
    except UnicodeDecodeError:
        raise HTTPException(400, "the body cannot be used: it is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise HTTPException(400, f"the body cannot be used: {error}") from None


def page_file(name: str) -> Callable[[Request], Awaitable[Response]]:
    """What serves a file of the page."""
    content = (_PAGE / name).read_bytes()
    kind = _KINDS[Path(name).suffix]

    async def serve(_: Request) -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=HEADERS)

    return serve


async def no_icon(_: Request) -> Response:
    """Browsers ask for one by themselves."""
    return Response(status_code=204, headers=HEADERS)


def as_json(body: bytes) -> Response:
    """An answer that is JSON already."""
    return Response(body, media_type="application/json", headers=HEADERS)


def done(record: Record | None = None) -> Response:
    """The wish is granted; the record of it, where there is one."""
    return as_json(encode(record).encode() if record else b'{"done":true}')


def refusal(status: int, message: str) -> Response:
    """Why not."""
    return JSONResponse({"error": message}, status_code=status, headers=HEADERS)

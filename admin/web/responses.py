"""The responses of the dashboard's API, and how a request's body is parsed."""

from typing import TypeVar

import msgspec
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from shared.model.records import Record, encode

_BODY_MAX_BYTES = 64 * 1024

T = TypeVar("T")


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


async def favicon(_: Request) -> Response:
    """Return no icon: browsers request one unasked."""
    return Response(status_code=204)

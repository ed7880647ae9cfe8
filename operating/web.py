"""The page and its API, served by the producer: the same truth as `importer status`, live, and the same wishes.

Everything that can be seen without the token is free of personal data. Whatever changes something, and dead letters,
which have entities' ids, want EXPLORER_TOKEN in a header. Nothing is done by GET, no token stands in an address or a
cookie, and no other site is allowed to ask: a browser that was lured here has nothing to send.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import msgspec
import structlog
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from operating import letters, wishes
from operating.live import Live
from operating.snapshot import take_snapshot, to_json
from operating.why import judge
from operating.wishes import RefusedError
from shared.broker import Broker
from shared.errors import ProcessError, ServiceFailedError
from shared.events import Event
from shared.records import Record, encode
from shared.redis_client import Scripts
from shared.services import Service
from shared.settings import ProducerSettings

log = structlog.get_logger()

_PAGE = Path(__file__).with_name("page")
_KINDS = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}
_BODY_MAX_BYTES = 64 * 1024
_BY = "the page"

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


class _Why(msgspec.Struct, forbid_unknown_fields=True):
    why: str = ""


class _Run(msgspec.Struct, forbid_unknown_fields=True):
    services: list[str] = msgspec.field(default_factory=list)


class _Rewind(msgspec.Struct, forbid_unknown_fields=True):
    to: int = 0
    why: str = ""


class _Subjects(msgspec.Struct, forbid_unknown_fields=True):
    subjects: list[str]


@dataclass(frozen=True)
class Explorer:
    """What the page and its API need. Without a token all actions are refused."""

    scripts: Scripts
    broker: Broker
    services: Sequence[Service]
    token: SecretStr | None
    live: Live

    @classmethod
    def over(cls, scripts: Scripts, broker: Broker, settings: ProducerSettings) -> Self:
        """The explorer of a producer with these connections."""
        services = settings.service_table()

        async def take() -> bytes:
            client = broker.client if broker.client.is_connected else None
            snapshot = await take_snapshot(scripts.redis, client, services)
            if snapshot.paused:
                snapshot.paused.by = "an operator"  # a name is for those who may use the command line
            judge(snapshot, settings.timezone)
            return to_json(snapshot)

        return cls(scripts, broker, services, settings.explorer_token, Live(take))

    def routes(self) -> list[Route]:
        """All of it, for the application of the producer."""
        return [
            Route("/", _file("index.html")),
            Route("/page.css", _file("page.css")),
            Route("/page.js", _file("page.js")),
            Route("/api/status", self._answering(self._status)),
            Route("/api/events", self._events),
            Route("/api/run", self._acting(self._run), methods=["POST"]),
            Route("/api/pause", self._acting(self._pause), methods=["POST"]),
            Route("/api/resume", self._acting(self._resume), methods=["POST"]),
            Route("/api/rewind/{service}", self._acting(self._rewind), methods=["POST"]),
            Route("/api/rewind-undo", self._acting(self._undo), methods=["POST"]),
            Route("/api/dead-letters", self._answering(self._guarded(self._letters))),
            Route("/api/dead-letters/letter", self._answering(self._guarded(self._letter))),
            Route("/api/dead-letters/retry", self._acting(self._retry), methods=["POST"]),
            Route("/api/dead-letters/drop", self._acting(self._drop), methods=["POST"]),
            # As the system always named them.
            Route("/force_update", self._acting(self._run), methods=["POST"]),
            Route("/reset/{service}", self._acting(self._rewind), methods=["POST"]),
        ]

    # --- seeing ------------------------------------------------------------------------------------------------------

    async def _status(self, _: Request) -> Response:
        return _json(await self.live.newest())

    async def _events(self, request: Request) -> Response:
        listener = self.live.listen()
        if listener is None:
            return _error(503, "too many pages are open on this producer")
        del request
        return StreamingResponse(listener, media_type="text/event-stream", headers=_HEADERS)

    async def _letters(self, request: Request) -> Response:
        name = request.query_params.get("service")
        channel = self._service(name).channel if name else None
        return _json(msgspec.json.encode(await letters.list_letters(self.broker.client, channel)))

    async def _letter(self, request: Request) -> Response:
        letter = await letters.read_letter(self.broker.client, request.query_params.get("subject", ""))
        return _json(letter) if letter else _error(404, "there is no such dead letter any more")

    # --- acting ------------------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> Response:
        services = [self._service(name) for name in (await _body(request, _Run)).services]
        await wishes.request_run(self.scripts.redis, services, _BY)
        return _done()

    async def _pause(self, request: Request) -> Response:
        await wishes.pause(self.scripts.redis, _BY, (await _body(request, _Why)).why)
        return _done()

    async def _resume(self, _: Request) -> Response:
        await wishes.resume(self.scripts.redis)
        return _done()

    async def _rewind(self, request: Request) -> Response:
        service = self._service(request.path_params["service"])
        wish = await _body(request, _Rewind)
        if await wishes.is_in_flight(self.scripts.redis, service):
            raise wishes.refused_in_flight(service)
        done = await wishes.rewind(self.scripts, service, wish.to, by=_BY, why=wish.why)
        return _done(done)

    async def _undo(self, _: Request) -> Response:
        return _done(await wishes.undo_rewind(self.scripts, self.services, by=_BY))

    async def _retry(self, request: Request) -> Response:
        await wishes.request_retries(self.scripts.redis, (await _body(request, _Subjects)).subjects, _BY)
        return _done()

    async def _drop(self, request: Request) -> Response:
        for subject in (await _body(request, _Subjects)).subjects:
            await letters.drop_letter(self.broker.client, subject)
        return _done()

    # --- who may -----------------------------------------------------------------------------------------------------

    def _acting(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        return self._answering(self._guarded(work))

    def _guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Let `work` answer only who has the token, and no page of another site."""

        async def guarded(request: Request) -> Response:
            if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                return _error(403, "another site may not ask this")
            origin = request.headers.get("Origin")
            if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
                return _error(403, "another site may not ask this")
            if self.token is None:
                return _error(403, "EXPLORER_TOKEN is not set, so nothing can be done from here")
            scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
            given = bearer if scheme.lower() == "bearer" else request.headers.get("token", "")
            if not hmac.compare_digest(given.encode(), self.token.get_secret_value().encode()):
                return _error(401, "the token is missing or wrong")
            return await work(request)

        return guarded

    @staticmethod
    def _answering(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Turn what `work` raises into an answer."""

        async def answering(request: Request) -> Response:
            try:
                return await work(request)
            except (RefusedError, ServiceFailedError) as error:
                return _error(409, str(error))
            except ProcessError as error:  # what ends a process is no reason here: it may pass
                return _error(503, str(error))
            except HTTPException as error:
                return _error(error.status_code, error.detail)
            except Exception as error:  # noqa: BLE001 - a defect here is no reason for the import to end
                log.error(Event.PAGE_FAILED, reason=type(error).__name__, path=request.scope["route"].path)
                return _error(500, "this is a defect of the importer; its log says page_failed")

        return answering

    def _service(self, name: str) -> Service:
        for service in self.services:
            if service.name == name.upper():
                return service
        known = ", ".join(service.name for service in self.services)
        raise HTTPException(404, f"there is no such service; the table has {known}")


async def _body(request: Request, kind: type[Any]) -> Any:
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


def _file(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = (_PAGE / name).read_bytes()
    kind = _KINDS[Path(name).suffix]

    async def serve(_: Request) -> Response:
        return Response(content, media_type=f"{kind}; charset=utf-8", headers=_HEADERS)

    return serve


def _json(body: bytes) -> Response:
    return Response(body, media_type="application/json", headers=_HEADERS)


def _done(record: Record | None = None) -> Response:
    return _json(encode(record).encode() if record else b'{"done":true}')


def _error(status: int, message: str) -> Response:
    return JSONResponse({"error": message}, status_code=status, headers=_HEADERS)

"""The page and its API, served by the producer: the same truth as `importer status`, live, and the same wishes.

Everything that can be seen without the token is free of personal data. Whatever changes something, and dead letters,
which have entities' ids, want EXPLORER_TOKEN in a header. Nothing is done by GET, no token stands in an address or a
cookie, and no other site is allowed to ask: a browser that was lured here has nothing to send.
"""

import hmac
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Self

import msgspec
import structlog
from pydantic import SecretStr
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from operating import letters, wishes
from operating.live import Live
from operating.snapshot import take_snapshot, to_json
from operating.web_answers import HEADERS, as_json, body_of, done, no_icon, page_file, refusal
from operating.why import judge
from operating.wishes import RefusedError
from shared.broker import Broker
from shared.errors import ProcessError, ServiceFailedError
from shared.events import Event
from shared.redis_client import Scripts
from shared.services import Service
from shared.settings import ProducerSettings

log = structlog.get_logger()

_BY = "the page"


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
            Route("/", page_file("index.html")),
            Route("/page.css", page_file("page.css")),
            Route("/page.js", page_file("page.js")),
            Route("/favicon.ico", no_icon),
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
        return as_json(await self.live.newest())

    async def _events(self, request: Request) -> Response:
        listener = self.live.listen()
        if listener is None:
            return refusal(503, "too many pages are open on this producer")
        del request
        return StreamingResponse(listener, media_type="text/event-stream", headers=HEADERS)

    async def _letters(self, request: Request) -> Response:
        name = request.query_params.get("service")
        channel = self._service(name).channel if name else None
        return as_json(msgspec.json.encode(await letters.list_letters(self.broker.client, channel)))

    async def _letter(self, request: Request) -> Response:
        letter = await letters.read_letter(self.broker.client, request.query_params.get("subject", ""))
        return as_json(letter) if letter else refusal(404, "there is no such dead letter any more")

    # --- acting ------------------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> Response:
        services = [self._service(name) for name in (await body_of(request, _Run)).services]
        await wishes.request_run(self.scripts.redis, services, _BY)
        return done()

    async def _pause(self, request: Request) -> Response:
        await wishes.pause(self.scripts.redis, _BY, (await body_of(request, _Why)).why)
        return done()

    async def _resume(self, _: Request) -> Response:
        await wishes.resume(self.scripts.redis)
        return done()

    async def _rewind(self, request: Request) -> Response:
        service = self._service(request.path_params["service"])
        wish = await body_of(request, _Rewind)
        if await wishes.is_in_flight(self.scripts.redis, service):
            raise wishes.refused_in_flight(service)
        return done(await wishes.rewind(self.scripts, service, wish.to, by=_BY, why=wish.why))

    async def _undo(self, _: Request) -> Response:
        return done(await wishes.undo_rewind(self.scripts, self.services, by=_BY))

    async def _retry(self, request: Request) -> Response:
        await wishes.request_retries(self.scripts.redis, (await body_of(request, _Subjects)).subjects, _BY)
        return done()

    async def _drop(self, request: Request) -> Response:
        dropped = [
            await letters.drop_letter(self.broker.client, subject)
            for subject in (await body_of(request, _Subjects)).subjects
        ]
        return as_json(msgspec.json.encode({"dropped": sum(dropped)}))

    # --- who may -----------------------------------------------------------------------------------------------------

    def _acting(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        return self._answering(self._guarded(work))

    def _guarded(self, work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Let `work` answer only who has the token, and no page of another site."""

        async def guarded(request: Request) -> Response:
            if request.headers.get("Sec-Fetch-Site", "same-origin") not in ("same-origin", "none"):
                return refusal(403, "another site may not ask this")
            origin = request.headers.get("Origin")
            if origin is not None and origin.partition("://")[2] != request.headers.get("Host"):
                return refusal(403, "another site may not ask this")
            if self.token is None:
                return refusal(403, "EXPLORER_TOKEN is not set, so nothing can be done from here")
            scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
            given = bearer if scheme.lower() == "bearer" else request.headers.get("token", "")
            if not hmac.compare_digest(given.encode(), self.token.get_secret_value().encode()):
                return refusal(401, "the token is missing or wrong")
            return await work(request)

        return guarded

    @staticmethod
    def _answering(work: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """Turn what `work` raises into an answer."""

        async def answering(request: Request) -> Response:
            try:
                return await work(request)
            except (RefusedError, ServiceFailedError) as error:
                return refusal(409, str(error))
            except ProcessError as error:  # what ends a process is no reason here: it may pass
                return refusal(503, str(error))
            except HTTPException as error:
                return refusal(error.status_code, error.detail)
            except Exception as error:  # noqa: BLE001 - a defect here is no reason for the import to end
                log.error(Event.PAGE_FAILED, reason=type(error).__name__, path=request.scope["route"].path)
                return refusal(500, "this is a defect of the importer; its log says page_failed")

        return answering

    def _service(self, name: str) -> Service:
        for service in self.services:
            if service.name == name.upper():
                return service
        known = ", ".join(service.name for service in self.services)
        raise HTTPException(404, f"there is no such service; the table has {known}")

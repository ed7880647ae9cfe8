"""The dashboard and its API, served by the producer: the same status as `importer status`, live, and the same actions.

Read-only views need no token and contain no personal data. Actions, and dead letters, which contain entities' ids,
require EXPLORER_TOKEN: see `auth.py`. No GET changes anything.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec
import structlog
from pydantic import SecretStr
from sse_starlette import EventSourceResponse
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Mount, Route
from starlette.staticfiles import StaticFiles

from admin.status.diagnosis import add_diagnosis
from admin.status.snapshot import take_snapshot, to_json
from admin.web.auth import RequireToken
from admin.web.broadcaster import SnapshotBroadcaster
from admin.web.responses import favicon, json_response, ok, parse_body
from shared.broker.connection import Broker
from shared.config.settings import ProducerSettings
from shared.model.errors import ProcessError, RequestConflictError, ServiceFailedError
from shared.model.services import Service, find_service
from shared.runtime.events import Event
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_responses import error_response
from shared.runtime.http_server import ExceptionHandlers
from shared.store import operator_requests, rewinds
from shared.store.scripts import Scripts

log = structlog.get_logger()

_BY = "dashboard"
_STATIC = Path(__file__).with_name("static")
_KEEP_ALIVE_SECONDS = 15
_SEND_SECONDS = 30
"""Until a page that reads nothing is disconnected."""

Endpoint = Callable[[Request], Awaitable[Response]]


class _Pause(msgspec.Struct, forbid_unknown_fields=True):
    reason: str = ""


class _Run(msgspec.Struct, forbid_unknown_fields=True):
    services: list[str] = msgspec.field(default_factory=list)


class _Rewind(msgspec.Struct, forbid_unknown_fields=True):
    to: int = 0
    reason: str = ""


class _Subjects(msgspec.Struct, forbid_unknown_fields=True):
    subjects: list[str]


@dataclass(frozen=True)
class Dashboard:
    """What the dashboard and its API need. Without a token all actions are rejected."""

    scripts: Scripts
    broker: Broker
    services: Sequence[Service]
    token: SecretStr | None
    broadcaster: SnapshotBroadcaster
    hosts: AllowedHosts
    """At which it is reached."""

    @classmethod
    def create(cls, scripts: Scripts, broker: Broker, settings: ProducerSettings) -> Self:
        """Make the dashboard of a producer with these connections; that to Redis should not be the import's."""
        services = settings.service_table()

        async def fetch() -> bytes:
            api = broker.api if broker.is_connected else None
            snapshot = await take_snapshot(scripts.client, api, services, settings.instance)
            if snapshot.paused:
                snapshot.paused.by = "an operator"  # names are for users of the command line
            add_diagnosis(snapshot, settings.timezone)
            return to_json(snapshot)

        broadcaster, hosts = SnapshotBroadcaster(fetch), AllowedHosts(settings.own_hosts())
        return cls(scripts, broker, services, settings.explorer_token, broadcaster, hosts)

    def routes(self) -> list[BaseRoute]:
        """Return the whole dashboard, for the producer's application."""
        return [
            Route("/api/status", self._status),
            Route("/api/events", self._events),
            self._action("/api/run", self._run),
            self._action("/api/pause", self._pause),
            self._action("/api/resume", self._resume),
            self._action("/api/rewind/{service}", self._rewind),
            self._action("/api/rewind-undo", self._undo),
            self._guarded("/api/dead-letters", self._list, "GET"),
            self._guarded("/api/dead-letters/show", self._show, "GET"),
            self._action("/api/dead-letters/retry", self._retry),
            self._action("/api/dead-letters/drop", self._drop),
            # The names that scripts have always used.
            self._action("/force_update", self._run),
            self._action("/reset/{service}", self._rewind),
            Route("/favicon.ico", favicon),
            Route("/", self._page),
            Mount("/static", StaticFiles(directory=_STATIC)),
        ]

    def _action(self, path: str, endpoint: Endpoint) -> Route:
        return self._guarded(path, endpoint, "POST")

    def _guarded(self, path: str, endpoint: Endpoint, method: str) -> Route:
        guard = Middleware(RequireToken, token=self.token, hosts=self.hosts)
        return Route(path, endpoint, methods=[method], middleware=[guard])

    # --- views -------------------------------------------------------------------------------------------------------

    async def _page(self, _: Request) -> Response:
        return FileResponse(_STATIC / "index.html")

    async def _status(self, _: Request) -> Response:
        return json_response(await self.broadcaster.snapshot())

    async def _events(self, request: Request) -> Response:
        if request.method == "HEAD":
            return Response(media_type="text/event-stream")
        snapshots = self.broadcaster.subscribe()
        if snapshots is None:
            return error_response(503, "too many pages are open on this producer")
        return EventSourceResponse(snapshots, ping=_KEEP_ALIVE_SECONDS, send_timeout=_SEND_SECONDS)

    async def _list(self, request: Request) -> Response:
        name = request.query_params.get("service")
        channel = self._service(name).channel if name else None
        return json_response(msgspec.json.encode(await self.broker.dead_letters.page(channel)))

    async def _show(self, request: Request) -> Response:
        stored = await self.broker.dead_letters.get(request.query_params.get("subject", ""))
        return json_response(stored.data) if stored else error_response(404, "there is no such dead letter any more")

    # --- actions -----------------------------------------------------------------------------------------------------

    async def _run(self, request: Request) -> Response:
        services = [self._service(name) for name in (await parse_body(request, _Run)).services]
        await operator_requests.request_run(self.scripts.client, services, _BY)
        return ok()

    async def _pause(self, request: Request) -> Response:
        await operator_requests.pause(self.scripts.client, _BY, (await parse_body(request, _Pause)).reason)
        return ok()

    async def _resume(self, _: Request) -> Response:
        await operator_requests.resume(self.scripts.client)
        return ok()

    async def _rewind(self, request: Request) -> Response:
        service = self._service(request.path_params["service"])
        body = await parse_body(request, _Rewind)
        if await rewinds.is_in_flight(self.scripts.client, service):
            raise rewinds.batch_in_flight_error(service)
        return ok(await rewinds.rewind(self.scripts, service, body.to, by=_BY, reason=body.reason))

    async def _undo(self, _: Request) -> Response:
        return ok(await rewinds.undo_rewind(self.scripts, self.services, by=_BY))

    async def _retry(self, request: Request) -> Response:
        subjects = (await parse_body(request, _Subjects)).subjects
        await operator_requests.request_retries(self.scripts.client, subjects, _BY)
        return ok()

    async def _drop(self, request: Request) -> Response:
        subjects = (await parse_body(request, _Subjects)).subjects
        deleted = [await self.broker.dead_letters.delete_subject(subject) for subject in subjects]
        return json_response(msgspec.json.encode({"deleted": sum(deleted)}))

    def _service(self, name: str) -> Service:
        if service := find_service(self.services, name):
            return service
        known = ", ".join(service.name for service in self.services)
        raise HTTPException(404, f"there is no such service; the table has {known}")


async def _respond_conflict(_: Request, error: Exception) -> Response:
    return error_response(409, str(error))


async def _respond_unavailable(_: Request, error: Exception) -> Response:
    """Respond that a dependency is unavailable: what ends a process may pass, and must not end this one."""
    return error_response(503, str(error))


async def _respond_defect(request: Request, error: Exception) -> Response:
    """Log a defect, without its text, which may be personal data; the import continues."""
    log.error(Event.DASHBOARD_FAILED, reason=type(error).__name__, path=getattr(request.scope.get("route"), "path", ""))
    return error_response(500, "internal error; the importer's log says dashboard_failed")


EXCEPTION_HANDLERS: ExceptionHandlers = {
    RequestConflictError: _respond_conflict,
    ServiceFailedError: _respond_conflict,
    ProcessError: _respond_unavailable,
    Exception: _respond_defect,
}
"""How the application that has these routes responds to what they raise."""

"""What a process serves over HTTP: its health, its readiness and its metrics. Changes nothing.

`/healthz` returns 200 as long as the process responds at all; `/readyz` 200 or 503, depending on its dependencies. Both
say in their body whether it is *progressing*: a stalled batch is alive and ready but not progressing, and a restart
would not fix that. `/metrics` is for Prometheus. Nothing here shows personal data or secrets.
"""

import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp

from shared.model.errors import ConfigurationError
from shared.runtime.events import Event
from shared.runtime.http_hosts import AllowedHosts, RejectForeignHosts
from shared.runtime.http_protocol import BoundedProtocol
from shared.runtime.http_responses import SecurityHeaders, respond_http_error
from shared.runtime.shared_result import SharedResult
from shared.runtime.shutdown import Stop

log = structlog.get_logger()

ExceptionHandlers = Mapping[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]

_KEEP_ALIVE_SECONDS = 5
"""For the next request on a connection."""
_BACKLOG = 128
"""Connections that wait to be accepted. asyncio accepts up to as many at once, before any of them can be closed."""


@dataclass(frozen=True)
class Health:
    """The health of a process, determined at most once per second, however many requests there are."""

    is_ready: Callable[[], Awaitable[bool]]
    """Whether its dependencies respond; returns within a few seconds and raises nothing."""
    is_progressing: Callable[[], bool]


def health_routes(health: Health) -> list[BaseRoute]:
    """Return the routes that every process serves."""

    async def report() -> dict[str, bool]:
        return {"alive": True, "ready": await health.is_ready(), "progressing": health.is_progressing()}

    async def scrape() -> bytes:
        return generate_latest()

    newest_report, newest_scrape = SharedResult(report), SharedResult(scrape)

    async def healthz(_: Request) -> Response:
        return JSONResponse(await newest_report.get())

    async def readyz(_: Request) -> Response:
        body = await newest_report.get()
        return JSONResponse(body, status_code=200 if body["ready"] else 503)

    async def metrics(_: Request) -> Response:
        return Response(await newest_scrape.get(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def http_app(routes: Sequence[BaseRoute], exception_handlers: ExceptionHandlers | None = None) -> Starlette:
    """Return the application of a process. An unknown path or method is an error in JSON, like any other."""
    return Starlette(
        routes=routes, exception_handlers={HTTPException: respond_http_error, **(exception_handlers or {})}
    )


def listen(host: str, ports: Sequence[int]) -> socket.socket | None:
    """Listen at `host` and the first of `ports` that is free (0 for any); return None where all are taken.

    The import works without, so that is only logged. Raises ConfigurationError where this machine cannot listen
    at `host`.
    """
    for port in ports:
        try:
            listener = _create_server(host, port)
        except (OSError, UnicodeError) as error:
            if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                continue
            reason = (error.strerror if isinstance(error, OSError) else None) or "not a host"
            raise ConfigurationError(f"HTTP_HOST: cannot listen at {host}: {reason}") from error
        log.info(Event.HTTP_LISTENING, address=host, port=listener.getsockname()[1])
        return listener
    log.warning(Event.HTTP_PORT_UNAVAILABLE, address=host, port=ports[0], reason="taken by another program")
    return None


def _create_server(host: str, port: int) -> socket.socket:
    is_ipv6 = ":" in host
    return socket.create_server(
        (host, port),
        family=socket.AF_INET6 if is_ipv6 else socket.AF_INET,
        backlog=_BACKLOG,
        dualstack_ipv6=host == "::" and socket.has_dualstack_ipv6(),
    )


def port_of(listener: socket.socket | None) -> int | None:
    """Return the port of a socket that `listen` returned."""
    return int(listener.getsockname()[1]) if listener else None


@contextlib.asynccontextmanager
async def serving(app: ASGIApp, listener: socket.socket | None, stop: Stop, hosts: AllowedHosts) -> AsyncIterator[None]:
    """Serve `app` on `listener`, if there is one, beside the body, until the body ends.

    `http_protocol.py` bounds what clients may take. Every response has the security headers, and requests for hosts
    other than `hosts` are rejected.
    """
    if listener is None:
        yield
        return
    config = uvicorn.Config(
        SecurityHeaders(RejectForeignHosts(app, hosts)),
        http=BoundedProtocol,
        ws="none",
        backlog=_BACKLOG,
        log_config=None,
        access_log=False,
        lifespan="off",
        timeout_keep_alive=_KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=1,
    )
    server = _Server(config)
    async with stop.background(server.serve(sockets=[listener])):
        try:
            yield
        finally:
            listener.close()


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave signals to `shutdown.py`."""
        yield

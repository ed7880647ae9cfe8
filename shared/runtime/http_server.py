"""What a process serves over HTTP: its health, its readiness and its metrics. Changes nothing.

`/healthz` returns 200 as long as the process responds at all; `/readyz` 200 or 503, depending on its dependencies. Both
say in their body whether it is *progressing*: a stalled batch is alive and ready but not progressing, and a restart
would not fix that. `/metrics` is for Prometheus. Nothing here shows personal data or secrets.
"""

import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from shared.model.errors import ConfigurationError
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop

log = structlog.get_logger()


@dataclass(frozen=True)
class Health:
    """The health of a process, determined at each request."""

    is_ready: Callable[[], Awaitable[bool]]
    """Whether its dependencies respond; returns within a few seconds and raises nothing."""
    is_progressing: Callable[[], bool]


def health_routes(health: Health) -> list[BaseRoute]:
    """Return the routes that every process serves."""

    async def respond(status: Callable[[bool], int]) -> Response:
        ready = await health.is_ready()
        body = {"alive": True, "ready": ready, "progressing": health.is_progressing()}
        return JSONResponse(body, status_code=status(ready))

    async def healthz(_: Request) -> Response:
        return await respond(lambda _: 200)

    async def readyz(_: Request) -> Response:
        return await respond(lambda ready: 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]


def listen(host: str, ports: Sequence[int]) -> socket.socket | None:
    """Listen at `host` and the first of `ports` that is free (0 for any); return None where all are taken.

    The import works without, so that is only logged. Raises ConfigurationError where this machine cannot listen
    at `host`.
    """
    for port in ports:
        try:
            listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"HTTP_HOST: cannot listen at {host}: {error.strerror}") from error
        else:
            log.info(Event.HTTP_LISTENING, host=host, port=listener.getsockname()[1])
            return listener
    log.warning(Event.HTTP_PORT_UNAVAILABLE, host=host, port=ports[0], reason="taken by another program")
    return None


def port_of(listener: socket.socket | None) -> int | None:
    """Return the port of a socket that `listen` returned."""
    return int(listener.getsockname()[1]) if listener else None


@contextlib.asynccontextmanager
async def serving(app: Starlette, listener: socket.socket | None, stop: Stop) -> AsyncIterator[None]:
    """Serve `app` on `listener`, if there is one, beside the body, until the body ends."""
    if listener is None:
        yield
        return
    config = uvicorn.Config(app, log_config=None, access_log=False, lifespan="off", timeout_graceful_shutdown=1)
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

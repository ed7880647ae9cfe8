"""What a process shows over HTTP: whether it lives, is connected and gets on, and its metrics. Changes nothing.

`/healthz` answers 200 as long as the process answers at all; `/readyz` 200 or 503, whether it has its dependencies.
Both say in their body whether it is *progressing*: a batch that stands still is alive and ready but not progressing,
and no restart would mend that. `/metrics` is for Prometheus. Nothing here shows personal data or secrets.
"""

import asyncio
import contextlib
import errno
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass

import structlog
import uvicorn
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from redis.asyncio import Redis, RedisError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from shared.broker import Broker
from shared.errors import ConfigurationError
from shared.events import Event
from shared.stop import Stop

log = structlog.get_logger()


_PING_SECONDS = 2.0


@dataclass(frozen=True)
class Health:
    """How a process is, found out anew for each request."""

    redis: Redis
    broker: Broker
    progressing: Callable[[], bool]

    async def is_ready(self) -> bool:
        """Whether Redis answers, within two seconds, and NATS is connected."""
        with contextlib.suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PING_SECONDS):
                return bool(await self.redis.ping()) and self.broker.client.is_connected
        return False


def make_app(health: Health, others: Sequence[Route] = ()) -> Starlette:
    """The application that answers: health and metrics, and what else a process serves."""

    async def answer(status: Callable[[bool], int]) -> Response:
        ready = await health.is_ready()
        body = {"alive": True, "ready": ready, "progressing": health.progressing()}
        return JSONResponse(body, status_code=status(ready))

    async def healthz(_: Request) -> Response:
        return await answer(lambda _: 200)

    async def readyz(_: Request) -> Response:
        return await answer(lambda ready: 200 if ready else 503)

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    ours = [Route("/healthz", healthz), Route("/readyz", readyz), Route("/metrics", metrics)]
    return Starlette(routes=[*ours, *others])


def listen(host: str, ports: Sequence[int]) -> socket.socket | None:
    """A socket that listens at `host` and the first of `ports` that is free; 0 takes any. None where all are taken.

    That is no reason not to import, so it is only logged. Raises ConfigurationError where `host` is not ours.
    """
    for port in ports:
        try:
            listener = socket.create_server((host, port), backlog=128)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise ConfigurationError(f"HTTP_HOST: cannot listen at {host}: {error.strerror}") from error
        else:
            log.info(Event.HTTP_SERVED, host=host, port=listener.getsockname()[1])
            return listener
    log.warning(Event.HTTP_NOT_SERVED, host=host, port=ports[0], reason="taken by another program")
    return None


def port_of(listener: socket.socket | None) -> int | None:
    """The port of a socket that `listen` answered."""
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
    def capture_signals(self):  # type: ignore[no-untyped-def] # noqa: ANN202 - as in uvicorn
        """Leave signals to `shared/stop.py`."""
        yield

"""Health and metrics over HTTP, of a process with real servers behind it."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import requests
from starlette.applications import Starlette

from demo.servers.processes import Server
from shared.model.errors import ConfigurationError
from shared.runtime import metrics
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_server import Health, health_routes, listen, serving
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis
from tests.support.brokers import connected
from tests.support.waiting import wait_until_async

HOST = "127.0.0.1"


@asynccontextmanager
async def served(nats_uri: str, redis_uri: str, *, progressing: bool = True) -> AsyncIterator[str]:
    """Return the address of an application that serves the health of connections to these servers."""
    stop, redis, listener = Stop(), RedisClient(make_redis(redis_uri)), listen(HOST, [0])
    assert listener
    port = listener.getsockname()[1]
    async with connected(nats_uri, stop) as broker:

        async def is_ready() -> bool:
            return await redis.is_reachable() and broker.is_connected

        app = Starlette(routes=health_routes(Health(is_ready, lambda: progressing)))
        async with serving(app, listener, stop, AllowedHosts()):
            yield f"http://{HOST}:{port}"
    await redis.close()


async def get(address: str) -> requests.Response:
    """Return what a GET answers."""
    return await asyncio.to_thread(requests.get, address, timeout=20)


@pytest.mark.parametrize("progressing", [True, False])
async def test_health_tells_ready_and_progressing_apart(nats_uri: str, redis_uri: str, *, progressing: bool) -> None:
    """A process with its dependencies is alive and ready, whether or not its batch gets on."""
    async with served(nats_uri, redis_uri, progressing=progressing) as address:
        for path in ("/healthz", "/readyz"):
            answer = await get(address + path)
            assert answer.status_code == 200
            assert answer.json() == {"alive": True, "ready": True, "progressing": progressing}


async def test_a_process_without_redis_is_alive_but_not_ready(nats_uri: str, make_redis_server: Server) -> None:
    """While Redis is away, /healthz answers 200 and /readyz 503."""
    async with served(nats_uri, make_redis_server.uri) as address:
        make_redis_server.kill()

        async def unready() -> bool:
            return (await get(address + "/readyz")).status_code == 503

        await wait_until_async(unready, "503")
        alive = await get(address + "/healthz")
        assert (alive.status_code, alive.json()["ready"]) == (200, False)


async def test_metrics_are_served_for_prometheus(nats_uri: str, redis_uri: str) -> None:
    """/metrics has what was counted, in Prometheus's text format, and the version."""
    metrics.ENTITIES.labels("PERSON").inc(3)
    async with served(nats_uri, redis_uri) as address:
        text = (await get(address + "/metrics")).text
    assert 'importer_entities_total{service="PERSON"}' in text
    assert "importer_build_info{version=" in text


def test_the_next_free_port_is_taken() -> None:
    """Of several ports the first free one is taken; where none is, nothing is served and nothing fails."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        assert listen(HOST, [port]) is None
        listener = listen(HOST, [port, 0])
        assert listener
        listener.close()


def test_an_address_that_is_not_ours_is_a_mistake() -> None:
    """A host that this machine does not have is named as a bad setting."""
    with pytest.raises(ConfigurationError, match="HTTP_HOST"):
        listen("192.0.2.1", [0])


@pytest.fixture
def make_redis_server(make_redis: "pytest.FixtureRequest") -> Server:
    """Start a Redis of the test's own."""
    return make_redis()  # type: ignore[operator,no-any-return]

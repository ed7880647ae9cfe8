"""Health and metrics over HTTP, of a process with real servers."""

import asyncio
import re
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
    """Serve the health of connections to these servers, and yield the address."""
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
    """Return the response to a GET."""
    return await asyncio.to_thread(requests.get, address, timeout=20)


@pytest.mark.parametrize("progressing", [True, False])
async def test_health_reports_ready_and_progressing_separately(
    nats_uri: str, redis_uri: str, *, progressing: bool
) -> None:
    """A process with its dependencies is alive and ready, whether or not its batch makes progress."""
    async with served(nats_uri, redis_uri, progressing=progressing) as address:
        for path in ("/healthz", "/readyz"):
            response = await get(address + path)
            assert response.status_code == 200
            assert response.json() == {"alive": True, "ready": True, "progressing": progressing}


async def test_a_process_without_redis_is_alive_but_not_ready(nats_uri: str, make_redis_server: Server) -> None:
    """While Redis is down, /healthz returns 200 and /readyz returns 503."""
    async with served(nats_uri, make_redis_server.uri) as address:
        make_redis_server.kill()

        async def is_unready() -> bool:
            return (await get(address + "/readyz")).status_code == 503

        await wait_until_async(is_unready, "/readyz returns 503")
        health = await get(address + "/healthz")
        assert (health.status_code, health.json()["ready"]) == (200, False)


async def test_metrics_are_served_for_prometheus(nats_uri: str, redis_uri: str) -> None:
    """The metrics in Prometheus's text format contain the counters and the version."""
    metrics.ENTITIES.labels("PERSON").inc(3)
    async with served(nats_uri, redis_uri) as address:
        text = (await get(address + "/metrics")).text
    assert 'importer_entities_total{service="PERSON"}' in text
    assert re.search(r'importer_build_info\{[^}]*version="', text)


def test_the_first_free_port_is_used() -> None:
    """Of several ports the first free one is used; if none is free, nothing is served and nothing fails."""
    with socket.create_server((HOST, 0)) as other:
        port = other.getsockname()[1]
        assert listen(HOST, [port]) is None
        listener = listen(HOST, [port, 0])
        assert listener
        listener.close()


def test_an_address_of_another_machine_is_a_configuration_error() -> None:
    """A host address that this machine does not have is reported as an invalid HTTP_HOST."""
    with pytest.raises(ConfigurationError, match="HTTP_HOST"):
        listen("192.0.2.1", [0])


@pytest.fixture
def make_redis_server(make_redis: "pytest.FixtureRequest") -> Server:
    """Start a Redis of the test's own."""
    return make_redis()  # type: ignore[operator,no-any-return]

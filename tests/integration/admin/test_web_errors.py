"""How the dashboard responds to what it does not know, and to what it did not foresee."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import requests
from structlog.testing import capture_logs

from admin.web.app import EXCEPTION_HANDLERS, Dashboard
from admin.web.broadcaster import SnapshotBroadcaster
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_server import Health, health_routes, http_app, listen, serving
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis
from shared.store.scripts import Scripts
from tests.support.brokers import connected

TIMEOUT_SECONDS = 20


@asynccontextmanager
async def served(redis_uri: str, nats_uri: str, fetch: Callable[[], Awaitable[bytes]]) -> AsyncIterator[str]:
    """Serve a dashboard with this snapshot, as the producer does, and yield its address."""

    async def is_ready() -> bool:
        return True

    stop, listener = Stop(), listen("127.0.0.1", [0])
    assert listener
    async with connected(nats_uri, stop) as broker, make_redis(redis_uri) as redis:
        dashboard = Dashboard(Scripts(RedisClient(redis)), broker, [], None, SnapshotBroadcaster(fetch), AllowedHosts())
        app = http_app([*health_routes(Health(is_ready, lambda: True)), *dashboard.routes()], EXCEPTION_HANDLERS)
        async with serving(app, listener, stop, AllowedHosts()):
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"


async def test_a_defect_is_logged_and_reported(redis_uri: str, nats_uri: str) -> None:
    """Only the type of an unexpected error is logged, since its text may quote personal data; the process continues."""

    async def fetch() -> bytes:
        raise KeyError("Ada Lovelace")

    with capture_logs() as logged:
        async with served(redis_uri, nats_uri, fetch) as address:
            for _ in range(2):
                response = await asyncio.to_thread(requests.get, address + "/api/status", timeout=TIMEOUT_SECONDS)
                assert (response.status_code, "dashboard_failed" in response.text) == (500, True)
                assert response.headers["X-Content-Type-Options"] == "nosniff"
    failures = [event for event in logged if event["event"] == "dashboard_failed"]
    assert [(event["reason"], event["path"]) for event in failures] == 2 * [("KeyError", "/api/status")]
    assert "Ada" not in str(logged) + response.text


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/static/nothing.js", 404),
        ("POST", "/api/status", 405),
        ("POST", "/healthz", 405),
        ("PUT", "/api/pause", 405),
        ("POST", "/static/page.js", 405),
        ("HEAD", "/", 200),
        ("HEAD", "/static/page.js", 200),
        ("HEAD", "/api/status", 200),
        ("HEAD", "/api/events", 200),
    ],
)
async def test_an_unknown_path_or_method_is_told_in_json(
    redis_uri: str, nats_uri: str, method: str, path: str, status: int
) -> None:
    """With the security headers, like every response; a HEAD has no body."""

    async def fetch() -> bytes:
        return b"{}"

    async with served(redis_uri, nats_uri, fetch) as address:
        response = await asyncio.to_thread(requests.request, method, address + path, timeout=TIMEOUT_SECONDS)
    assert response.status_code == status
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    assert method == "HEAD" or response.json()["error"]


async def test_many_requests_of_a_second_read_one_snapshot(redis_uri: str, nats_uri: str) -> None:
    """However many ask for the status, Redis and NATS are read once."""
    calls = 0

    async def fetch() -> bytes:
        nonlocal calls
        calls += 1
        await asyncio.sleep(0.5)
        return b"{}"

    async with served(redis_uri, nats_uri, fetch) as address:
        statuses = await asyncio.gather(
            *(asyncio.to_thread(requests.get, address + "/api/status", timeout=TIMEOUT_SECONDS) for _ in range(5))
        )
    assert [response.status_code for response in statuses] == [200] * 5
    assert calls == 1

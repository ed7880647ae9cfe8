"""What clients of the HTTP port may take of a process, and what its responses have in common."""

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from unittest.mock import Mock

import pytest
import requests
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from structlog.testing import capture_logs

from ack_collector.main import ports_from
from shared.runtime import http_protocol
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_protocol import BoundedProtocol
from shared.runtime.http_server import Health, health_routes, http_app, listen, serving
from shared.runtime.pace import Pace
from shared.runtime.shutdown import Stop
from shared.store.redis_client import RedisClient, make_redis
from tests.support.waiting import wait_until_async

HOST = "127.0.0.1"


async def _is_ready() -> bool:
    return True


@asynccontextmanager
async def served(host: str = HOST) -> AsyncIterator[int]:
    """Serve a process's health, and yield the port."""
    listener = listen(host, [0])
    assert listener
    async with serving(http_app(health_routes(Health(_is_ready, lambda: True))), listener, Stop(), AllowedHosts()):
        yield listener.getsockname()[1]


async def request(method: str, address: str) -> requests.Response:
    return await asyncio.to_thread(requests.request, method, address, timeout=20)


async def open_idle(port: int, stack: contextlib.ExitStack) -> socket.socket:
    """Open a connection that sends nothing."""
    connection = socket.socket()
    stack.callback(connection.close)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, (HOST, port))
    return connection


def is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    """Bound this process as a usual machine bounds the producer, beside the tests' own ends of the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # The 1,100 client ends are in this process, too.
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 1024 + 1100), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.usefixtures("few_descriptors")
async def test_idle_connections_take_no_descriptor_that_the_import_needs(redis_uri: str) -> None:
    """1,100 connections that send nothing: a few are kept, Redis can be reached, and the next request is served."""
    with contextlib.ExitStack() as stack:
        async with served() as port:
            idle = [await open_idle(port, stack) for _ in range(1100)]
            await wait_until_async(
                lambda: sum(map(is_closed, idle)) >= 1100 - http_protocol.MAX_CONNECTIONS, "most are closed"
            )
            client = RedisClient(make_redis(redis_uri))
            assert await client.is_reachable()
            await client.close()
            assert (await request("GET", f"http://{HOST}:{port}/healthz")).status_code == 200


@pytest.mark.parametrize(
    "sent", [b"", b"GET /healthz HT", b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n"]
)
async def test_a_request_that_does_not_come_is_not_waited_for(sent: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection on which no whole request comes in time is closed, whatever part of it came."""
    monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.2)
    with contextlib.ExitStack() as stack:
        async with served() as port:
            connection = await open_idle(port, stack)
            connection.send(sent)
            await wait_until_async(lambda: is_closed(connection), "it is closed")


async def test_a_request_in_hand_is_not_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes long to respond to is responded to, since its request came in time."""
    monkeypatch.setattr(http_protocol, "REQUEST_SECONDS", 0.1)

    async def slow(_: Request) -> Response:
        await asyncio.sleep(0.5)
        return Response("done")

    listener = listen(HOST, [0])
    assert listener
    async with serving(http_app([Route("/slow", slow)]), listener, Stop(), AllowedHosts()):
        response = await request("GET", f"http://{HOST}:{listener.getsockname()[1]}/slow")
    assert response.text == "done"


async def test_requests_beyond_the_pace_wait_for_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is responded to, however it was cut into packets, and takes a turn."""
    pace = Pace(per_second=50, burst=1)
    taken: list[float] = []

    def take(now_seconds: float) -> float:
        taken.append(Pace.take(pace, now_seconds))
        return taken[-1]

    monkeypatch.setattr(BoundedProtocol, "pace", Mock(take=take))
    head = b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\n"

    async def echo(request: Request) -> Response:
        return Response((await request.body())[::-1])

    listener = listen(HOST, [0])
    assert listener
    async with serving(http_app([Route("/echo", echo, methods=["POST"])]), listener, Stop(), AllowedHosts()):
        reader, writer = await asyncio.open_connection(HOST, listener.getsockname()[1])
        for body in (b"abcdef", b"ghijkl", b"mnopqr"):
            for part in (head[:9], head[9:], body[:2], body[2:3], body[3:]):
                writer.write(part)
                await asyncio.sleep(0.005)
            response = await reader.readuntil(body[::-1])
            assert response.startswith(b"HTTP/1.1 200")
        writer.close()
    assert any(taken)


async def test_requests_that_do_not_wait_for_a_response_end_the_connection() -> None:
    """They would all be served in one turn: the first one is responded to, and the connection is closed."""
    async with served() as port:
        reader, writer = await asyncio.open_connection(HOST, port)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" * 1000)
        received = b""
        with contextlib.suppress(ConnectionError):
            while part := await reader.read(65536):
                received += part
        writer.close()
    assert received.count(b"HTTP/1.1") <= 1


async def test_responses_are_sent_without_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Accepted connections have TCP_NODELAY: kept-alive responses took 44 ms for want of it."""
    options = []
    begin = BoundedProtocol.connection_made

    def observed(protocol: BoundedProtocol, transport: asyncio.Transport) -> None:
        begin(protocol, transport)
        options.append(transport.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    monkeypatch.setattr(BoundedProtocol, "connection_made", observed)
    async with served() as port:
        await request("GET", f"http://{HOST}:{port}/healthz")
    assert options
    assert all(options)


async def test_an_ipv6_address_is_listened_at() -> None:
    """HTTP_HOST=::1 works."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    async with served("::1") as port:
        assert (await request("GET", f"http://[::1]:{port}/healthz")).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("POST", "/healthz", 405),
        ("DELETE", "/metrics", 405),
        ("HEAD", "/healthz", 200),
        ("HEAD", "/metrics", 200),
        ("HEAD", "/nothing", 404),
    ],
)
async def test_every_response_has_the_security_headers(method: str, path: str, status: int) -> None:
    """An error is JSON, whatever was requested, and a HEAD has no body."""
    async with served() as port:
        response = await request(method, f"http://{HOST}:{port}{path}")
    assert response.status_code == status
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'self'" in response.headers["Content-Security-Policy"]
    if method == "HEAD":
        assert response.content == b""
    else:
        assert response.json()["error"]


@pytest.mark.parametrize(("first", "number"), [(3003, 100), (65436, 100), (65437, 99), (65535, 1), (0, 1)])
def test_no_port_is_tried_beyond_the_greatest(first: int, number: int) -> None:
    """Collectors share a hundred ports from the first one on, or as many as there are."""
    ports = ports_from(first)
    assert (ports[0], len(ports)) == (first, number)
    assert ports[-1] <= 65535


def test_a_collector_whose_ports_are_taken_works_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the end of the range, too: it is logged."""
    with socket.create_server((HOST, 0)) as taken, capture_logs() as logged:
        port = taken.getsockname()[1]
        monkeypatch.setattr("ack_collector.main._GREATEST_PORT", port)
        assert listen(HOST, ports_from(port)) is None
    assert [event["event"] for event in logged] == ["http_port_unavailable"]

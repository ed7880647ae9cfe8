"""The fixtures of all tests: shared servers that are emptied, and servers of a test's own.

`IMPORTER_TEST_SERVERS` chooses the kind of servers (see tests/support/servers.py); the report's header names it.
pytest-asyncio runs `async def` tests.
"""

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import hypothesis
import nats
import pytest
import redis
from hypothesis import Phase
from nats.js.errors import NotFoundError

from demo.servers.processes import Server, StanServer
from demo.servers.specs import ServerError
from tests.support import servers
from tests.support.restricted_users import NATS_USERS, REDIS_USERS, restricted_users  # noqa: F401 - a fixture for all
from tests.support.running_system import running_system  # noqa: F401 - a fixture for all

MakeServer = Callable[..., Server]

# No test depends on how long an example takes: the machine may be busy.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# For `make mutate`, which needs to know that a test fails, not the smallest example.
hypothesis.settings.register_profile("unshrunk", phases=[phase for phase in Phase if phase is not Phase.shrink])


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest's signature
    """End the test run at once if the required servers are not available."""
    try:
        servers.choose()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header() -> str:
    """Return the header line that names the servers."""
    return f"servers: {servers.choose().description}"


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Server]:
    """Yield one NATS for all tests that do not break it. A test that needs it empty uses `nats_uri`."""
    with ExitStack() as stack:
        yield _start(stack, servers.choose().nats)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """Yield one Redis for all tests that do not break it. A test that needs it empty uses `redis_uri`."""
    with ExitStack() as stack:
        yield _start(stack, servers.choose().redis)


@pytest.fixture
def nats_uri(nats_server: Server) -> str:
    """Delete all streams of the shared NATS, and return its address."""
    asyncio.run(_delete_streams(nats_server.uri))
    return nats_server.uri


@pytest.fixture
def redis_uri(redis_server: Server) -> str:
    """Empty the shared Redis, and return its address."""
    with redis.Redis.from_url(redis_server.uri) as client:
        client.flushall()  # only on a server that this test run has started
    return redis_server.uri


@pytest.fixture
def make_nats() -> Iterator[MakeServer]:
    """Start a NATS of the test's own, to configure or break: `make_nats(config="max_payload: 65536")`."""
    with ExitStack() as stack:
        yield lambda **options: _start(stack, servers.choose().nats, **options)


@pytest.fixture
def make_redis() -> Iterator[MakeServer]:
    """Start a Redis of the test's own, to configure or break: `make_redis(config="appendonly no")`."""
    with ExitStack() as stack:
        yield lambda **options: _start(stack, servers.choose().redis, **options)


@pytest.fixture
def make_stan() -> Iterator[MakeServer]:
    """Start a nats-streaming-server of the test's own, always as a local process: `make_stan(streaming="ns: …")`."""
    with ExitStack() as stack:
        yield lambda **options: _start(stack, StanServer, **options)


@pytest.fixture
def restricted_nats(make_nats: MakeServer) -> Server:
    """Start a NATS with the users of deploy/."""
    return make_nats(config=NATS_USERS)


@pytest.fixture
def restricted_redis(make_redis: MakeServer) -> Server:
    """Start a Redis with the users of deploy/."""
    return make_redis(config="aclfile $FILES/users.acl", files={"users.acl": REDIS_USERS})


def _start(stack: ExitStack, make: MakeServer, *, start: bool = True, **options: object) -> Server:
    try:
        server = make(**options)
    except ServerError as error:  # the server is not installed on this machine
        is_required = os.environ.get("IMPORTER_TEST_STAN") == "required" if make is StanServer else _is_ci()
        (pytest.fail if is_required else pytest.skip)(str(error))
    stack.callback(server.close)
    if start:
        server.start()
    return server


def _is_ci() -> bool:
    return os.environ.get("CI") == "true"


async def _delete_streams(uri: str) -> None:
    # The limit also applies to the first connection; the default is 60 attempts, 2 s apart.
    client = await nats.connect(uri, allow_reconnect=False, max_reconnect_attempts=2, reconnect_time_wait=0.1)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(str(stream.config.name))
    except NotFoundError:
        pass
    finally:
        await client.close()

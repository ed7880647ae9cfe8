"""What all tests have: servers, clean ones or ones to break, and a limit on their time; `async def` tests just run.

`IMPORTER_TEST_SERVERS` says which servers (see tests/support/servers.py); the report's header says what was chosen.
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

from demo.server_programs import ServerError
from demo.servers import Server
from tests.support import servers
from tests.support.guarded import NATS_USERS, REDIS_USERS, guarded  # noqa: F401 - a fixture for all
from tests.support.installation import installation  # noqa: F401 - a fixture for all
from tests.support.limits import run_test

MakeServer = Callable[..., Server]

# No test is about how long it takes, least of all on a machine that has other things to do.
hypothesis.settings.register_profile("untimed", deadline=None)
hypothesis.settings.load_profile("untimed")
# For `make mutate`, which wants to know that a test fails, and not the shortest way to make it.
hypothesis.settings.register_profile("unshrunk", phases=[phase for phase in Phase if phase is not Phase.shrink])


def pytest_configure(config: pytest.Config) -> None:  # noqa: ARG001 - pytest's signature
    try:
        servers.choose()
    except ServerError as error:
        raise pytest.UsageError(str(error)) from error


def pytest_report_header() -> str:
    return f"servers: {servers.choose().description}"


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool:
    run_test(pyfuncitem)
    return True


@pytest.fixture(scope="session")
def nats_server() -> Iterator[Server]:
    """One NATS for all tests that leave it whole. A test that needs it clean takes `nats_uri`."""
    with ExitStack() as stack:
        yield _start(stack, servers.choose().nats)


@pytest.fixture(scope="session")
def redis_server() -> Iterator[Server]:
    """One Redis for all tests that leave it whole. A test that needs it clean takes `redis_uri`."""
    with ExitStack() as stack:
        yield _start(stack, servers.choose().redis)


@pytest.fixture
def nats_uri(nats_server: Server) -> str:
    """Empty the NATS of all streams, and answer its address."""
    asyncio.run(_delete_streams(nats_server.uri))
    return nats_server.uri


@pytest.fixture
def redis_uri(redis_server: Server) -> str:
    """Empty the Redis, and answer its address."""
    with redis.Redis.from_url(redis_server.uri) as client:
        client.flushall()  # on a server that we have started ourselves, never on another
    return redis_server.uri


@pytest.fixture
def make_nats() -> Iterator[MakeServer]:
    """Start a NATS of this test's own, to configure or break: `make_nats(config="max_payload: 65536")`."""
    with ExitStack() as stack:
        yield lambda **options: _start(stack, servers.choose().nats, **options)


@pytest.fixture
def make_redis() -> Iterator[MakeServer]:
    """Start a Redis of this test's own, to configure or break: `make_redis(config="appendonly no")`."""
    with ExitStack() as stack:
        yield lambda **options: _start(stack, servers.choose().redis, **options)


@pytest.fixture
def guarded_nats(make_nats: MakeServer) -> Server:
    """A NATS with the users of deploy/."""
    return make_nats(config=NATS_USERS)


@pytest.fixture
def guarded_redis(make_redis: MakeServer) -> Server:
    """A Redis with the users of deploy/."""
    return make_redis(config="aclfile $FILES/users.acl", files={"users.acl": REDIS_USERS})


def _start(stack: ExitStack, make: MakeServer, *, start: bool = True, **options: object) -> Server:
    try:
        server = make(**options)
    except ServerError as error:  # there is none on this machine
        (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(str(error))
    stack.callback(server.close)
    if start:
        server.start()
    return server


async def _delete_streams(uri: str) -> None:
    # The attempts limit the first connection, too; 60 of them, 2 s apart, are what it does by itself.
    client = await nats.connect(uri, allow_reconnect=False, max_reconnect_attempts=2, reconnect_time_wait=0.1)
    try:
        jetstream = client.jetstream()
        for stream in await jetstream.streams_info():
            await jetstream.delete_stream(str(stream.config.name))
    except NotFoundError:
        pass
    finally:
        await client.close()

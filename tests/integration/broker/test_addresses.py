"""Host names with several addresses, and lists of servers: one that swallows packets does not stand in the way."""

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from shared.broker.operator_connection import OperatorConnection
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime.shutdown import Stop
from tests.conftest import MakeServer
from tests.support.brokers import connected, publish, settings_for
from tests.support.certificates import make_certificates
from tests.support.waiting import wait_until_async

GOOD, BAD = "127.0.0.1", "127.0.0.2"
HOST = "nats.test"
IN_TIME_SECONDS = 12.0
"""Well below the half minute of a start."""

SetAddresses = Callable[[Sequence[str]], None]


@pytest.fixture
def set_addresses(monkeypatch: pytest.MonkeyPatch) -> SetAddresses:
    """Let HOST have these addresses."""
    original = socket.getaddrinfo
    addresses: list[str] = []

    def resolve(host: object, port: int, *arguments: object, **others: object) -> list[tuple[object, ...]]:
        if host != HOST:
            return original(host, port, *arguments, **others)  # type: ignore[arg-type, return-value]
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in addresses]

    def set_to(values: Sequence[str]) -> None:
        addresses[:] = values

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    return set_to


@contextlib.contextmanager
def swallowing(port: int) -> Iterator[None]:
    """Listen at BAD with a full backlog: further connections get no reply at all."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server((BAD, port), backlog=0))
        while True:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.3)
            try:
                client.connect(listener.getsockname())
            except TimeoutError:
                break
        yield


@contextlib.contextmanager
def silent(port: int) -> Iterator[None]:
    """Listen at BAD; connections are accepted by the kernel, and nothing is ever sent on them."""
    with socket.create_server((BAD, port), backlog=128):
        yield


@pytest.mark.parametrize("bad", [swallowing, silent])
async def test_the_second_address_is_tried_in_time(
    make_nats: MakeServer, set_addresses: SetAddresses, bad: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    """At the start, an address that swallows packets, or never says a word, is left for the next one."""
    port = make_nats().port
    set_addresses([BAD, GOOD])
    with bad(port):
        async with asyncio.timeout(IN_TIME_SECONDS), connected(f"nats://{HOST}:{port}") as broker:
            await publish(broker, "1")


async def test_the_second_server_is_tried_in_time(make_nats: MakeServer) -> None:
    """Of a list of servers, too, the next one is tried."""
    port = make_nats().port
    with swallowing(port):
        for _ in range(2):  # their order is random
            async with (
                asyncio.timeout(IN_TIME_SECONDS),
                connected(f"nats://{BAD}:{port},nats://{GOOD}:{port}") as broker,
            ):
                await publish(broker, "1")


@pytest.mark.parametrize("bad", [swallowing, silent])
async def test_a_reconnect_tries_the_second_address_in_time(
    make_nats: MakeServer, set_addresses: SetAddresses, bad: Callable[[int], contextlib.AbstractContextManager[None]]
) -> None:
    """After a connection was lost, and with other addresses of the name than before."""
    server = make_nats()
    set_addresses([GOOD])
    async with connected(f"nats://{HOST}:{server.port}") as broker:
        set_addresses([BAD, GOOD])
        with bad(server.port):
            for _ in range(2):
                await asyncio.to_thread(server.restart)
                await wait_until_async(lambda: not broker.is_connected, "the loss is noticed")
                await wait_until_async(lambda: broker.is_connected, "it is connected again", IN_TIME_SECONDS)


async def test_a_command_tries_the_second_address_in_time(make_nats: MakeServer, set_addresses: SetAddresses) -> None:
    """An operator's command has only seconds for it."""
    port = make_nats().port
    set_addresses([BAD, GOOD])
    with swallowing(port):
        connection = await OperatorConnection.connect(settings_for(f"nats://{HOST}:{port}"))
        assert connection.max_payload_bytes == 1024 * 1024
        await connection.close()


async def test_a_name_without_a_usable_address_is_given_up(set_addresses: SetAddresses) -> None:
    """The reason that is told is that of the first address; a command ends after its seconds."""
    with socket.create_server((GOOD, 0)) as unused:
        port = unused.getsockname()[1]
    set_addresses([GOOD, BAD])
    begun = time.monotonic()
    with pytest.raises(DependencyLostError, match=f"NATS at {HOST}:{port} cannot be reached: Connection refused"):
        await OperatorConnection.connect(settings_for(f"nats://{HOST}:{port}"))
    assert time.monotonic() - begun < 10


async def test_the_certificate_is_verified_against_the_name(
    make_nats: MakeServer, set_addresses: SetAddresses, tmp_path: Path
) -> None:
    """The certificate must be for the host name, and one for the address that was connected to is not enough."""
    certificates = make_certificates()
    (tmp_path / "ca.pem").write_bytes(certificates["ca.pem"])
    config = 'tls { cert_file: "$FILES/server.pem", key_file: "$FILES/server.key" }'
    server = make_nats(tls=True, config=config, files=certificates)
    set_addresses([GOOD])
    stop = Stop()

    async def work() -> int:
        async with connected(f"tls://{HOST}:{server.port}", stop, nats_ca_path=tmp_path / "ca.pem"):
            return 0

    with pytest.raises((ConfigurationError, DependencyLostError), match=f"not valid for '{HOST}'"):
        await stop.run_to_completion(work(), 60)

"""Which failures of SISU are an outage, and which may be due to the requested amount, over real connections."""

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from demo.sisu.simulator import SisuSimulator
from producer.run.adaptive_page_size import AdaptivePageSize
from producer.run.prefetcher import Prefetcher
from shared.model.errors import FetchError, SisuConnectionError, SisuNoResponseError
from shared.model.services import Service
from shared.sisu.client import SisuClient
from tests.integration.sisu_client.harness import PERSON, client_of
from tests.support.waiting import wait_until

MINIMUM = 10


def quick_client_of(sisu: SisuSimulator | str) -> SisuClient:
    """Return a client with one attempt and a short time-out."""
    return client_of(sisu, attempts=1, sis_timeout_seconds=1)


@contextlib.contextmanager
def unreachable() -> Iterator[str]:
    """Yield the address of a port at which no server listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def not_accepting() -> Iterator[str]:
    """Yield the address of a server that accepts no connections, like a host that drops packets."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)

        def is_full() -> bool:
            client = stack.enter_context(socket.socket())
            client.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                client.connect(listener.getsockname())
                return False
            return True

        wait_until(is_full, "the backlog of the server is full")
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


@contextlib.contextmanager
def without_tls() -> Iterator[str]:
    """Yield an https address of a server that does not speak TLS."""
    with SisuSimulator(size=60) as sisu:
        yield sisu.uri.replace("http://", "https://")


@contextlib.contextmanager
def closing() -> Iterator[str]:
    """Yield the address of a server that reads a request and closes the connection without a response."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(65536)

        threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def hanging() -> Iterator[str]:
    """Yield the address of a server that reads requests and never responds."""
    with SisuSimulator(size=60) as sisu:
        sisu.fault("hang", service="PERSON", times=None)
        yield sisu.uri


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """Yield the address of a server that starts a response and does not finish it in time."""
    with SisuSimulator(size=60) as sisu:
        sisu.fault("drip", service="PERSON", times=None, pause_seconds=0.02)
        yield sisu.uri


FaultySisu = Callable[[], contextlib.AbstractContextManager[str]]


@pytest.mark.parametrize(
    ("faulty_sisu", "error"),
    [
        (unreachable, SisuConnectionError),
        (not_accepting, SisuConnectionError),
        (without_tls, SisuConnectionError),
        (closing, SisuNoResponseError),
        (hanging, SisuNoResponseError),
        (dripping, FetchError),
    ],
)
async def test_the_error_class_tells_how_far_a_request_came(faulty_sisu: FaultySisu, error: type[FetchError]) -> None:
    """No connection, no response, and a response that cannot be used are three classes of error."""
    with faulty_sisu() as uri, pytest.raises(FetchError) as raised:
        await quick_client_of(uri).fetch(PERSON, 0)
    assert type(raised.value) is error, raised.value


class GrownPageSize(AdaptivePageSize):
    """A page size that has already grown to its maximum."""

    def for_service(self, service: Service) -> int:  # noqa: ARG002 - of any service
        """Return the maximum."""
        return self._maximum


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_after_a_timeout_a_smaller_amount_is_requested(sisu: SisuSimulator, kind: str) -> None:
    """A page that SISU does not return in time is requested again in a smaller amount, and so are later ones."""
    sisu.fault(kind, service="PERSON", **({"pause_seconds": 0.02} if kind == "drip" else {}))
    prefetcher = Prefetcher(quick_client_of(sisu), GrownPageSize(MINIMUM, 8 * MINIMUM))
    batch = await prefetcher.next_batch(PERSON, 0)
    await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    assert [request.limit for request in sisu.requests][1:] == [4 * MINIMUM, 4 * MINIMUM]


async def test_an_outage_does_not_reduce_the_amount(sisu: SisuSimulator) -> None:
    """After an outage, the same amount is requested as before."""
    prefetcher = Prefetcher(client_of(sisu, attempts=1), GrownPageSize(MINIMUM, 8 * MINIMUM))
    batch = await prefetcher.next_batch(PERSON, 0)
    sisu.stop()
    with pytest.raises(SisuConnectionError):
        await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    sisu.start()
    await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    assert [request.limit for request in sisu.requests] == [8 * MINIMUM, 8 * MINIMUM]

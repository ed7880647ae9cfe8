"""Which failures of SISU are an outage, and which may be due to what was asked for: over real connections."""

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

LEAST = 10


def quick_client_of(sisu: SisuSimulator | str) -> SisuClient:
    """One that makes one attempt, and does not wait for long."""
    return client_of(sisu, attempts=1, sis_timeout_seconds=1)


@contextlib.contextmanager
def nobody() -> Iterator[str]:
    """Return a port at which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    yield f"http://127.0.0.1:{port}"


@contextlib.contextmanager
def silence() -> Iterator[str]:
    """One that takes no connections any more: as a host that drops packets."""
    with contextlib.ExitStack() as stack:
        full = stack.enter_context(socket.socket())
        full.bind(("127.0.0.1", 0))
        full.listen(0)

        def is_full() -> bool:
            one = stack.enter_context(socket.socket())
            one.settimeout(0.1)
            with contextlib.suppress(TimeoutError):
                one.connect(full.getsockname())
                return False
            return True

        wait_until(is_full, "it takes no more connections")
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@contextlib.contextmanager
def no_tls() -> Iterator[str]:
    """One that does not speak TLS, where that is wanted."""
    with SisuSimulator(size=60) as sisu:
        yield sisu.uri.replace("http://", "https://")


@contextlib.contextmanager
def hanging_up() -> Iterator[str]:
    """One that takes requests, and ends the connection without an answer, as where its backend has died of one."""
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
    """One that takes requests, and says nothing."""
    with SisuSimulator(size=60) as sisu:
        sisu.fault("hang", service="PERSON", times=None)
        yield sisu.uri


@contextlib.contextmanager
def dripping() -> Iterator[str]:
    """One that begins to answer, and does not get done."""
    with SisuSimulator(size=60) as sisu:
        sisu.fault("drip", service="PERSON", times=None, pause_seconds=0.02)
        yield sisu.uri


Sisu = Callable[[], contextlib.AbstractContextManager[str]]


@pytest.mark.parametrize(
    ("sisu", "kind"),
    [
        (nobody, SisuConnectionError),
        (silence, SisuConnectionError),
        (no_tls, SisuConnectionError),
        (hanging_up, SisuNoResponseError),
        (hanging, SisuNoResponseError),
        (dripping, FetchError),
    ],
)
async def test_how_far_a_request_came_is_told(sisu: Sisu, kind: type[FetchError]) -> None:
    """No connection, no answer, or an answer that is of no use: three kinds of error, each of its own class."""
    with sisu() as uri, pytest.raises(FetchError) as raised:
        await quick_client_of(uri).fetch(PERSON, 0)
    assert type(raised.value) is kind, raised.value


class Grown(AdaptivePageSize):
    """Has seen that the most pays."""

    def for_service(self, service: Service) -> int:  # noqa: ARG002 - of any service
        return self._maximum


@pytest.mark.parametrize("kind", ["hang", "drip"])
async def test_a_page_that_takes_too_long_is_asked_for_in_a_smaller_amount(sisu: SisuSimulator, kind: str) -> None:
    """SISU cannot answer so many entities in time: it is asked for fewer, now and from then on."""
    sisu.fault(kind, service="PERSON", **({"pause_seconds": 0.02} if kind == "drip" else {}))
    prefetcher = Prefetcher(quick_client_of(sisu), Grown(LEAST, 8 * LEAST))
    batch = await prefetcher.next_batch(PERSON, 0)
    await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    assert [request.limit for request in sisu.requests][1:] == [4 * LEAST, 4 * LEAST]


async def test_after_an_outage_as_much_is_asked_for_as_before(sisu: SisuSimulator) -> None:
    """SISU was away, and is back: that says nothing of how much it can answer."""
    prefetcher = Prefetcher(client_of(sisu, attempts=1), Grown(LEAST, 8 * LEAST))
    batch = await prefetcher.next_batch(PERSON, 0)
    sisu.stop()
    with pytest.raises(SisuConnectionError):
        await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    sisu.start()
    await prefetcher.next_batch(PERSON, batch.greatest_ordinal)
    assert [request.limit for request in sisu.requests] == [8 * LEAST, 8 * LEAST]

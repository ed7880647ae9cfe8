"""What a response may cost: bytes, memory and time, whatever it is that does not end."""

import asyncio
import contextlib
import gzip
import itertools
import socket
import threading
import time
import tracemalloc
import zlib
from collections.abc import Callable, Iterator

import pytest

from shared.model.errors import FetchError, SisuUnauthorizedError
from tests.integration.sisu_client.harness import PERSON, client_of
from tests.support.scripted_http import response, scripted_server
from tests.support.waiting import wait_until

MAX_BYTES = 1024**2
PAGE = b'{"entities":[],"hasMore":false,"greatestOrdinal":7}'


def bomb() -> bytes:
    """Return 64 MiB of spaces, as gzip."""
    return gzip.compress(b" " * (64 * MAX_BYTES))


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_response_that_is_too_large_is_read_up_to_the_limit(compressed: bool) -> None:
    """It is an error that names the setting, after one attempt, and costs about as much memory as is allowed."""
    body = bomb() if compressed else b" " * (64 * MAX_BYTES)
    sent = response(body, *(["Content-Encoding: gzip"] if compressed else []))

    def script(connection: socket.socket, _: bytes, __: int) -> bool:
        connection.sendall(sent)
        return True

    with scripted_server(script) as server:
        client = client_of(server.uri, sis_max_response_bytes=MAX_BYTES)
        tracemalloc.start()
        try:
            with pytest.raises(FetchError, match="larger than SIS_MAX_RESPONSE_BYTES"):
                await client.fetch(PERSON, 0)
            assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BYTES
        finally:
            tracemalloc.stop()
        assert len(server.requests) == 1


async def test_a_response_of_exactly_the_limit_is_read() -> None:
    """The limit is the largest size that is accepted, and counts what is decoded."""
    body = gzip.compress(PAGE)

    def script(connection: socket.socket, _: bytes, __: int) -> bool:
        connection.sendall(response(body, "Content-Encoding: gzip"))
        return True

    with scripted_server(script) as server:
        assert (await client_of(server.uri, sis_max_response_bytes=len(PAGE)).fetch(PERSON, 0)).greatest_ordinal == 7
        with pytest.raises(FetchError):
            await client_of(server.uri, sis_max_response_bytes=len(PAGE) - 1).fetch(PERSON, 0)


@pytest.mark.parametrize(
    ("status", "error"), [("302 Found", FetchError), ("404 Not Found", FetchError), ("401 No", SisuUnauthorizedError)]
)
@pytest.mark.parametrize("length", [None, 10**20])
async def test_only_the_body_of_a_200_is_read(status: str, error: type[Exception], length: int | None) -> None:
    """The body of a redirect or an error may be of any size, and announce any: nothing of it is read."""
    body = bomb()

    def script(connection: socket.socket, _: bytes, __: int) -> bool:
        headers = ("Content-Encoding: gzip", "Location: http://login.invalid/")
        connection.sendall(response(body, *headers, status=status, length=length))
        return True

    with scripted_server(script) as server:
        tracemalloc.start()
        try:
            async with asyncio.timeout(5):
                with pytest.raises(error):
                    await client_of(server.uri, attempts=1).fetch(PERSON, 0)
            assert tracemalloc.get_traced_memory()[1] < 8 * MAX_BYTES
        finally:
            tracemalloc.stop()


def empty_blocks() -> Iterator[bytes]:
    """Yield gzip that never has any content: blocks that flush nothing."""
    packer = zlib.compressobj(wbits=31)
    while True:
        yield packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)


DRIPS: dict[str, Callable[[], Iterator[bytes]]] = {
    "nothing": lambda: itertools.repeat(b""),
    "a status line": lambda: itertools.chain([b"HTTP/1.1 200 "], itertools.repeat(b"O")),
    "headers": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n"], itertools.repeat(b"X-A: b\r\n")),
    "100 Continue": lambda: itertools.repeat(b"HTTP/1.1 100 Continue\r\n\r\n"),
    "a chunk's size": lambda: itertools.chain(
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"], itertools.repeat(b"0")
    ),
    "empty blocks": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n"], empty_blocks()),
    "spaces": lambda: itertools.chain([b"HTTP/1.1 200 OK\r\n\r\n"], itertools.repeat(b" ")),
}


def sisu_threads() -> list[threading.Thread]:
    """Return the threads of attempts that are under way."""
    return [thread for thread in threading.enumerate() if thread.name == "sisu"]


@pytest.mark.parametrize("what", DRIPS)
async def test_whatever_drips_ends_at_the_deadline(what: str) -> None:
    """A byte now and then keeps no attempt alive: it ends, and its thread and connection with it."""

    def script(connection: socket.socket, _: bytes, __: int) -> bool:
        with contextlib.suppress(OSError):
            for part in DRIPS[what]():
                connection.sendall(part)
                time.sleep(0.02)
        return False

    with scripted_server(script) as server:
        started = time.monotonic()
        with pytest.raises(FetchError) as failed:
            await client_of(server.uri, attempts=1, sis_timeout_seconds=0.5).fetch(PERSON, 0)
        assert 0.4 < time.monotonic() - started < 3
        assert failed.value.timed_out
        wait_until(lambda: not sisu_threads(), "no thread is left")

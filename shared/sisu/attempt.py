"""One attempt at SISU: it runs in a thread of its own, and is ended from outside by closing its socket.

`requests` blocks, and its time-outs are between two bytes: a server that drips a byte now and then, be it of headers,
of `100 Continue` or of empty blocks of gzip, meets none of them. The waiting coroutine therefore enforces the
deadline.
"""

import asyncio
import contextlib
import socket
import threading
from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import TypeVar

T = TypeVar("T")


class Stage(Enum):
    """How far an attempt has come."""

    CONNECTING = "connecting"
    WAITING = "waiting"
    """A connection is made: for TLS, and then for the headers of a response."""
    READING = "reading"
    """The headers are there."""


class Attempt:
    """One attempt. Thread-safe."""

    def __init__(self) -> None:
        self.stage = Stage.CONNECTING
        self.is_reused = False
        """Whether its connection was used by a request before."""
        self._socket: socket.socket | None = None
        self._lock = threading.Lock()
        self._ended = threading.Event()

    @property
    def has_ended(self) -> bool:
        """Whether it was ended from outside."""
        return self._ended.is_set()

    def use(self, connection: socket.socket, *, is_new: bool = False) -> None:
        """Note that it uses this socket, which is closed if the attempt has ended already."""
        with self._lock:
            self.is_reused = not is_new and self.stage is Stage.CONNECTING
            self.stage = Stage.WAITING
            self._socket = connection
        if self.has_ended:
            self._shut_down()

    def start_again(self) -> None:
        """Note that it makes a new connection, in place of one that broke."""
        with self._lock:
            self.stage, self.is_reused, self._socket = Stage.CONNECTING, False, None

    def end(self) -> None:
        """End it: what it waits for fails at once. Never blocks."""
        self._ended.set()
        self._shut_down()

    def _shut_down(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                # Of the TCP connection: TLS would first say goodbye, which takes a peer that listens.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


async def run_attempt(attempt: Attempt, work: Callable[[], T], timeout_seconds: float) -> T:
    """Run `work` in a daemon thread and return its result. Raises what it raises, or TimeoutError at the deadline.

    Then, and when the wait is cancelled, the attempt is ended and abandoned. Not asyncio.to_thread: its threads are
    waited for when the process ends, and a look-up of a name, which nothing can end, would hold that up.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def deliver(finish: Callable[[], None]) -> None:
        if not done.done():
            finish()

    def run() -> None:
        try:
            finish = partial(done.set_result, work())
        except BaseException as error:  # noqa: BLE001 - passed to the waiter
            finish = partial(done.set_exception, error)
        with contextlib.suppress(RuntimeError):  # the loop is closed: the process ends
            loop.call_soon_threadsafe(deliver, finish)

    threading.Thread(target=run, name="sisu", daemon=True).start()
    try:
        async with asyncio.timeout(timeout_seconds):
            return await done
    except (TimeoutError, asyncio.CancelledError):
        attempt.end()
        raise

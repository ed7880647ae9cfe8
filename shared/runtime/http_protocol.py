"""What clients of the HTTP port may take of the process: its descriptors and its time belong to the import.

uvicorn bounds neither the number of connections, nor how long one may take to send a request, nor how many requests
come: a client that repeats them without a pause would take half of the event loop's time.
"""

import asyncio
import socket
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from shared.runtime.http_responses import header_lines
from shared.runtime.pace import Pace

MAX_CONNECTIONS = 256
"""At one port. A process usually may have 1,024 descriptors, and the import needs a few dozen."""
REQUEST_SECONDS = 10.0
"""For a whole request to come, from the start of the connection or from its first byte on."""


REQUESTS_PER_SECOND = 200
"""Of all connections together. One takes a quarter of a millisecond: a twentieth of the event loop's time at most."""
REQUEST_BURST = 200
"""At once, after a quiet time: a page with its files, or the probes of a cluster, do not wait."""


class BoundedProtocol(H11Protocol):
    """One connection to the port; closed where its request does not come in time.

    What comes faster than the pace of all connections waits, unread. Above the maximum, the connection that has been
    idle for longest is closed for the new one, so that idle ones keep no client out; if none is idle, the new one is
    closed. Closing is abrupt: what a client does not read keeps nothing.
    """

    pace = Pace(REQUESTS_PER_SECOND, REQUEST_BURST)

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._waiting = b""
        """What was received before its turn."""
        self._idle_since_seconds = 0.0
        self._request_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin a connection."""
        super().connection_made(transport)
        # asyncio sets it only on sockets whose protocol number is not 0 as it is here, and without it a response whose
        # head and body are written one after the other waits for the client's delayed acknowledgement: 40 ms.
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._idle_since_seconds = self.loop.time()
        self._request_timer = self.loop.call_later(REQUEST_SECONDS, transport.abort)
        if len(self.connections) > MAX_CONNECTIONS:
            self._close_one()

    def data_received(self, data: bytes) -> None:
        """Receive a part of a request, in its turn."""
        if self._request_timer is None:
            self._request_timer = self.loop.call_later(REQUEST_SECONDS, self.transport.abort)
        if self._waiting:
            self._waiting += data  # uvicorn resumed reading after another response
        elif delay_seconds := self.pace.take(self.loop.time()):
            self._waiting = data
            self.transport.pause_reading()
            self.loop.call_later(delay_seconds, self._take_turn)
        else:
            self._receive(data)

    def _take_turn(self) -> None:
        data, self._waiting = self._waiting, b""
        if not self.transport.is_closing():
            self._receive(data)
            if not self.flow.read_paused:
                self.transport.resume_reading()

    def _receive(self, data: bytes) -> None:
        super().data_received(data)
        if self._is_responding and not self.cycle.more_body:
            self._stop_request_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._stop_request_timer()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        """Wait for the next request of a connection."""
        self._idle_since_seconds = self.loop.time()
        if self.conn.trailing_data[0]:
            self.transport.close()  # requests that were sent without waiting for a response would take one turn for all
        super().on_response_complete()

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which no further request came, even if the client never read the last response."""
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Respond to what is not HTTP, with the security headers, and close."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *header_lines()]
        for event in (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        ):
            self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    @property
    def is_busy(self) -> bool:
        """Whether a request has come, and its response has not been sent."""
        return bool(self._waiting) or self._is_responding

    @property
    def _is_responding(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def _close_one(self) -> None:
        idle = [each for each in self.connections if isinstance(each, BoundedProtocol) and not each.is_busy]
        oldest = min(idle, key=lambda each: each._idle_since_seconds, default=self)  # noqa: SLF001 - the same class
        self.connections.discard(oldest)  # `connection_lost` comes only later, and others may come before
        oldest.transport.abort()

    def _stop_request_timer(self) -> None:
        if self._request_timer is not None:
            self._request_timer.cancel()
            self._request_timer = None

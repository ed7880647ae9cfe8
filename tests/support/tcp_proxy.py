"""A network that can be broken: a TCP proxy in front of one server, with two threads for each connection."""

import contextlib
import socket
import struct
import threading
import time
from enum import StrEnum
from types import TracebackType
from typing import Self

_READ_BYTES = 64 * 1024
_DRIP_BYTES = 256


class Mode(StrEnum):
    """What the network does."""

    PASS = "pass"
    REFUSE = "refuse"
    """Nothing listens at the port, and open connections are cut."""
    RESET = "reset"
    """Connections are accepted and reset at once."""
    HALF_OPEN = "half open"
    """Connections are accepted, and discard what is sent in either direction."""
    SLOW = "slow"
    """Every 256 bytes are delayed by `delay_seconds`."""


class TcpProxy:
    """Listens on a loopback port and passes on to `target_port`, as `mode` says.

    A change of the mode also applies to open connections; those that have lost data are cut.
    """

    def __init__(self, target_port: int) -> None:
        self.delay_seconds = 0.0
        """For SLOW."""
        self.accepted = 0
        """The number of connections accepted so far."""
        self.lost_replies = 0
        """The number of replies lost so far: see `lose_reply`."""
        self.requests: bytearray | None = None
        """What clients sent, if this is set to collect it."""
        self._target = target_port
        self._mode = Mode.PASS
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._doom: tuple[bytes, int] = (b"", 0)
        self._listener = self._listen(0)
        self.port: int = self._listener.getsockname()[1]

    @property
    def mode(self) -> Mode:
        """Return the current mode."""
        return self._mode

    def switch(self, mode: Mode, delay_seconds: float = 0.0) -> None:
        """Change the mode."""
        before, self._mode, self.delay_seconds = self._mode, mode, delay_seconds
        if mode is Mode.REFUSE:
            self._close_listener()
        elif before is Mode.REFUSE:
            self._listener = self._listen(self.port)
            self._accept_in_thread()
        if mode in (Mode.REFUSE, Mode.RESET) or before is Mode.HALF_OPEN:
            self.cut(reset=mode is Mode.RESET)

    def cut(self, *, reset: bool = False) -> None:
        """Close every open connection."""
        with self._lock:
            for connection in self._open:
                _end(connection, reset=reset)

    def lose_reply(self, request: bytes, times: int = 1) -> None:
        """Let the next requests that contain these bytes reach the server, and cut the connection before its reply."""
        with self._lock:
            self._doom = (request, times)

    def __enter__(self) -> Self:
        self._accept_in_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close_listener()
        self.cut()

    def _listen(self, port: int) -> socket.socket:
        return socket.create_server(("127.0.0.1", port), backlog=128)

    def _close_listener(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # else accept() in another thread would keep it open
        self._listener.close()

    def _accept_in_thread(self) -> None:
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = listener.accept()
                self.accepted += 1
                if self._mode is Mode.RESET:
                    _end(connection, reset=True)
                    connection.close()
                else:
                    threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError), client, socket.create_connection(("127.0.0.1", self._target)) as server:
            with self._lock:
                self._open |= {client, server}
            doomed = threading.Event()
            back = threading.Thread(target=self._replies, args=(server, client, doomed), daemon=True)
            back.start()
            self._requests(client, server, doomed)
            back.join()
            with self._lock:
                self._open -= {client, server}

    def _requests(self, client: socket.socket, server: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := client.recv(_READ_BYTES):
                if self.requests is not None:
                    self.requests += data
                if self._is_doomed(data):
                    doomed.set()
                self._pass_on(data, server)
        for end in (client, server):
            _end(end)

    def _replies(self, server: socket.socket, client: socket.socket, doomed: threading.Event) -> None:
        with contextlib.suppress(OSError):
            while data := server.recv(_READ_BYTES):
                if doomed.is_set():
                    self.lost_replies += 1
                    break
                self._pass_on(data, client)
        for end in (client, server):
            _end(end)

    def _is_doomed(self, data: bytes) -> bool:
        with self._lock:
            request, times = self._doom
            if times == 0 or request not in data:
                return False
            self._doom = (request, times - 1)
            return True

    def _pass_on(self, data: bytes, target: socket.socket) -> None:
        view = memoryview(data)
        while view:
            if self._mode is Mode.HALF_OPEN:
                return
            part = view[:_DRIP_BYTES] if self._mode is Mode.SLOW else view
            if self._mode is Mode.SLOW:
                time.sleep(self.delay_seconds)
            target.sendall(part)
            view = view[len(part) :]


def _end(connection: socket.socket, *, reset: bool = False) -> None:
    with contextlib.suppress(OSError):
        if reset:  # closing with a linger time of zero resets the connection (socket(7))
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.shutdown(socket.SHUT_RDWR)

"""TLS in front of a server without it, such as a Redis that was built without TLS."""

import contextlib
import socket
import ssl
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

_READ_BYTES = 64 * 1024


class TlsProxy:
    """Listens on a loopback port, and forwards what arrives over TLS to `port`.

    With `client_ca` it requires a client certificate of that authority. It reads from a rejected client until that
    disconnects: if the proxy closed at once, the client would see either the TLS alert or a reset.
    """

    def __init__(self, port: int, certificate: Path, key: Path, client_ca: Path | None = None) -> None:
        self._target = port
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate, key)
        if client_ca:
            self._context.load_verify_locations(client_ca)
            self._context.verify_mode = ssl.CERT_REQUIRED
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            secured = self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
            try:
                secured.do_handshake()
            except ssl.SSLError:
                self._linger(socket.socket(fileno=secured.detach()))
                return
            with secured, socket.create_connection(("127.0.0.1", self._target)) as server:
                back = threading.Thread(target=self._copy, args=(server, secured), daemon=True)
                back.start()
                self._copy(secured, server)
                back.join()

    @staticmethod
    def _linger(rejected: socket.socket) -> None:
        with contextlib.suppress(OSError), rejected:
            rejected.shutdown(socket.SHUT_WR)
            while rejected.recv(_READ_BYTES):
                pass

    @staticmethod
    def _copy(source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(_READ_BYTES):
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

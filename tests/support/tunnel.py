"""An HTTP proxy that makes tunnels (CONNECT) and does nothing else."""

import contextlib
import socket
import threading
from collections.abc import Iterator

from tests.support.scripted_http import ScriptedServer, scripted_server


class Tunnel:
    """The proxy: where it listens, and where it was asked to connect to."""

    def __init__(self) -> None:
        self.targets: list[str] = []
        self.server: ScriptedServer

    @property
    def uri(self) -> str:
        """Return its address."""
        return self.server.uri

    def connect(self, connection: socket.socket, head: bytes, _: int) -> bool:
        """Connect to the target of a request, and copy until either side closes."""
        target = head.split(b" ")[1].decode()
        self.targets.append(target)
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as other:
            connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=_copy, args=(other, connection), daemon=True)
            back.start()
            _copy(connection, other)
            back.join()
        return False


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextlib.contextmanager
def tunnel() -> Iterator[Tunnel]:
    """Run a proxy on the loopback address."""
    proxy = Tunnel()
    with scripted_server(proxy.connect) as proxy.server:
        yield proxy

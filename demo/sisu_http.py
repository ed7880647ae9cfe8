"""HTTP of the simulator: who is let in, which service a path is, and the faults that a connection can have.

A thread for each connection, with blocking sockets: there are only a few, a page of megabytes goes out in one call
without being copied on the way, and a fault such as a hang or a reset is written down as what it is.
"""

import base64
import contextlib
import os
import socket
import ssl
import struct
import threading
import time
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from socketserver import TCPServer
from typing import Any
from urllib.parse import unquote

from demo import sisu_control
from demo.sisu_answers import Answer, answer, refusal
from demo.sisu_backend import Credentials, Request, SisuBackend
from demo.sisu_faults import ArmedFault, FaultKind
from shared.services import Api, Service

_RELEASE_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Tls:
    """The server's certificate and key, and, to demand certificates of clients, the authority that signs them."""

    cert_path: Path
    key_path: Path
    client_ca_path: Path | None = None

    def context(self) -> ssl.SSLContext:
        """A server's context."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_path, self.key_path)
        if self.client_ca_path:
            context.load_verify_locations(self.client_ca_path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class SisuServer(ThreadingHTTPServer):
    """Listens on the loopback address, from the moment it is made."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, backend: SisuBackend, port: int, tls: Tls | None) -> None:
        self.backend = backend
        self.routes = {_path(service): service for service in backend.services.values()}
        self.graphql = [service for service in backend.services.values() if service.api is Api.GRAPHQL]
        self._tls = tls.context() if tls else None
        self._connections: set[socket.socket] = set()
        self._connections_lock = threading.Lock()
        super().__init__(("127.0.0.1", port), _Handler)

    def server_bind(self) -> None:
        """Bind, without HTTPServer's question for the host's name, which a slow DNS would answer late."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept. The TLS handshake is left to the connection's thread, where it blocks nobody else."""
        connection, address = self.socket.accept()
        if self._tls:
            connection = self._tls.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        with self._connections_lock:
            self._connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close a connection."""
        with self._connections_lock:
            self._connections.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: clients that go away, or that fail the handshake, are what a simulator is there for."""

    def close_connections(self) -> None:
        """End every connection, whatever it is doing."""
        with self._connections_lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    socket.socket.shutdown(connection, socket.SHUT_RDWR)


def _path(service: Service) -> str:
    if service.api is Api.GRAPHQL:
        return "/graphql"
    api = service.api.lower() if service.api.is_export else "kori"
    return f"/{api}/api{service.path.partition('?')[0]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: SisuServer

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the name in the library
        """Write nothing: the log of requests is for that."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        arrived = time.monotonic()
        sent = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        path = unquote(path)
        backend = self.server.backend
        if path.startswith("/simulator/"):
            self._send(sisu_control.control(backend, self.command, path, query, sent))
            return
        service = self._service(path, sent)
        refused = self._refusal(service)
        armed = backend.next_fault(service) if service and not refused else None
        if armed and armed.fault.kind is FaultKind.HANG:
            self._log(arrived, service, Answer(0, b""), armed)
            self._wait_until_released(armed)
            armed = None
        backend.stopping.wait(backend.latency_seconds)
        if backend.stopping.is_set():
            self.close_connection = True
            return
        if service and not refused:
            given = answer(backend, service, query, sent, armed.fault if armed else None)
        else:
            given = refused or refusal(404, "there is nothing here")
        self._log(arrived, service, given, armed)
        self._send(given, armed)

    def _service(self, path: str, sent: bytes) -> Service | None:
        service = self.server.routes.get(path)
        if service is None or self.command != ("POST" if service.query else "GET"):
            return None
        # Several services may ask the one address of GraphQL; the query tells which it is.
        return next((one for one in self.server.graphql if service.query and one.path.encode() in sent), service)

    def _refusal(self, service: Service | None) -> Answer | None:
        if service is None:
            return None
        is_public = service.api in (Api.KORI_PUBLIC, Api.URN)
        backend = self.server.backend
        if not is_public and not self._is_known(backend.credentials):
            return refusal(401, "who are you?", {"WWW-Authenticate": 'Basic realm="Sisu"'})
        if service.name in backend.forbidden:
            return refusal(403, "not for you")
        return None

    def _is_known(self, credentials: Credentials) -> bool:
        if credentials == Credentials():
            return True
        accepted = set()
        if credentials.user is not None:
            pair = f"{credentials.user}:{credentials.password or ''}".encode()
            accepted.add(("Authorization", f"Basic {base64.b64encode(pair).decode()}"))
        if credentials.api_key is not None:
            accepted.add(("X-Api-Key", credentials.api_key))
        if credentials.token is not None:
            accepted |= {("Authorization", f"Bearer {credentials.token}"), ("token", credentials.token)}
        return any(self.headers.get(header) == value for header, value in accepted)

    def _log(self, arrived: float, service: Service | None, given: Answer, armed: ArmedFault | None) -> None:
        self.server.backend.requests.append(
            Request(
                arrived,
                service.name if service else None,
                given.since,
                given.limit,
                given.status,
                given.entities,
                given.greatest_ordinal,
                armed.fault.kind.value if armed else None,
            )
        )

    def _send(self, given: Answer, armed: ArmedFault | None = None) -> None:
        kind = armed.fault.kind if armed else None
        body: bytes | memoryview = given.body
        if armed and (kind is FaultKind.RESET or (kind is FaultKind.TRUNCATED and not armed.fault.honest_length)):
            body = memoryview(given.body)[: armed.fault.part(given.body)]
            self.close_connection = True
        self.send_response(given.status)
        self.send_header("Content-Type", given.content_type)
        self.send_header("Content-Length", str(len(given.body)))
        for name, value in given.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if armed and kind is FaultKind.DRIP:
            self._drip(given.body, armed)
        else:
            self.connection.sendall(body)
        if kind is FaultKind.RESET:
            self._reset()

    def _drip(self, body: bytes, armed: ArmedFault) -> None:
        sent = 0
        while sent < len(body) and not armed.released.wait(armed.fault.pause_seconds):
            if self.server.backend.stopping.is_set():
                self.close_connection = True
                return
            self.connection.sendall(body[sent : sent + 1])
            sent += 1
        self.connection.sendall(memoryview(body)[sent:])

    def _wait_until_released(self, armed: ArmedFault) -> None:
        while not armed.released.wait(_RELEASE_POLL_SECONDS) and not self.server.backend.stopping.is_set():
            pass

    def _reset(self) -> None:
        # To linger for zero seconds is to reset (socket(7)), and it has to be the last to close the descriptor.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

"""The simulator's HTTP server: access, routes, and the faults of a connection.

Each connection has a thread, with blocking sockets: there are only a few, a page of megabytes is sent in one call
without a copy, and a fault such as a hang or a reset is simple to write.
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

from demo.sisu.backend import Credentials, Request, SisuBackend
from demo.sisu.control_api import control
from demo.sisu.faults import ArmedFault, FaultKind
from demo.sisu.responses import Response, error_response, respond
from shared.model.services import Api, Service

_RELEASE_POLL_SECONDS = 0.05


@dataclass(frozen=True)
class Tls:
    """The server's certificate and key, and, to require client certificates, the authority that signs them."""

    cert_path: Path
    key_path: Path
    client_ca_path: Path | None = None

    def context(self) -> ssl.SSLContext:
        """Return the context of the server."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.cert_path, self.key_path)
        if self.client_ca_path:
            context.load_verify_locations(self.client_ca_path)
            context.verify_mode = ssl.CERT_REQUIRED
        return context


class SisuServer(ThreadingHTTPServer):
    """An HTTP server that listens on the loopback address from its creation on."""

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
        """Bind without HTTPServer's look-up of the host's name, which a slow DNS would delay."""
        TCPServer.server_bind(self)
        self.server_name, self.server_port = self.socket.getsockname()

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection. The TLS handshake happens in its own thread, where it blocks no other connection."""
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
        """Log nothing: clients that disconnect or fail the handshake are expected of a simulator."""

    def close_connections(self) -> None:
        """Close every connection, whatever its state."""
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
        """Log nothing: the log of requests has it."""

    def do_GET(self) -> None:
        self._handle()

    def do_POST(self) -> None:
        self._handle()

    def do_DELETE(self) -> None:
        self._handle()

    def _handle(self) -> None:
        arrived = time.monotonic()
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        path, _, query = self.path.partition("?")
        path = unquote(path)
        backend = self.server.backend
        if path.startswith("/simulator/"):
            self._send(control(backend, self.command, path, query, body))
            return
        service = self._find_service(path, body)
        denied = self._check_access(service)
        armed = backend.next_fault(service) if service and not denied else None
        if armed and armed.fault.kind is FaultKind.HANG:
            self._log(arrived, service, Response(0, b""), armed)
            self._wait_until_released(armed)
            armed = None
        backend.stopping.wait(backend.latency_seconds)
        if backend.stopping.is_set():
            self.close_connection = True
            return
        if service and not denied:
            response = respond(backend, service, query, body, armed.fault if armed else None)
        else:
            response = denied or error_response(404, "no such path")
        self._log(arrived, service, response, armed)
        self._send(response, armed)

    def _find_service(self, path: str, body: bytes) -> Service | None:
        service = self.server.routes.get(path)
        if service is None or self.command != ("POST" if service.query else "GET"):
            return None
        # Several services may share the address of GraphQL; the query tells which one it is.
        return next((each for each in self.server.graphql if service.query and each.path.encode() in body), service)

    def _check_access(self, service: Service | None) -> Response | None:
        if service is None:
            return None
        is_public = service.api in (Api.KORI_PUBLIC, Api.URN)
        backend = self.server.backend
        if not is_public and not self._is_authorized(backend.credentials):
            return error_response(401, "unauthorized", {"WWW-Authenticate": 'Basic realm="Sisu"'})
        if service.name in backend.forbidden:
            return error_response(403, "forbidden")
        return None

    def _is_authorized(self, credentials: Credentials) -> bool:
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

    def _log(self, arrived: float, service: Service | None, response: Response, armed: ArmedFault | None) -> None:
        self.server.backend.requests.append(
            Request(
                arrived,
                service.name if service else None,
                response.since,
                response.limit,
                response.status,
                response.entities,
                response.greatest_ordinal,
                armed.fault.kind.value if armed else None,
            )
        )

    def _send(self, response: Response, armed: ArmedFault | None = None) -> None:
        kind = armed.fault.kind if armed else None
        body: bytes | memoryview = response.body
        if armed and (kind is FaultKind.RESET or (kind is FaultKind.TRUNCATED and not armed.fault.honest_length)):
            body = memoryview(response.body)[: armed.fault.passed_bytes(response.body)]
            self.close_connection = True
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(len(response.body)))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()
        if armed and kind is FaultKind.DRIP:
            self._drip(response.body, armed)
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
        # Lingering for zero seconds resets the connection (socket(7)), if this is the last descriptor to be closed.
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        os.close(self.connection.detach())

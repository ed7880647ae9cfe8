"""The connections to SISU: TLS, authentication, keep-alive, and files that are renewed while the process runs.

A session has at most one idle connection, and belongs to one client, which makes one request at a time.
"""

import socket
import threading
import time
from collections.abc import Mapping, Sequence
from http.cookiejar import DefaultCookiePolicy
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool, PoolManager
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.util.ssl_ import create_urllib3_context

from shared.config.settings import ProducerSettings
from shared.model.errors import ConfigurationError
from shared.sisu.attempt import Attempt

IDLE_MAX_SECONDS = 60.0
"""A connection that is idle for longer is not used again: firewalls forget it, and drop what is sent."""

_SOCKET_OPTIONS = [
    *HTTPConnection.default_socket_options,  # TCP_NODELAY
    (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    *(
        (socket.IPPROTO_TCP, getattr(socket, name), value)
        for name, value in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3))
        if hasattr(socket, name)
    ),
]
"""A peer that is gone is found out about within a minute, whatever time-out a response has."""

_current = threading.local()
"""The attempt of this thread."""


def bind_to_thread(attempt: Attempt) -> None:
    """Have the connections that this thread uses report to this attempt, which can then close them."""
    _current.attempt = attempt


class _Connection(HTTPConnection):
    """Tells the attempt which socket it uses, and whether that one was used before."""

    def _new_conn(self) -> socket.socket:
        attempt: Attempt | None = getattr(_current, "attempt", None)
        connection = super()._new_conn()
        if attempt:
            attempt.use(connection, is_new=True)
        return connection

    def request(self, *args: Any, **kwargs: Any) -> None:
        attempt: Attempt | None = getattr(_current, "attempt", None)
        if attempt and self.sock is not None:
            attempt.use(self.sock)
        super().request(*args, **kwargs)


class _TlsConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class _Adapter(HTTPAdapter):
    """Trusts a private authority in addition to the public ones; `Session.verify` would trust it instead of them.

    Raises OSError for files that cannot be loaded.
    """

    def __init__(self, ca_path: Path | None, certificate: tuple[Path, Path] | None) -> None:
        self._context = create_urllib3_context()
        if ca_path:
            self._context.load_verify_locations(str(ca_path))
        if certificate:
            self._context.load_cert_chain(*map(str, certificate))
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context, socket_options=_SOCKET_OPTIONS)
        self._use_own_pools(self.poolmanager)

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        is_new = proxy not in self.proxy_manager
        kwargs |= {"ssl_context": self._context, "socket_options": _SOCKET_OPTIONS}
        manager = super().proxy_manager_for(proxy, **kwargs)
        if is_new and not proxy.lower().startswith("socks"):
            self._use_own_pools(manager)
        return manager

    @staticmethod
    def _use_own_pools(manager: PoolManager) -> None:
        manager.pool_classes_by_scheme = {"http": _Pool, "https": _TlsPool}


class NoAuth(AuthBase):
    """Add no header. A session without `auth` would read a password from ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Return the request as it is."""
        return request


class _Headers(AuthBase):
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def authentication(settings: ProducerSettings) -> tuple[AuthBase, str]:
    """Return the first authentication that applies, and the variables that it comes from."""
    if settings.sis_api_user and settings.sis_api_password:
        basic = HTTPBasicAuth(settings.sis_api_user.encode(), settings.sis_api_password.get_secret_value().encode())
        return basic, "SIS_API_USER and SIS_API_PASSWORD"
    if settings.cert_path and settings.api_key:
        return _Headers({"X-Api-Key": settings.api_key.get_secret_value()}), "API_KEY, KEY_PATH and CERT_PATH"
    if settings.cert_path:
        return NoAuth(), "KEY_PATH and CERT_PATH"
    if settings.proxy_token:
        token = settings.proxy_token.get_secret_value()
        return _Headers({"Authorization": f"Bearer {token}", "token": token}), "PROXY_TOKEN"
    return NoAuth(), "SIS_API_USER and SIS_API_PASSWORD, KEY_PATH and CERT_PATH, or PROXY_TOKEN (none is set)"


class _Session(requests.Session):
    """Reads no body but that of a 200: to look for a redirect, requests would read the body of one, of any size."""

    def get_redirect_target(self, resp: requests.Response) -> str | None:  # noqa: ARG002 - the library's signature
        return None


class Sessions:
    """One kind of session, with or without credentials: made again when its files change."""

    def __init__(self, auth: AuthBase, ca_path: Path | None, certificate: tuple[Path, Path] | None) -> None:
        self._auth = auth
        self._ca_path = ca_path
        self._certificate = certificate
        self._files_state: Sequence[object] = ()
        self._session: requests.Session | None = None
        self._used_at_seconds = 0.0

    @classmethod
    def make(cls, auth: AuthBase, ca_path: Path | None, certificate: tuple[Path, Path] | None = None) -> "Sessions":
        """Make the first session, too. Raises ConfigurationError for files that cannot be loaded."""
        sessions = cls(auth, ca_path, certificate)
        try:
            sessions.get()
        except OSError as error:
            reason = error.strerror or type(error).__name__
            raise ConfigurationError(f"SIS_CA_PATH, CERT_PATH or KEY_PATH cannot be loaded: {reason}") from error
        return sessions

    def get(self) -> requests.Session:
        """Return the session to use now. Raises OSError, of which SSLError is one, for a file that is half written."""
        state = [_file_state(path) for path in (self._ca_path, *(self._certificate or ())) if path]
        if self._session is None or state != self._files_state:
            session = self._make()
            self.renew()
            self._session, self._files_state = session, state
        elif time.monotonic() - self._used_at_seconds > IDLE_MAX_SECONDS:
            self.renew()
        return self._session

    def mark_used(self) -> None:
        """Note that a connection of the session was in use until now."""
        self._used_at_seconds = time.monotonic()

    def renew(self) -> None:
        """Close idle connections: the next request makes a new one."""
        if self._session:
            self._session.close()

    def _make(self) -> requests.Session:
        session = _Session()
        session.auth = self._auth
        # A session cookie that expires would have good credentials rejected.
        session.cookies.set_policy(DefaultCookiePolicy(allowed_domains=[]))
        session.mount("https://", _Adapter(self._ca_path, self._certificate))
        session.mount("http://", _Adapter(None, None))
        return session


def _file_state(path: Path) -> tuple[int, int, int]:
    state = path.stat()
    return state.st_mtime_ns, state.st_size, state.st_ino

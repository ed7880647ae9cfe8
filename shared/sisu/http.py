"""One HTTP request to SISU: authentication, time limits, and how it is abandoned.

`requests` blocks, so an attempt runs in a thread of its own. It has a deadline for the whole of it, since a server that
drips a byte now and then would never meet a time-out between two bytes.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ProtocolError
from urllib3.util.ssl_ import create_urllib3_context

from shared.config.settings import ProducerSettings
from shared.model.errors import ConfigurationError, FetchError, ImporterError, SisuConnectionError, SisuNoResponseError
from shared.model.records import now

_READ_BYTES = 256 * 1024
_LONGEST_SECONDS = 10**9
"""The largest Retry-After that is parsed, so that any number of digits fits into a float."""

T = TypeVar("T")


class TransientError(ImporterError):
    """An attempt failed in a way that may pass."""

    def __init__(
        self,
        reason: str,
        retry_after_seconds: float | None = None,
        *,
        final_error: type[FetchError] = FetchError,
        kind: str = "response",
    ) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.final_error = final_error
        """The error of the fetch, if this was its last attempt: whether SISU responded, or was reached at all."""
        self.kind = kind
        """One of a few fixed words, for a metric: tls, timeout, connection, response, or the status."""


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


class _ExtraCaAdapter(HTTPAdapter):
    """Trusts a private authority in addition to the public ones; `Session.verify` would trust it instead of them."""

    def __init__(self, ca_path: Path) -> None:
        self._context = create_urllib3_context()
        self._context.load_verify_locations(str(ca_path))
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


def make_session(ca_path: Path | None) -> requests.Session:
    """Make a session without credentials that verifies TLS. Raises ConfigurationError for an unreadable `ca_path`."""
    session = requests.Session()
    session.auth = NoAuth()
    if ca_path:
        try:
            session.mount("https://", _ExtraCaAdapter(ca_path))
        except OSError as error:
            raise ConfigurationError(f"SIS_CA_PATH: {ca_path} has no certificate that can be read") from error
    return session


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


def read_body(response: requests.Response, deadline: float, abandoned: threading.Event) -> bytes:
    """Read the whole body by `deadline` (monotonic clock), unless it is abandoned. Blocks; raises TransientError."""
    # read1 returns what has arrived; read and iter_content wait for a full buffer and would miss the deadline.
    parts = []
    while part := response.raw.read1(_READ_BYTES, decode_content=True):
        parts.append(part)
        if abandoned.is_set() or time.monotonic() > deadline:
            raise TransientError("the response took too long")
    expected = response.headers.get("Content-Length")
    if expected is not None and "Content-Encoding" not in response.headers and sum(map(len, parts)) < int(expected):
        raise TransientError("the response was cut off")
    return b"".join(parts)


def retry_after_seconds(value: str | None) -> float | None:
    """Parse a Retry-After: seconds or a date (RFC 9110, 10.2.3); None for anything else."""
    if value is None:
        return None
    try:
        return float(min(max(0, int(value)), _LONGEST_SECONDS))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - now()).total_seconds())
    except (ValueError, TypeError):
        return None


def root_cause(error: BaseException) -> str:
    """Return the error text of the operating system or OpenSSL: requests wraps it in layers, with object addresses."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def no_response_error(error: requests.exceptions.RequestException, timeout_seconds: float) -> TransientError:
    """Return the error of an attempt without a response: of a ReadTimeout or a ConnectionError of requests."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TransientError(
            f"no response within {timeout_seconds:g} s", final_error=SisuNoResponseError, kind="timeout"
        )
    # A connection that broke before a response may have broken because of the request itself.
    was_made = any(isinstance(cause, ProtocolError) for cause in error.args)
    if was_made:
        reason = f"the connection broke: {root_cause(error)}"
        return TransientError(reason, final_error=SisuNoResponseError, kind="connection")
    return TransientError(f"no connection: {root_cause(error)}", final_error=SisuConnectionError, kind="connection")


async def run_abandonable(work: Callable[[threading.Event], T]) -> T:
    """Run `work` in a daemon thread and return its result; when the wait is cancelled, set its event and abandon it.

    Not asyncio.to_thread: its threads are waited for when the process ends, and a hanging server would hold that up.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()
    abandoned = threading.Event()

    def deliver(finish: Callable[[], None]) -> None:
        if not done.done():
            finish()

    def run() -> None:
        try:
            finish = partial(done.set_result, work(abandoned))
        except BaseException as error:  # noqa: BLE001 - passed to the waiter
            finish = partial(done.set_exception, error)
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, finish)

    threading.Thread(target=run, name="sisu", daemon=True).start()
    try:
        return await done
    finally:
        abandoned.set()

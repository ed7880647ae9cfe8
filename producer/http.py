"""One HTTP request to SISU: how it authenticates, how long it may take, how it is abandoned.

`requests` blocks, so an attempt runs in a thread of its own. It has a deadline for the whole of it, since a server that
drips a byte now and then would never meet a time-out between two bytes.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any, TypeVar

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import ProtocolError
from urllib3.util.ssl_ import create_urllib3_context

from shared.errors import ConfigurationError, FetchError, ImporterError, SisuAbsentError, SisuUnreachableError
from shared.settings import ProducerSettings

_READ_BYTES = 256 * 1024
_LONGEST_SECONDS = 10**9
"""Of what a server may ask for, so that any number of digits fits into a float."""

Answer = TypeVar("Answer")


class TransientError(ImporterError):
    """An attempt failed in a way that may pass."""

    def __init__(
        self,
        reason: str,
        retry_after_seconds: float | None = None,
        *,
        becomes: type[FetchError] = FetchError,
        kind: str = "answer",
    ) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.becomes = becomes
        """What the fetch fails with, if this was its last attempt: whether a server answered, or was there at all."""
        self.kind = kind
        """One of a few fixed words, for a metric: tls, timeout, connection, answer, or the status."""


class NoAuth(AuthBase):
    """No header at all. A session without `auth` would look for a password in ~/.netrc."""

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Headers(AuthBase):
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


class _AlsoTrusting(HTTPAdapter):
    """Trusts a private authority beside the public ones; `Session.verify` would trust it instead of them."""

    def __init__(self, ca_path: Path) -> None:
        self._context = create_urllib3_context()
        self._context.load_verify_locations(str(ca_path))
        super().__init__()

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs, ssl_context=self._context)


def make_session(ca_path: Path | None) -> requests.Session:
    """A session without credentials that verifies TLS. Raises ConfigurationError where `ca_path` has no certificate."""
    session = requests.Session()
    session.auth = NoAuth()
    if ca_path:
        try:
            session.mount("https://", _AlsoTrusting(ca_path))
        except OSError as error:
            raise ConfigurationError(f"SIS_CA_PATH: {ca_path} has no certificate that can be read") from error
    return session


def authentication(settings: ProducerSettings) -> tuple[AuthBase, str]:
    """The first way to authenticate that applies, and the variables that it comes from."""
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
    """The whole body, by `deadline` on the monotonic clock, unless it is abandoned. Blocks. Raises TransientError."""
    # read1 returns what has come, where read and iter_content wait for a full buffer and would not see the deadline.
    parts = []
    while part := response.raw.read1(_READ_BYTES, decode_content=True):
        parts.append(part)
        if abandoned.is_set() or time.monotonic() > deadline:
            raise TransientError("the answer took too long")
    expected = response.headers.get("Content-Length")
    if expected is not None and "Content-Encoding" not in response.headers and sum(map(len, parts)) < int(expected):
        raise TransientError("the answer was cut off")
    return b"".join(parts)


def retry_after_seconds(value: str | None) -> float | None:
    """How long a Retry-After asks to wait: seconds or a date (RFC 9110, 10.2.3); None for anything else."""
    if value is None:
        return None
    try:
        return float(min(max(0, int(value)), _LONGEST_SECONDS))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def innermost(error: BaseException) -> str:
    """What the operating system or OpenSSL said: requests wraps it several times over, with object addresses."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def without_answer(error: requests.exceptions.RequestException, timeout_seconds: float) -> TransientError:
    """How an attempt failed that no answer came to: a ReadTimeout or a ConnectionError of requests."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TransientError(f"no answer within {timeout_seconds:g} s", becomes=SisuUnreachableError, kind="timeout")
    # A connection that was made, and broke before an answer, may have broken for what was asked.
    was_made = any(isinstance(cause, ProtocolError) for cause in error.args)
    if was_made:
        reason = f"the connection broke: {innermost(error)}"
        return TransientError(reason, becomes=SisuUnreachableError, kind="connection")
    return TransientError(f"no connection: {innermost(error)}", becomes=SisuAbsentError, kind="connection")


async def in_thread(work: Callable[[threading.Event], Answer]) -> Answer:
    """Run `work` in a daemon thread; when the wait for it is cancelled, tell it so and leave it behind.

    Not asyncio.to_thread: its threads are waited for when the process ends, and a hanging server would hold that up.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[Answer] = loop.create_future()
    abandoned = threading.Event()

    def deliver(result: Answer | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def run() -> None:
        result, error = None, None
        try:
            result = work(abandoned)
        except BaseException as raised:  # noqa: BLE001 - handed over to the waiter
            error = raised
        if not loop.is_closed():
            loop.call_soon_threadsafe(deliver, result, error)

    threading.Thread(target=run, name="sisu", daemon=True).start()
    try:
        return await done
    finally:
        abandoned.set()

"""One HTTP request to SISU: what its errors mean, the bounds of a body, and Retry-After. Blocking, without a deadline.

The connections are in `session.py`, the deadline in `attempt.py`.
"""

from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

import requests
from urllib3.exceptions import ProtocolError

from shared.model.errors import FetchError, ImporterError, SisuConnectionError, SisuNoResponseError
from shared.model.records import now
from shared.sisu.attempt import Attempt

_READ_BYTES = 256 * 1024
_LONGEST_SECONDS = 10**9
"""The largest Retry-After that is parsed, so that any number of digits fits into a float."""


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


class ResponseTooLargeError(ImporterError):
    """A body is larger than SIS_MAX_RESPONSE_BYTES, decoded: another attempt at as many entities will not help."""


def read_body(response: requests.Response, attempt: Attempt, max_bytes: int) -> bytes:
    """Read the whole body, decoded. Blocks; raises TransientError and ResponseTooLargeError."""
    too_large = ResponseTooLargeError(f"the response is larger than SIS_MAX_RESPONSE_BYTES ({max_bytes})")
    parts, size = [], 0
    # read1 returns what has arrived, and never more, decoded, than it is asked for.
    while part := response.raw.read1(_READ_BYTES, decode_content=True):
        parts.append(part)
        size += len(part)
        if size > max_bytes:
            raise too_large
    if attempt.has_ended:
        raise TransientError("the response took too long", kind="timeout")
    expected = response.headers.get("Content-Length")
    if expected is not None and "Content-Encoding" not in response.headers and size < int(expected):
        raise TransientError("the response was cut off")
    return b"".join(parts)


def retry_after_seconds(value: str | None, date: str | None = None) -> float | None:
    """Parse a Retry-After: seconds or a date (RFC 9110, 10.2.3); None for anything else.

    A date is relative to the `Date` of the same response: the server's clock may be wrong.
    """
    if value is None:
        return None
    try:
        return float(min(max(0, int(value)), _LONGEST_SECONDS))
    except ValueError:
        until = _parse_date(value)
    if until is None:
        return None
    return max(0.0, (until - (_parse_date(date) or now())).total_seconds())


def _parse_date(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, TypeError, ArithmeticError, IndexError):  # the parser raises all of these for bad input
        return None


def root_cause(error: BaseException) -> str:
    """Return the error text of the operating system or OpenSSL: requests wraps it in layers, with object addresses."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def proxy_error(reason: str) -> TransientError:
    """Return the error of an attempt that a proxy failed; `reason` has nothing of the proxy's address or password."""
    text = f"the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) failed: {reason}"
    return TransientError(text, final_error=SisuConnectionError, kind="connection")


def no_response_error(error: requests.exceptions.RequestException, timeout_seconds: float) -> TransientError:
    """Return the error of an attempt without a response: of a ReadTimeout or a ConnectionError of requests."""
    if isinstance(error, requests.exceptions.ReadTimeout):
        return TransientError(
            f"no response within {timeout_seconds:g} s", final_error=SisuNoResponseError, kind="timeout"
        )
    if isinstance(error, requests.exceptions.ProxyError):
        return proxy_error(root_cause(error))
    # A connection that broke before a response may have broken because of the request itself.
    was_made = any(isinstance(cause, ProtocolError) for cause in error.args)
    if was_made:
        reason = f"the connection broke: {root_cause(error)}"
        return TransientError(reason, final_error=SisuNoResponseError, kind="connection")
    return TransientError(f"no connection: {root_cause(error)}", final_error=SisuConnectionError, kind="connection")

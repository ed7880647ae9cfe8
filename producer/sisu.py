"""Asking SISU: addresses, authentication, one attempt, and how often to try.

`requests` blocks, so an attempt runs in a thread of its own; there is at most one at a time. An attempt has a deadline
for the whole of it, since a server that drips a byte now and then would never meet a time-out between two bytes; and
it heeds a flag, so that an abandoned one ends soon.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TypeVar
from urllib.parse import urlsplit

import requests
import structlog
import tenacity
from redis.asyncio import Redis
from requests.auth import AuthBase, HTTPBasicAuth
from urllib3.exceptions import HTTPError

from producer.answers import BadAnswerError, Batch, UnreadableAnswerError, read_answer
from shared import keys
from shared.errors import ConfigurationError, FetchError, ImporterError, ServiceForbiddenError, SisuUnreachableError
from shared.events import Event
from shared.redis_client import redis_errors
from shared.services import Api, Service
from shared.settings import ProducerSettings

log = structlog.get_logger()

ATTEMPTS = 6
FIRST_PAUSE_SECONDS = 1.0
"""Doubled after each attempt."""
RETRY_AFTER_MAX_SECONDS = 15 * 60.0
_CODEBOOK_SECONDS = 60 * 60
_CONNECT_SECONDS = 10.0
_READ_BYTES = 256 * 1024

Answer = TypeVar("Answer")


class TransientError(ImporterError):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, retry_after_seconds: float | None = None, *, reached: bool = True) -> None:
        super().__init__(reason)
        self.retry_after_seconds = retry_after_seconds
        self.reached = reached
        """Whether a server answered at all."""


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    params: Mapping[str, str | int]
    json: object
    authorised: bool


class CodebookCache:
    """The answers of URN codebooks, kept in Redis for an hour: they are large for what seldom changes."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def get(self, url: str) -> bytes | None:
        """The answer that was kept, or None. Raises DependencyLostError."""
        with redis_errors("a codebook"):
            answer = await self._redis.get(keys.codebook_cache(url))
        return str(answer).encode() if answer is not None else None

    async def put(self, url: str, answer: bytes) -> None:
        """Keep an answer that was found good. Raises DependencyLostError."""
        with redis_errors("a codebook"):
            await self._redis.set(keys.codebook_cache(url), answer, ex=_CODEBOOK_SECONDS)


class SisuClient:
    """Fetches batches. One fetch at a time."""

    def __init__(
        self, settings: ProducerSettings, codebooks: CodebookCache, *, first_pause_seconds: float = FIRST_PAUSE_SECONDS
    ) -> None:
        self._settings = settings
        self._codebooks = codebooks
        self._first_pause_seconds = first_pause_seconds
        self._one_at_a_time = asyncio.Lock()
        self._authorised = requests.Session()
        self._authorised.auth, self._credentials = _authentication(settings)
        if settings.cert_path and settings.key_path:
            self._authorised.cert = (str(settings.cert_path), str(settings.key_path))
        self._public = requests.Session()
        # A session without `auth` would look for a password in ~/.netrc.
        self._public.auth = _NoAuth()
        if settings.sis_ca_path:
            self._authorised.verify = self._public.verify = str(settings.sis_ca_path)

    def address(self, service: Service) -> str:
        """The address of the service's API, which it shares with other services."""
        if service.api in (Api.URN, Api.KORI_PUBLIC):
            return self._settings.kori_public_api_url
        return self._settings.sis_api_url

    async def fetch(self, service: Service, since: int) -> Batch:
        """The next batch of `service` after the ordinal `since`.

        Blocks until SISU has answered or every attempt has failed: six attempts of at most SIS_TIMEOUT_SECONDS, with
        growing pauses, or those that SISU asks for, of up to 15 minutes. Raises FetchError, ServiceForbiddenError,
        SisuUnreachableError, and ConfigurationError for a 401.
        """
        async with self._one_at_a_time:
            retrying = tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(ATTEMPTS),
                retry=tenacity.retry_if_exception_type(TransientError),
                wait=self._pause_seconds,
                before_sleep=_log_retry(service),
                reraise=True,
            )
            try:
                return await retrying(self._attempt, service, since)
            except TransientError as error:
                kind = FetchError if error.reached else SisuUnreachableError
                raise kind(f"{service.name}: SISU at {self.address(service)}: {error} ({ATTEMPTS} attempts)") from error
            except BadAnswerError as error:
                raise FetchError(f"{service.name}: SISU at {self.address(service)}: {error}") from error

    async def _attempt(self, service: Service, since: int) -> Batch:
        request = self._request(service, since)
        cached = await self._codebooks.get(request.url) if service.api is Api.URN else None
        if cached is not None:
            return read_answer(service, since, cached)

        def attempt(abandoned: threading.Event) -> tuple[bytes, Batch]:
            body = self._send(request, service, abandoned)
            try:
                return body, read_answer(service, since, body)
            except UnreadableAnswerError as error:
                raise TransientError(str(error)) from error

        body, batch = await _in_thread(attempt)
        if service.api is Api.URN:
            await self._codebooks.put(request.url, body)
        return batch

    def _pause_seconds(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        return asked if asked is not None else self._first_pause_seconds * 2 ** (state.attempt_number - 1)

    # --- one attempt, in its thread ----------------------------------------------------------------------------------

    def _request(self, service: Service, since: int) -> _Request:
        path = service.path.replace("{ROOT_ORG_ID}", self._settings.root_org_id)
        if service.api is Api.GRAPHQL:
            query = {"query": service.query, "variables": {}}
            return _Request("POST", f"{self._settings.sis_api_url}/graphql", {}, query, authorised=True)
        if service.api.is_export:
            url = f"{self._settings.sis_api_url}/{service.api.lower()}/api{path}"
            return _Request("GET", url, {"since": since, "limit": self._settings.fetch_amount}, None, authorised=True)
        return _Request("GET", f"{self._settings.kori_public_api_url}{path}", {}, None, authorised=False)

    def _send(self, request: _Request, service: Service, abandoned: threading.Event) -> bytes:
        """The body of a 200. Blocks; raises TransientError or what `fetch` raises."""
        session = self._authorised if request.authorised else self._public
        timeout_seconds = self._settings.sis_timeout_seconds
        deadline = time.monotonic() + timeout_seconds
        try:
            with session.request(
                request.method,
                request.url,
                params=request.params,
                json=request.json,
                timeout=(min(_CONNECT_SECONDS, timeout_seconds), timeout_seconds),
                stream=True,
                # A redirect leads to a login page, or carries credentials to another host.
                allow_redirects=False,
            ) as response:
                self._judge(response, service)
                return _read_body(response, deadline, abandoned)
        except requests.exceptions.SSLError as error:
            raise TransientError(f"TLS failed: {_innermost(error)}", reached=False) from error
        except requests.exceptions.Timeout as error:
            raise TransientError(f"no answer within {timeout_seconds:g} s", reached=False) from error
        except requests.exceptions.ConnectionError as error:
            raise TransientError(f"no connection: {_innermost(error)}", reached=False) from error
        except (requests.exceptions.RequestException, HTTPError, OSError) as error:
            raise TransientError(f"the answer broke off: {type(error).__name__}") from error

    def _judge(self, response: requests.Response, service: Service) -> None:
        """Return for a 200, raise for anything else."""
        status = response.status_code
        where = f"{service.name}: SISU at {self.address(service)}"
        if status == requests.codes.ok:
            return
        if status == requests.codes.unauthorized:
            raise ConfigurationError(f"{where} refused the credentials (401): check {self._credentials}")
        if status == requests.codes.forbidden:
            raise ServiceForbiddenError(f"{where} forbids it (403): these credentials may not read {service.path}")
        if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
            asked = _retry_after_seconds(response.headers.get("Retry-After"))
            if asked is not None and asked > RETRY_AFTER_MAX_SECONDS:
                raise FetchError(f"{where} answers {status} and asks to wait {asked:.0f} s, longer than a run waits")
            raise TransientError(f"status {status}", asked)
        if response.is_redirect:
            raise FetchError(f"{where} redirects to {urlsplit(response.headers['Location']).netloc}: check the address")
        raise FetchError(f"{where} answers {status} for {service.path}")


class _NoAuth(AuthBase):
    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        return request


class _Headers(AuthBase):
    def __init__(self, headers: Mapping[str, str]) -> None:
        self._headers = headers

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers.update(self._headers)
        return request


def _authentication(settings: ProducerSettings) -> tuple[AuthBase, str]:
    """The first way to authenticate that applies, and the variables that it comes from."""
    if settings.sis_api_user and settings.sis_api_password:
        basic = HTTPBasicAuth(settings.sis_api_user.encode(), settings.sis_api_password.get_secret_value().encode())
        return basic, "SIS_API_USER and SIS_API_PASSWORD"
    if settings.cert_path and settings.api_key:
        return _Headers({"X-Api-Key": settings.api_key.get_secret_value()}), "API_KEY, KEY_PATH and CERT_PATH"
    if settings.cert_path:
        return _NoAuth(), "KEY_PATH and CERT_PATH"
    if settings.proxy_token:
        token = settings.proxy_token.get_secret_value()
        return _Headers({"Authorization": f"Bearer {token}", "token": token}), "PROXY_TOKEN"
    return _NoAuth(), "SIS_API_USER and SIS_API_PASSWORD, KEY_PATH and CERT_PATH, or PROXY_TOKEN (none is set)"


def _read_body(response: requests.Response, deadline: float, abandoned: threading.Event) -> bytes:
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


def _retry_after_seconds(value: str | None) -> float | None:
    """RFC 9110, 10.2.3: seconds or a date."""
    if value is None:
        return None
    try:
        return float(int(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


def _innermost(error: BaseException) -> str:
    """What the operating system or OpenSSL said: requests wraps it several times over, with object addresses."""
    while True:
        inner = error.__cause__ or error.__context__ or getattr(error, "reason", None)
        if not isinstance(inner, BaseException):
            break
        error = inner
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__).strip()


def _log_retry(service: Service) -> Callable[[tenacity.RetryCallState], None]:
    def write(state: tenacity.RetryCallState) -> None:
        reason = state.outcome.exception() if state.outcome else None
        log.warning(
            Event.FETCH_RETRIED,
            service=service.name,
            reason=str(reason),
            attempt=state.attempt_number,
            pause_seconds=round(state.upcoming_sleep, 1),
        )

    return write


async def _in_thread(work: Callable[[threading.Event], Answer]) -> Answer:
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

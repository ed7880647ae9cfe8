"""Asking SISU: where, for what, how often, and what its refusals mean.

What one request is, and how long it may take, is in `producer/http.py`; what its answer means, in
`producer/answers.py`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urlsplit

import requests
import structlog
import tenacity
from redis.asyncio import Redis
from urllib3.exceptions import HTTPError

from producer.answers import BadAnswerError, Batch, UnreadableAnswerError, read_answer
from producer.http import (
    TransientError,
    authentication,
    in_thread,
    innermost,
    make_session,
    read_body,
    retry_after_seconds,
    without_answer,
)
from shared import keys, metrics, tls_errors
from shared.errors import ConfigurationError, FetchError, ServiceForbiddenError, SisuAbsentError
from shared.events import Event
from shared.records import SisuWait, now
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
        self,
        settings: ProducerSettings,
        codebooks: CodebookCache,
        *,
        first_pause_seconds: float = FIRST_PAUSE_SECONDS,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._settings = settings
        self._codebooks = codebooks
        self._first_pause_seconds = first_pause_seconds
        self._attempts = attempts
        self._one_at_a_time = asyncio.Lock()
        self.wait: SisuWait | None = None
        """The pause that is being made before SISU is asked again."""
        self._authorised, self._public = make_session(settings.sis_ca_path), make_session(settings.sis_ca_path)
        self._authorised.auth, self._credentials = authentication(settings)
        if settings.cert_path and settings.key_path:
            self._authorised.cert = (str(settings.cert_path), str(settings.key_path))

    def address(self, service: Service) -> str:
        """The address of the service's API, which it shares with other services."""
        if service.api in (Api.URN, Api.KORI_PUBLIC):
            return self._settings.kori_public_api_url
        return self._settings.sis_api_url

    async def fetch(self, service: Service, since: int, limit: int | None = None) -> Batch:
        """The next batch of `service` after the ordinal `since`: at most `limit` entities, or FETCH_AMOUNT.

        Blocks until SISU has answered or every attempt has failed: six attempts of at most SIS_TIMEOUT_SECONDS, with
        growing pauses, or longer ones that SISU asks for, of up to 15 minutes. Raises FetchError, or one of its kinds,
        ServiceForbiddenError, and ConfigurationError for a 401.
        """
        async with self._one_at_a_time:
            retrying = tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(self._attempts),
                retry=tenacity.retry_if_exception_type(TransientError),
                wait=self._pause_seconds,
                before_sleep=self._note_pause(service),
                reraise=True,
            )
            try:
                return await retrying(self._attempt, service, since, limit or self._settings.fetch_amount)
            except TransientError as error:
                raise error.becomes(
                    f"{service.name}: SISU at {self.address(service)}: {error} ({self._attempts} attempts)"
                ) from error
            except BadAnswerError as error:
                raise FetchError(f"{service.name}: SISU at {self.address(service)}: {error}") from error
            finally:
                self.wait = None

    async def _attempt(self, service: Service, since: int, limit: int) -> Batch:
        self.wait = None
        request = self._request(service, since, limit)
        cached = await self._codebooks.get(request.url) if service.api is Api.URN else None
        if cached is not None:
            with suppress(BadAnswerError, UnreadableAnswerError):  # then it is asked for, and replaced
                return read_answer(service, since, cached)

        def attempt(abandoned: threading.Event) -> tuple[bytes, Batch]:
            began_seconds = time.monotonic()
            body = self._send(request, service, abandoned)
            took_seconds = time.monotonic() - began_seconds
            try:
                batch = read_answer(service, since, body)
            except UnreadableAnswerError as error:
                raise TransientError(str(error)) from error
            metrics.FETCH_SECONDS.labels(service.name).observe(took_seconds)
            metrics.FETCHED_BYTES.labels(service.name).observe(len(body))
            return body, batch

        body, batch = await in_thread(attempt)
        if service.api is Api.URN:
            await self._codebooks.put(request.url, body)
        log.debug(Event.FETCHED, service=service.name, entities=len(batch.entities), bytes=len(body))
        return batch

    def _pause_seconds(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        asked = error.retry_after_seconds if isinstance(error, TransientError) else None
        own = self._first_pause_seconds * 2.0 ** (state.attempt_number - 1)
        return max(asked or 0.0, own)

    def _note_pause(self, service: Service) -> Callable[[tenacity.RetryCallState], None]:
        def note(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            reason = str(error)
            pause_seconds = round(state.upcoming_sleep, 1)
            self.wait = SisuWait(service=service.name, reason=reason, until=now() + timedelta(seconds=pause_seconds))
            metrics.FETCH_RETRIES.labels(
                service.name, error.kind if isinstance(error, TransientError) else "other"
            ).inc()
            log.warning(
                Event.FETCH_RETRIED,
                service=service.name,
                reason=reason,
                attempt=state.attempt_number,
                pause_seconds=pause_seconds,
            )

        return note

    # --- one attempt, in its thread ----------------------------------------------------------------------------------

    def _request(self, service: Service, since: int, limit: int) -> _Request:
        path = service.path.replace("{ROOT_ORG_ID}", self._settings.root_org_id)
        if service.api is Api.GRAPHQL:
            query = {"query": service.query, "variables": {}}
            return _Request("POST", f"{self._settings.sis_api_url}/graphql", {}, query, authorised=True)
        if service.api.is_export:
            url = f"{self._settings.sis_api_url}/{service.api.lower()}/api{path}"
            return _Request("GET", url, {"since": since, "limit": limit}, None, authorised=True)
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
                return read_body(response, deadline, abandoned)
        except requests.exceptions.SSLError as error:
            if refusal := tls_errors.refusal(error):
                raise ConfigurationError(
                    f"{service.name}: SISU at {self.address(service)} refused our certificate ({refusal}): "
                    "check KEY_PATH and CERT_PATH"
                ) from error
            hint = "; SIS_CA_PATH names a private authority" if tls_errors.distrust(error) else ""
            reason = f"TLS failed: {innermost(error)}{hint}"
            raise TransientError(reason, becomes=SisuAbsentError, kind="tls") from error
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
            raise without_answer(error, timeout_seconds) from error
        # ValueError is what headers that cannot be read raise.
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:
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
            asked = retry_after_seconds(response.headers.get("Retry-After"))
            if asked is not None and asked > RETRY_AFTER_MAX_SECONDS:
                raise FetchError(f"{where} answers {status} and asks to wait {asked:.0f} s, longer than a run waits")
            raise TransientError(f"status {status}", asked, kind=str(status))
        if response.is_redirect:
            address = urlsplit(response.headers["Location"]).netloc
            elsewhere = address.rpartition("@")[2] or "another path"
            raise FetchError(f"{where} redirects to {elsewhere}: check the address")
        raise FetchError(f"{where} answers {status} for {service.path}")

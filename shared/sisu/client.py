"""The client of SISU: which request to send where, how often to retry, and what error responses mean.

A single request and its time limits are in `http.py`; the parsing of a response's body is in `responses.py`.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol
from urllib.parse import urlsplit

import requests
import structlog
import tenacity
from urllib3.exceptions import HTTPError

from shared.config.settings import ProducerSettings
from shared.model.batch import Batch
from shared.model.errors import ConfigurationError, FetchError, ServiceForbiddenError, SisuConnectionError
from shared.model.records import SisuBackoff, now
from shared.model.services import Api, Service
from shared.runtime import metrics, tls_errors
from shared.runtime.events import Event
from shared.sisu.http import (
    TransientError,
    authentication,
    make_session,
    no_response_error,
    read_body,
    retry_after_seconds,
    root_cause,
    run_abandonable,
)
from shared.sisu.responses import InvalidResponseError, MalformedResponseError, parse_response

log = structlog.get_logger()

ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 1.0
"""Doubled after each attempt."""
RETRY_AFTER_MAX_SECONDS = 15 * 60.0
_CONNECT_SECONDS = 10.0


@dataclass(frozen=True)
class _Request:
    method: str
    url: str
    params: Mapping[str, str | int]
    json: object
    authorised: bool


class ResponseCache(Protocol):
    """A cache of response bodies by address."""

    async def get(self, url: str) -> bytes | None:
        """Return the body that was kept, or None."""

    async def put(self, url: str, response: bytes) -> None:
        """Keep a body that was found valid."""


class SisuClient:
    """Fetches batches, one at a time. `codebooks` caches the responses of URN codebooks."""

    def __init__(
        self,
        settings: ProducerSettings,
        codebooks: ResponseCache,
        *,
        first_backoff_seconds: float = FIRST_BACKOFF_SECONDS,
        attempts: int = ATTEMPTS,
    ) -> None:
        self._settings = settings
        self._codebooks = codebooks
        self._first_backoff_seconds = first_backoff_seconds
        self._attempts = attempts
        self._one_at_a_time = asyncio.Lock()
        self.backoff: SisuBackoff | None = None
        """The backoff before the next attempt; None while there is none."""
        self._authorised, self._public = make_session(settings.sis_ca_path), make_session(settings.sis_ca_path)
        self._authorised.auth, self._credentials = authentication(settings)
        if settings.cert_path and settings.key_path:
            self._authorised.cert = (str(settings.cert_path), str(settings.key_path))

    def base_url(self, service: Service) -> str:
        """Return the base URL of the service's API, which other services share."""
        if service.api in (Api.URN, Api.KORI_PUBLIC):
            return self._settings.kori_public_api_url
        return self._settings.sis_api_url

    async def fetch(self, service: Service, since: int, limit: int | None = None) -> Batch:
        """Fetch the next batch of `service` after the ordinal `since`: at most `limit` entities, or FETCH_AMOUNT.

        Blocks until SISU has responded or every attempt has failed: six attempts of at most SIS_TIMEOUT_SECONDS, with a
        growing backoff, or a longer one that SISU asks for, of up to 15 minutes. Raises FetchError, or a subclass of
        it, ServiceForbiddenError, and ConfigurationError for a 401.
        """
        async with self._one_at_a_time:
            retrying = tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(self._attempts),
                retry=tenacity.retry_if_exception_type(TransientError),
                wait=self._backoff_seconds,
                before_sleep=self._record_backoff(service),
                reraise=True,
            )
            try:
                return await retrying(self._attempt, service, since, limit or self._settings.fetch_amount)
            except TransientError as error:
                raise error.final_error(
                    f"{service.name}: SISU at {self.base_url(service)}: {error} ({self._attempts} attempts)"
                ) from error
            except InvalidResponseError as error:
                raise FetchError(f"{service.name}: SISU at {self.base_url(service)}: {error}") from error
            finally:
                self.backoff = None

    async def _attempt(self, service: Service, since: int, limit: int) -> Batch:
        self.backoff = None
        request = self._request(service, since, limit)
        cached = await self._codebooks.get(request.url) if service.api is Api.URN else None
        if cached is not None:
            with suppress(InvalidResponseError, MalformedResponseError):  # then it is fetched, and replaced
                return parse_response(service, since, cached)

        def attempt(abandoned: threading.Event) -> tuple[bytes, Batch]:
            started_seconds = time.monotonic()
            body = self._send(request, service, abandoned)
            duration_seconds = time.monotonic() - started_seconds
            try:
                batch = parse_response(service, since, body)
            except MalformedResponseError as error:
                raise TransientError(str(error)) from error
            metrics.FETCH_SECONDS.labels(service.name).observe(duration_seconds)
            metrics.FETCH_RESPONSE_BYTES.labels(service.name).observe(len(body))
            return body, batch

        body, batch = await run_abandonable(attempt)
        if service.api is Api.URN:
            await self._codebooks.put(request.url, body)
        log.debug(Event.FETCHED, service=service.name, entities=len(batch.entities), bytes=len(body))
        return batch

    def _backoff_seconds(self, state: tenacity.RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome else None
        requested = error.retry_after_seconds if isinstance(error, TransientError) else None
        own = self._first_backoff_seconds * 2.0 ** (state.attempt_number - 1)
        return max(requested or 0.0, own)

    def _record_backoff(self, service: Service) -> Callable[[tenacity.RetryCallState], None]:
        def record(state: tenacity.RetryCallState) -> None:
            error = state.outcome.exception() if state.outcome else None
            reason = str(error)
            backoff_seconds = round(state.upcoming_sleep, 1)
            until = now() + timedelta(seconds=backoff_seconds)
            self.backoff = SisuBackoff(service=service.name, reason=reason, until=until)
            kind = error.kind if isinstance(error, TransientError) else "other"
            metrics.FETCH_RETRIES.labels(service.name, kind).inc()
            log.warning(
                Event.FETCH_RETRIED,
                service=service.name,
                reason=reason,
                attempt=state.attempt_number,
                backoff_seconds=backoff_seconds,
            )

        return record

    # --- one attempt -------------------------------------------------------------------------------------------------

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
        """Send a request and return the body of a 200. Blocks; raises TransientError or what `fetch` raises."""
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
                self._raise_for_status(response, service)
                return read_body(response, deadline, abandoned)
        except requests.exceptions.SSLError as error:
            if reason := tls_errors.rejected_client_reason(error):
                raise ConfigurationError(
                    f"{service.name}: SISU at {self.base_url(service)} rejected our certificate ({reason}): "
                    "check KEY_PATH and CERT_PATH"
                ) from error
            hint = "; SIS_CA_PATH names a private authority" if tls_errors.untrusted_server_reason(error) else ""
            text = f"TLS failed: {root_cause(error)}{hint}"
            raise TransientError(text, final_error=SisuConnectionError, kind="tls") from error
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
            raise no_response_error(error, timeout_seconds) from error
        # ValueError is what headers that cannot be parsed raise.
        except (requests.exceptions.RequestException, HTTPError, OSError, ValueError) as error:
            raise TransientError(f"the response broke off: {type(error).__name__}") from error

    def _raise_for_status(self, response: requests.Response, service: Service) -> None:
        """Return for a 200, raise for anything else."""
        status = response.status_code
        where = f"{service.name}: SISU at {self.base_url(service)}"
        if status == requests.codes.ok:
            return
        if status == requests.codes.unauthorized:
            raise ConfigurationError(f"{where} rejected the credentials (401): check {self._credentials}")
        if status == requests.codes.forbidden:
            raise ServiceForbiddenError(f"{where} returned 403: these credentials may not read {service.path}")
        if status == requests.codes.too_many_requests or status >= requests.codes.internal_server_error:
            requested = retry_after_seconds(response.headers.get("Retry-After"))
            if requested is not None and requested > RETRY_AFTER_MAX_SECONDS:
                raise FetchError(
                    f"{where} returned {status} with Retry-After {requested:.0f} s, longer than a run waits"
                )
            raise TransientError(f"status {status}", requested, kind=str(status))
        if response.is_redirect:
            target = urlsplit(response.headers["Location"]).netloc
            elsewhere = target.rpartition("@")[2] or "another path"
            raise FetchError(f"{where} redirects to {elsewhere}: check the address")
        raise FetchError(f"{where} returned {status} for {service.path}")

"""The client of SISU: how often to retry, how long to wait, and the batch in a response.

Requests, and what status codes mean, are in `requester.py`, the deadline of an attempt in `attempt.py`; the parsing of
a response's body is in `responses.py`.
"""

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Protocol

import structlog
import tenacity

from shared.config.settings import ProducerSettings
from shared.model.batch import Batch
from shared.model.errors import FetchError, SisuConnectionError, SisuNoResponseError
from shared.model.records import SisuBackoff, now
from shared.model.services import Api, Service
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.sisu.attempt import Attempt, Stage, run_attempt
from shared.sisu.http import ResponseTooLargeError, TransientError
from shared.sisu.requester import Request, Requester
from shared.sisu.responses import InvalidResponseError, LaggingResponseError, MalformedResponseError, parse_response
from shared.sisu.session import bind_to_thread

log = structlog.get_logger()

ATTEMPTS = 6
FIRST_BACKOFF_SECONDS = 1.0
"""Doubled after each attempt."""


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
        self._requester = Requester(settings)

    def base_url(self, service: Service) -> str:
        """Return the base URL of the service's API, which other services share."""
        return self._requester.base_url(service)

    async def fetch(
        self, service: Service, since: int, limit: int | None = None, *, attempts: int | None = None
    ) -> Batch:
        """Fetch the next batch of `service` after the ordinal `since`: at most `limit` entities, or FETCH_AMOUNT.

        Blocks until SISU has responded or every attempt has failed: six of them, or `attempts`, of at most
        SIS_TIMEOUT_SECONDS, with a growing backoff, or a longer one that SISU asks for, of up to 15 minutes. Raises
        FetchError, or a subclass of it, ServiceForbiddenError, and SisuUnauthorizedError.
        """
        attempts = attempts or self._attempts
        async with self._one_at_a_time:
            retrying = tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(attempts),
                retry=tenacity.retry_if_exception_type(TransientError),
                wait=self._backoff_seconds,
                before_sleep=self._record_backoff(service),
                reraise=True,
            )
            where = f"{service.name}: SISU at {self.base_url(service)}"
            try:
                return await retrying(self._attempt, service, since, limit or self._settings.fetch_amount)
            except TransientError as error:
                number = f"{attempts} attempts" if attempts > 1 else "1 attempt"
                final_error = error.final_error(f"{where}: {error} ({number})")
                final_error.timed_out = error.kind == "timeout"
                raise final_error from error
            except (InvalidResponseError, ResponseTooLargeError) as error:
                raise FetchError(f"{where}: {error}") from error
            finally:
                self.backoff = None

    async def _attempt(self, service: Service, since: int, limit: int) -> Batch:
        self.backoff = None
        request = self._requester.request(service, since, limit)
        cached = await self._codebooks.get(request.url) if service.api is Api.URN else None
        if cached is not None:
            with suppress(InvalidResponseError, MalformedResponseError):  # then it is fetched, and replaced
                return parse_response(service, since, cached)

        body, batch = await self._request_batch(request, since)
        if service.api is Api.URN:
            await self._codebooks.put(request.url, body)
        log.debug(Event.FETCHED, service=service.name, entities=len(batch.entities), bytes=len(body))
        return batch

    async def _request_batch(self, request: Request, since: int) -> tuple[bytes, Batch]:
        """Return a response's body, and the batch in it. Raises TransientError at the deadline."""
        attempt, service = Attempt(), request.service

        def run() -> tuple[bytes, Batch]:
            bind_to_thread(attempt)
            started_seconds = time.monotonic()
            body = self._requester.send(request, attempt)
            metrics.FETCH_SECONDS.labels(service.name).observe(time.monotonic() - started_seconds)
            metrics.FETCH_RESPONSE_BYTES.labels(service.name).observe(len(body))
            return body, self._parse(service, since, body)

        timeout_seconds = self._settings.sis_timeout_seconds
        try:
            return await run_attempt(attempt, run, timeout_seconds)
        except TimeoutError as error:
            if attempt.stage is Stage.READING:
                raise TransientError("the response took too long", kind="timeout") from error
            reason = f"no response within {timeout_seconds:g} s"
            kind = SisuNoResponseError if attempt.stage is Stage.WAITING else SisuConnectionError
            raise TransientError(reason, final_error=kind, kind="timeout") from error

    @staticmethod
    def _parse(service: Service, since: int, body: bytes) -> Batch:
        try:
            return parse_response(service, since, body)
        except (MalformedResponseError, LaggingResponseError) as error:
            raise TransientError(str(error)) from error
        except InvalidResponseError:
            raise
        except Exception as error:
            raise InvalidResponseError(f"the response cannot be parsed: {type(error).__name__}") from error

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

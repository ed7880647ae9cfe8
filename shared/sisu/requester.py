"""Requests to SISU: how each service is requested, sent, and what status codes and broken connections mean. Blocking.

The deadline and the retries are the caller's: `client.py`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import requests

from shared.config.settings import ProducerSettings
from shared.model.errors import (
    FetchError,
    ImporterError,
    ServiceForbiddenError,
    SisuConnectionError,
    SisuUnauthorizedError,
    SisuUnavailableError,
)
from shared.model.services import Api, Service
from shared.runtime import tls_errors
from shared.sisu.attempt import Attempt, Stage
from shared.sisu.http import TransientError, no_response_error, proxy_error, read_body, retry_after_seconds, root_cause
from shared.sisu.session import NoAuth, Sessions, authentication

RETRY_AFTER_MAX_SECONDS = 15 * 60.0
_CONNECT_SECONDS = 10.0
"""For each address of a host."""
_CONNECT_FRACTION = 1 / 3
"""Of the time for an attempt at most, so that a second address is tried where the first one swallows packets."""
_TRANSIENT_STATUSES = {408, 421, 423, 425, 429}
"""Besides all from 500 on: it took too long, the wrong server, locked, too early, too many."""


@dataclass(frozen=True)
class Request:
    """A request of one service."""

    service: Service
    method: str
    url: str
    params: Mapping[str, str | int]
    json: object


def uses_credentials(service: Service) -> bool:
    """Return whether requests of the service carry the credentials; those of the public API do not."""
    return service.api not in (Api.URN, Api.KORI_PUBLIC)


class Requester:
    """Makes and sends requests, one at a time. Raises ConfigurationError for files of TLS that cannot be loaded."""

    def __init__(self, settings: ProducerSettings) -> None:
        self._settings = settings
        auth, self._credentials = authentication(settings)
        certificate = (settings.cert_path, settings.key_path) if settings.cert_path and settings.key_path else None
        self._authorised = Sessions.make(auth, settings.sis_ca_path, certificate)
        self._public = Sessions.make(NoAuth(), settings.sis_ca_path)

    def base_url(self, service: Service) -> str:
        """Return the base URL of the service's API, which other services share."""
        settings = self._settings
        return settings.sis_api_url if uses_credentials(service) else settings.kori_public_api_url

    def request(self, service: Service, since: int, limit: int) -> Request:
        """Return the request for at most `limit` entities of `service` after the ordinal `since`."""
        path = service.path.replace("{ROOT_ORG_ID}", self._settings.root_org_id)
        if service.api is Api.GRAPHQL:
            query = {"query": service.query, "variables": {}}
            return Request(service, "POST", f"{self._settings.sis_api_url}/graphql", {}, query)
        if service.api.is_export:
            url = f"{self._settings.sis_api_url}/{service.api.lower()}/api{path}"
            return Request(service, "GET", url, {"since": since, "limit": limit}, None)
        return Request(service, "GET", f"{self._settings.kori_public_api_url}{path}", {}, None)

    def send(self, request: Request, attempt: Attempt) -> bytes:
        """Send a request and return the body of a 200. Blocks; raises TransientError, or as `SisuClient.fetch`.

        Where a connection breaks that an earlier request left open, and before a response, a new one is made at once.
        """
        sessions = self._authorised if uses_credentials(request.service) else self._public
        try:
            return self._send_once(request, attempt, sessions)
        except TransientError as error:
            if not attempt.is_reused or attempt.has_ended or attempt.stage is Stage.READING or error.kind == "timeout":
                raise
            sessions.renew()
            attempt.start_again()
            return self._send_once(request, attempt, sessions)

    def _send_once(self, request: Request, attempt: Attempt, sessions: Sessions) -> bytes:
        timeout_seconds = self._settings.sis_timeout_seconds
        try:
            session = sessions.get()
        except OSError as error:
            reason = f"a file of SIS_CA_PATH, CERT_PATH or KEY_PATH cannot be loaded: {root_cause(error)}"
            raise TransientError(reason, final_error=SisuConnectionError, kind="tls") from error
        try:
            with session.request(
                request.method,
                request.url,
                params=request.params,
                json=request.json,
                timeout=(min(_CONNECT_SECONDS, timeout_seconds * _CONNECT_FRACTION), timeout_seconds),
                stream=True,
                # A redirect leads to a login page, or carries credentials to another host.
                allow_redirects=False,
            ) as response:
                attempt.stage = Stage.READING
                self._raise_for_status(response, request.service)
                return read_body(response, attempt, self._settings.sis_max_response_bytes)
        except requests.exceptions.SSLError as error:
            raise self._tls_error(error, request.service) from error
        except (requests.exceptions.ReadTimeout, requests.exceptions.ConnectionError) as error:
            raise no_response_error(error, timeout_seconds) from error
        except requests.exceptions.InvalidProxyURL as error:
            raise proxy_error("its address cannot be parsed") from error
        except ImporterError:
            raise
        # Headers that cannot be parsed raise ValueError, numbers in them OverflowError, and there may be others.
        except Exception as error:
            raise TransientError(f"the response broke off: {type(error).__name__}") from error
        finally:
            sessions.mark_used()

    def _tls_error(self, error: requests.exceptions.SSLError, service: Service) -> Exception:
        """Return the error of an attempt for which TLS failed."""
        rejected = tls_errors.rejected_client_reason(error)
        if rejected and uses_credentials(service):
            return SisuUnauthorizedError(
                service.name,
                f"SISU at {self.base_url(service)} rejected our certificate ({rejected}): check KEY_PATH and CERT_PATH",
            )
        hint = "; SIS_CA_PATH names a private authority" if tls_errors.untrusted_server_reason(error) else ""
        text = f"TLS failed: {root_cause(error)}{hint}"
        return TransientError(text, final_error=SisuConnectionError, kind="tls")

    def _raise_for_status(self, response: requests.Response, service: Service) -> None:
        """Return for a 200, raise for anything else."""
        status = response.status_code
        address = f"SISU at {self.base_url(service)}"
        where = f"{service.name}: {address}"
        if status == requests.codes.ok:
            return
        if status == requests.codes.unauthorized:
            reason = f"{address} rejected the credentials (401): check {self._credentials}"
            raise SisuUnauthorizedError(service.name, reason)
        if status == requests.codes.forbidden:
            raise ServiceForbiddenError(f"{where} returned 403: these credentials may not read {service.path}")
        if status == requests.codes.proxy_authentication_required:
            raise proxy_error("407 Proxy Authentication Required")
        if status in _TRANSIENT_STATUSES or status >= requests.codes.internal_server_error:
            requested = retry_after_seconds(response.headers.get("Retry-After"), response.headers.get("Date"))
            if requested is not None and requested > RETRY_AFTER_MAX_SECONDS:
                reason = f"{address} returned {status} with Retry-After {requested:.0f} s, longer than a run waits"
                raise SisuUnavailableError(service.name, reason)
            raise TransientError(f"status {status}", requested, kind=str(status))
        if response.is_redirect:
            target = urlsplit(response.headers["Location"]).netloc
            elsewhere = target.rpartition("@")[2] or "another path"
            raise FetchError(f"{where} redirects to {elsewhere}: check the address")
        raise FetchError(f"{where} returned {status} for {service.path}")

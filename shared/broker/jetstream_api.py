"""Requests to JetStream's own API, where nats-py offers no method. Reference: NATS ADR-1 and the JetStream API."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import nats.errors
import nats.js.errors
import orjson
from nats.aio.client import Client

from shared.model.errors import DependencyLostError
from shared.model.permissions import API_PREFIX

_NOT_FOUND = 404


class JetStreamApi:
    """JetStream's API on one connection. Requests block for at most `reply_seconds`, and raise DependencyLostError."""

    def __init__(self, client: Client, reply_seconds: float) -> None:
        self._client = client
        self._reply_seconds = reply_seconds
        self.jetstream = client.jetstream(timeout=reply_seconds)
        """The same API by the methods of nats-py, whose errors `translate_api_errors` translates."""

    @property
    def max_payload_bytes(self) -> int:
        """The server's `max_payload`, as announced."""
        return int(self._client.max_payload)

    async def request(self, operation: str, **body: object) -> dict[str, Any] | None:
        """Send a request, such as ``STREAM.INFO.IMPORTER``, and return the reply.

        None where there is no such stream, consumer or message.
        """
        payload = orjson.dumps(body) if body else b""
        try:
            message = await self._client.request(API_PREFIX + operation, payload, self._reply_seconds)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise DependencyLostError(f"NATS does not reply to {operation}: {type(error).__name__}") from error
        reply: dict[str, Any] = orjson.loads(message.data)
        if rejection := reply.get("error"):
            if rejection.get("code") == _NOT_FOUND:
                return None
            raise DependencyLostError(f"NATS JetStream rejected {operation}: {rejection.get('description')}")
        return reply


@contextmanager
def translate_api_errors(operation: str) -> Iterator[None]:
    """Translate what nats-py raises for a request to JetStream's API in the body; `operation` says what was tried."""
    try:
        yield
    except nats.js.errors.APIError as error:
        raise DependencyLostError(f"NATS JetStream rejected {operation}: {error.description or error}") from error
    except (nats.errors.Error, TimeoutError, OSError) as error:
        raise DependencyLostError(
            f"NATS JetStream did not reply to {operation} ({type(error).__name__}): is JetStream enabled, "
            "and may this user use its API?"
        ) from error

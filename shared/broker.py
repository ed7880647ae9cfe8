"""JetStream behind one thin module: publish a message and be sure, receive feedback and acknowledge it.

Nothing outside this module, `streams` and `feedback_subscription` knows NATS, so that another transport can stand in
their place. It knows nothing of batches or ledgers. Errors of nats-py are translated here.

Traps that shape it, seen with nats-py 2.16 and nats-server 2.15:

* A message published while the connection is down is kept and sent after the reconnect, long after its publisher gave
  up on it, unless `pending_size` is 0.
* Most ``-ERR`` of the server close the client for good, in spite of endless reconnects: `closed_cb` ends the process.
* `publish_async` has no time-out for the confirmation and can leak its slot: `publish`, several at once, is used.
* `drain` can hang: `close` is used.
"""

import asyncio
import os
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import nats.errors
import nats.js.errors
import structlog
from nats.aio.client import Client

from shared import keys, tls_errors
from shared.errors import ConfigurationError, DependencyLostError, ServiceFailedError
from shared.events import Event
from shared.messages import HEADERS_MAX_BYTES
from shared.settings import CommonSettings
from shared.stop import Stop
from shared.streams import api_errors, ensure_collector_consumer, ensure_stream, stream_configs

log = structlog.get_logger()

_START_SECONDS = 30.0
"""How long a first connection is tried for."""
_PUBLISH_TIMEOUT_SECONDS = 5.0
_PUBLISH_DEADLINE_SECONDS = 60.0
"""How long a message is offered before the broker counts as lost, or as refusing."""
_RETRY_PAUSE_SECONDS = 0.5
LEAST_MAX_PAYLOAD_BYTES = 32 * 1024
_REFUSED_CREDENTIALS = ("authorization violation", "authorization failed", "authentication")
_CHECK_CREDENTIALS = "check NATS_TOKEN, NATS_CREDS_PATH, NATS_URI"


@dataclass(frozen=True)
class StoredMessage:
    """A message as a stream holds it."""

    sequence: int
    data: bytes


class BrokerRefusedError(ServiceFailedError):
    """The broker answers, and will not take a message: its stream or its disk is full, or the like."""


class Broker:
    """A connection to NATS and the project's streams on it. Made by `connect`."""

    def __init__(self, settings: CommonSettings, channels: Sequence[str], stop: Stop) -> None:
        self._settings = settings
        self._streams = stream_configs(channels, settings.nats_replicas)
        self._stop = stop
        self._closing = False
        self._last_error: Exception | None = None
        self.client = Client()
        self.jetstream = self.client.jetstream(timeout=10)

    @classmethod
    async def connect(cls, settings: CommonSettings, channels: Sequence[str], name: str, stop: Stop) -> Self:
        """Connect as `name`, and make the streams for `channels` where they are missing.

        Blocks for at most half a minute. Raises DependencyLostError or ConfigurationError; later on, a connection that
        is closed for good is reported to `stop`.
        """
        broker = cls(settings, channels, stop)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await broker._connect(name)
        except (nats.errors.Error, TimeoutError, OSError) as error:
            await broker.close()
            raise DependencyLostError(
                f"NATS at {broker._where} cannot be reached: {describe(broker._last_error or error)}"
            ) from error
        if broker.client.max_payload < LEAST_MAX_PAYLOAD_BYTES:
            raise ConfigurationError(
                f"NATS at {broker._where} has a max_payload of {broker.client.max_payload} bytes: "
                f"{LEAST_MAX_PAYLOAD_BYTES} are needed at least, or hardly an entity would fit into a message"
            )
        await broker.ensure_streams()
        return broker

    async def _connect(self, name: str) -> None:
        await self.client.connect(
            **client_options(self._settings, name),
            connect_timeout=5,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=0,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
        )

    @property
    def _where(self) -> str:
        return addresses(self._settings)

    @property
    def max_message_bytes(self) -> int:
        """What the body of a message may have: the server's `max_payload`, as announced, less room for headers."""
        return self.client.max_payload - HEADERS_MAX_BYTES

    async def ensure_streams(self) -> None:
        """Make what is missing of the streams and the collector's consumer.

        Raises ConfigurationError where a stream is configured otherwise, DependencyLostError without an answer.
        """
        for config in self._streams:
            await ensure_stream(self.jetstream, config)
        await ensure_collector_consumer(self.jetstream)

    async def publish(self, stream: str, subject: str, payload: bytes, message_id: str) -> None:
        """Publish, and return once the broker has confirmed that `stream` holds the message.

        What is not confirmed is repeated under the same `message_id`, which the broker drops if it has it already.
        Blocks for at most a minute, then raises BrokerRefusedError if the broker answered, else DependencyLostError.
        """
        deadline = time.monotonic() + _PUBLISH_DEADLINE_SECONDS
        while True:
            try:
                await self.jetstream.publish(
                    subject,
                    payload,
                    stream=stream,
                    headers={"Nats-Msg-Id": message_id},
                    timeout=_PUBLISH_TIMEOUT_SECONDS,
                )
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if time.monotonic() >= deadline or self.client.is_closed:
                    raise _given_up(subject, error) from error
                if isinstance(error, nats.js.errors.NoStreamResponseError) and self.client.is_connected:
                    await self.ensure_streams()  # a broker that lost its store
                log.warning(Event.PUBLISH_RETRIED, subject=keys.without_entity(subject), reason=describe(error))
                await asyncio.sleep(_RETRY_PAUSE_SECONDS)
            else:
                return

    async def take_back(self, subject: str, *, keep: int = 0) -> None:
        """Remove what the work queue still holds on a subject, but for so many of the newest messages.

        Raises DependencyLostError.
        """
        # A stream that is gone holds nothing.
        with api_errors(f"the removal of what is on {subject}"), suppress(nats.js.errors.NotFoundError):
            await self.jetstream.purge_stream(keys.CHUNK_STREAM, subject=subject, keep=keep or None)

    async def dead_letter(self, subject: str) -> StoredMessage | None:
        """The dead letter on `subject`, if there is one. Raises DependencyLostError."""
        with api_errors("a dead letter"):
            try:
                message = await self.jetstream.get_last_msg(keys.DEAD_LETTER_STREAM, subject)
            except nats.js.errors.NotFoundError:
                return None
        return StoredMessage(int(message.seq or 0), message.data or b"")

    async def close_dead_letter(self, sequence: int) -> None:
        """Remove a dead letter, if it still is the newest failure of its entity. Raises DependencyLostError."""
        with api_errors("the removal of a dead letter"), suppress(nats.js.errors.NotFoundError):
            await self.jetstream.delete_msg(keys.DEAD_LETTER_STREAM, sequence)

    async def close(self) -> None:
        """Close the connection. Waits for nothing."""
        self._closing = True
        with suppress(nats.errors.Error, TimeoutError, OSError):
            await self.client.close()

    # --- what the client reports -------------------------------------------------------------------------------------

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        log.warning(Event.NATS_ERROR, reason=describe(error))
        if _refuses_credentials(error):
            self._stop.fail(ConfigurationError(f"NATS at {self._where} refused the credentials: {_CHECK_CREDENTIALS}"))
        elif distrust := tls_errors.distrust(error):
            self._stop.fail(
                ConfigurationError(
                    f"the certificate of NATS at {self._where} cannot be trusted: {distrust}; "
                    "NATS_CA_PATH names a private authority"
                )
            )
        elif refusal := tls_errors.refusal(error):
            self._stop.fail(
                ConfigurationError(
                    f"NATS at {self._where} refused our certificate ({refusal}): check NATS_CERT_PATH, NATS_KEY_PATH"
                )
            )

    async def _on_closed(self) -> None:
        if self._closing:
            return
        error = self.client.last_error or self._last_error
        message = f"NATS at {self._where} closed the connection for good: {describe(error)}"
        if _refuses_credentials(error):
            # They were good, and were revoked or have expired: a fresh start reads the files that may be newer.
            message += f"; {_CHECK_CREDENTIALS}"
        self._stop.fail(DependencyLostError(message))

    async def _on_disconnected(self) -> None:
        if not self._closing:
            log.warning(Event.NATS_DISCONNECTED)

    async def _on_reconnected(self) -> None:
        log.info(Event.NATS_RECONNECTED)


def addresses(settings: CommonSettings) -> str:
    """Where NATS is, without who is to be somebody there."""
    each = settings.nats_uri.get_secret_value().split(",")
    return ", ".join(urlsplit(address.strip()).netloc.rpartition("@")[2] for address in each)


def client_options(settings: CommonSettings, name: str) -> dict[str, Any]:
    """What `Client.connect` needs to reach the servers of the settings, and to be let in, as `name`."""
    return {
        "servers": [address.strip() for address in settings.nats_uri.get_secret_value().split(",")],
        "name": name,
        "token": settings.nats_token.get_secret_value() if settings.nats_token else None,
        "user_credentials": str(settings.nats_creds_path) if settings.nats_creds_path else None,
        "tls": _tls(settings),
        # An inbox of its own: who may listen to all of `_INBOX` hears what others are sent.
        "inbox_prefix": inbox_prefix(name),
    }


def inbox_prefix(name: str) -> str:
    """What the subjects begin with on which a client of this name hears answers."""
    return f"_INBOX_{name}"


def describe(error: Exception | None) -> str:
    """An error of nats-py in one line; some have no text of their own, and asyncio's have Python's words for it."""
    if isinstance(error, ConnectionError) and error.errno:
        return os.strerror(error.errno)
    text = str(error or "").strip().splitlines()
    return f"{type(error).__name__}: {keys.without_entity(text[0])}" if text else type(error).__name__


def _refuses_credentials(error: Exception | None) -> bool:
    text = str(error or "").lower()
    return any(words in text for words in _REFUSED_CREDENTIALS)


def _given_up(subject: str, error: Exception) -> ServiceFailedError | DependencyLostError:
    subject = keys.without_entity(subject)
    if isinstance(error, nats.js.errors.APIError):
        return BrokerRefusedError(f"NATS will not take a message on {subject}: {error.description}")
    return DependencyLostError(f"NATS confirmed no message on {subject}: {describe(error)}")


def _tls(settings: CommonSettings) -> ssl.SSLContext | None:
    """None where nothing is set; then a `tls://` address, or a server that demands TLS, is checked as usual."""
    if not settings.nats_ca_path and not settings.nats_cert_path:
        return None
    context = ssl.create_default_context(cafile=settings.nats_ca_path)
    if settings.nats_cert_path:
        context.load_cert_chain(settings.nats_cert_path, settings.nats_key_path)
    return context

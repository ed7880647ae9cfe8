"""The connection to NATS: publish a message and be sure that a stream holds it. Errors of nats-py are translated here.

Nothing outside `shared/broker` knows NATS, so that another transport can take its place. It knows nothing of batches
or ledgers.

Traps that shaped it, seen with nats-py 2.16 and nats-server 2.15:

* A message published while disconnected is kept and sent after the reconnect, long after its publisher gave up on it,
  unless `pending_size` is 0.
* Most ``-ERR`` of the server close the client permanently, despite unlimited reconnects: `closed_cb` ends the process.
* `publish_async` has no time-out for the confirmation and can leak its slot: `publish`, several at once, is used.
* `drain` can hang: `close` is used.
"""

import asyncio
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Self

import nats.errors
import nats.js.errors
import structlog

from shared.broker.client_options import client_options, make_client, redacted_server_names
from shared.broker.collector_consumer import ensure_collector_consumer
from shared.broker.connection_errors import CHECK_CREDENTIALS, connection_failure, is_auth_error, summarize_error
from shared.broker.dead_letters import DeadLetterStore
from shared.broker.jetstream_api import JetStreamApi, translate_api_errors
from shared.broker.streams import MissingSubjectsError, Note, ensure_stream, stream_configs
from shared.config.settings import CommonSettings
from shared.model import keys
from shared.model.errors import BrokerRejectedError, ConfigurationError, DependencyLostError, ServiceFailedError
from shared.model.messages import HEADERS_MAX_BYTES
from shared.runtime.events import Event
from shared.runtime.shutdown import Stop

log = structlog.get_logger()

_START_SECONDS = 30.0
"""How long a first connection is attempted."""
_API_SECONDS = 10.0
_CLOSE_SECONDS = 3.0
_PUBLISH_TIMEOUT_SECONDS = 5.0
_PUBLISH_DEADLINE_SECONDS = 60.0
"""How long publishing is repeated before the broker counts as unavailable, or as rejecting the message."""
_RETRY_BACKOFF_SECONDS = 0.5
MIN_MAX_PAYLOAD_BYTES = 32 * 1024


class Broker:
    """A connection to NATS and the project's streams on it. Made by `connect`."""

    def __init__(self, settings: CommonSettings, channels: Sequence[str], stop: Stop, *, add_subjects: bool) -> None:
        self._settings = settings
        self._streams = stream_configs(channels, settings.nats_replicas)
        self._add_subjects = add_subjects
        self._noted: set[Note] = set()
        self._stop = stop
        self._closing = False
        self._last_error: Exception | None = None
        self._was_connected = False
        self.client = make_client(settings)
        self.api = JetStreamApi(self.client, _API_SECONDS)
        self.jetstream = self.api.jetstream
        self.dead_letters = DeadLetterStore(self.api)

    @classmethod
    async def connect(
        cls, settings: CommonSettings, channels: Sequence[str], name: str, stop: Stop, *, add_subjects: bool = True
    ) -> Self:
        """Connect as `name`, and create the streams for `channels` where they are missing.

        `add_subjects`: add channels that an existing stream lacks. One that cannot be added is logged, and publishing
        on it is rejected.

        Blocks for at most half a minute. Raises DependencyLostError or ConfigurationError; later on, a connection that
        is closed for good is reported to `stop`.
        """
        broker = cls(settings, channels, stop, add_subjects=add_subjects)
        try:
            async with asyncio.timeout(_START_SECONDS):
                await broker._connect(name)
            broker._was_connected = True
        except (nats.errors.Error, TimeoutError, OSError) as error:
            await broker.close()
            raise DependencyLostError(
                f"NATS at {broker._server_names} cannot be reached: {summarize_error(broker._last_error or error)}"
            ) from error
        if broker.client.max_payload < MIN_MAX_PAYLOAD_BYTES:
            raise ConfigurationError(
                f"NATS at {broker._server_names} has a max_payload of {broker.client.max_payload} bytes: "
                f"{MIN_MAX_PAYLOAD_BYTES} are the minimum, or hardly an entity would fit into a message"
            )
        try:
            await broker.ensure_streams()
        except MissingSubjectsError as error:
            log.error(Event.STREAM_SUBJECTS_MISSING, reason=str(error))
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
    def _server_names(self) -> str:
        return redacted_server_names(self._settings)

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up at this moment."""
        return bool(self.client.is_connected)

    @property
    def max_message_bytes(self) -> int:
        """The maximum size of a message's body: the server's `max_payload`, as announced, less room for headers."""
        return self.client.max_payload - HEADERS_MAX_BYTES

    async def ensure_streams(self) -> None:
        """Create what is missing of the streams and the collectors' consumer.

        Raises ConfigurationError where one is configured otherwise, DependencyLostError without a reply, and, once all
        else is there, MissingSubjectsError where a subject could not be added.
        """
        missing: MissingSubjectsError | None = None
        for config in self._streams:
            try:
                notes = await ensure_stream(self.api, config, add_subjects=self._add_subjects)
            except MissingSubjectsError as error:
                missing = error
            else:
                self._log_once(notes)
        await ensure_collector_consumer(self.api)
        if missing:
            raise missing

    async def publish(
        self, stream: str, subject: str, payload: bytes, message_id: str, headers: Mapping[str, str] | None = None
    ) -> None:
        """Publish, and return once the broker has confirmed that `stream` holds the message.

        What is not confirmed is repeated under the same `message_id`, which the broker drops if it has it already.
        Blocks for at most about a minute, then raises BrokerRejectedError if the broker replied, else
        DependencyLostError. Where the stream is missing, it is created.
        """
        deadline = time.monotonic() + _PUBLISH_DEADLINE_SECONDS
        while True:
            try:
                await self.jetstream.publish(
                    subject,
                    payload,
                    stream=stream,
                    headers={**(headers or {}), "Nats-Msg-Id": message_id},
                    timeout=_PUBLISH_TIMEOUT_SECONDS,
                )
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if time.monotonic() >= deadline or self.client.is_closed:
                    raise _publish_error(subject, error) from error
                if isinstance(error, nats.js.errors.NoStreamResponseError) and self.client.is_connected:
                    await self._restore_streams(subject)
                log.warning(
                    Event.PUBLISH_RETRIED, subject=keys.redact_entity_ids(subject), reason=summarize_error(error)
                )
                await asyncio.sleep(_RETRY_BACKOFF_SECONDS)
            else:
                return

    async def _restore_streams(self, subject: str) -> None:
        """Create what the broker lost with its store. Raises BrokerRejectedError where that does not help `subject`.

        Another configuration than at the start ends nothing but the service: it may be corrected before the next run.
        """
        try:
            await self.ensure_streams()
        except ConfigurationError as error:
            raise BrokerRejectedError(str(error)) from error
        except MissingSubjectsError as error:
            if subject in error.subjects:
                raise

    async def purge(self, subject: str, *, keep: int = 0) -> None:
        """Remove what the work queue still holds on a subject, except for the newest `keep` messages.

        Raises DependencyLostError.
        """
        # A stream that does not exist holds nothing.
        with translate_api_errors(f"the purge of {subject}"), suppress(nats.js.errors.NotFoundError):
            await self.jetstream.purge_stream(keys.CHUNK_STREAM, subject=subject, keep=keep or None)

    async def close(self) -> None:
        """Close the connection, without draining it."""
        self._closing = True
        # With a limit: nats-py waits for a TLS connection that failed to be closed, which does not happen.
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.client.close()

    def _log_once(self, notes: Sequence[Note]) -> None:
        for note in notes:
            if note not in self._noted:
                self._noted.add(note)
                log.log(note.level, note.event, stream=note.stream, **note.fields)

    # --- what the client reports -------------------------------------------------------------------------------------

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        log.warning(Event.NATS_ERROR, reason=summarize_error(error))
        if failure := connection_failure(error, self._settings, was_connected=self._was_connected):
            self._stop.fail(failure)

    async def _on_closed(self) -> None:
        if self._closing:
            return
        error = self.client.last_error or self._last_error
        message = f"NATS at {self._server_names} closed the connection for good: {summarize_error(error)}"
        if is_auth_error(error):
            # They were valid, and were revoked or have expired: a fresh start reads the files, which may be newer.
            message += f"; {CHECK_CREDENTIALS}"
        self._stop.fail(DependencyLostError(message))

    async def _on_disconnected(self) -> None:
        if not self._closing:
            log.warning(Event.NATS_DISCONNECTED)

    async def _on_reconnected(self) -> None:
        log.info(Event.NATS_RECONNECTED)


def _publish_error(subject: str, error: Exception) -> ServiceFailedError | DependencyLostError:
    subject = keys.redact_entity_ids(subject)
    if isinstance(error, nats.js.errors.APIError):
        return BrokerRejectedError(f"NATS rejects a message on {subject}: {error.description}")
    return DependencyLostError(f"NATS did not confirm a message on {subject}: {summarize_error(error)}")

"""A session with a STAN server: one client id, kept alive by pings, lost for good when the server says so.

STAN is a client of NATS itself: every request is a message on a subject that the server names when a session starts.
This module knows nothing of chunks, waves or Redis.

What shaped it, seen with nats-streaming-server 0.25.6:

* NATS listens before STAN is ready, and then has no responders: connecting is repeated.
* One live session for each client id: a second one is rejected while the first one replies to its heartbeats, and
  replaces it where it does not. The replaced one learns it from its next ping, and its messages are rejected.
* A confirmation that does not come says nothing: the message may be stored. The id of a message deduplicates nothing.
* After a restart of the server within seconds nothing needs to be done; after some twenty the session is lost.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from secrets import token_hex
from typing import Any, Self, TypeVar

import nats.errors
import structlog
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from shared.broker.client_options import login_options, make_login_client
from shared.broker.connection_errors import is_auth_error, summarize_error
from shared.broker.stan.messages import (
    Acknowledgement,
    CloseRequest,
    CloseResponse,
    ConnectRequest,
    ConnectResponse,
    Delivery,
    MalformedMessageError,
    Ping,
    PingResponse,
    PublishRequest,
    PublishResponse,
    StanMessage,
    StartPosition,
    SubscribeRequest,
    SubscribeResponse,
    UnsubscribeRequest,
)
from shared.config.nats_login import NatsLogin
from shared.model.errors import ConfigurationError, DependencyLostError, ProcessError
from shared.runtime import tls_errors
from shared.runtime.events import Event
from shared.runtime.tasks import cancel_and_wait, run_concurrently

log = structlog.get_logger()

PROTOCOL = 1
PING_INTERVAL_SECONDS = 5
PING_MAX_OUT = 3
_START_SECONDS = 30.0
"""How long a first connection to NATS is attempted, and after it the first contact with STAN."""
_REQUEST_SECONDS = 5.0
_PUBLISH_TIMEOUT_SECONDS = 5.0
_RETRY_BACKOFF_SECONDS = 0.5
_CLOSE_SECONDS = 3.0
_ENVELOPE_BYTES = 1024
"""More than a message has around its data: the ids, the channel and the reply subject."""
_CLIENT_ID_TAKEN = "clientID already registered"

T = TypeVar("T", bound=StanMessage)


class ClientIdTakenError(DependencyLostError):
    """Another live session has this client id."""


class StanRejectedError(DependencyLostError):
    """STAN responds, and rejects a request."""


@dataclass(frozen=True)
class StanIdentity:
    """Which STAN, and who this client is. `name` is that of the NATS connection."""

    cluster_id: str
    client_id: str
    name: str
    inbox: str = ""
    """The prefix of the subjects on which it receives; by default one that `name` makes."""

    def options(self, login: NatsLogin) -> dict[str, Any]:
        """Return the options of nats-py's `Client.connect`."""
        options = login_options(login, self.name)
        return options | ({"inbox_prefix": self.inbox} if self.inbox else {})


@dataclass(frozen=True)
class Subscribed:
    """A subscription to a channel. Ending it with `close` keeps the place of a durable one."""

    request: SubscribeRequest
    ack_inbox: str
    inbox_subscription: Subscription


@dataclass(frozen=True)
class StanDelivery:
    """A message that a subscription received."""

    channel: str
    data: bytes
    sequence: int
    redelivered: bool
    _acknowledge: Callable[[], Awaitable[None]]

    async def acknowledge(self) -> None:
        """Acknowledge it. A lost acknowledgement is harmless: the message is delivered again."""
        await self._acknowledge()


Handler = Callable[[StanDelivery], Awaitable[None]]


class StanSession:
    """A session. Made by `connect`; `run` keeps it alive and raises when it is lost."""

    def __init__(self, login: NatsLogin, identity: StanIdentity) -> None:
        self._login = login
        self._identity = identity
        self._connection_id = token_hex(16).encode()
        self._last_error: Exception | None = None
        self._was_connected = False
        self._closing = False
        self._lost: asyncio.Future[ProcessError] = asyncio.get_running_loop().create_future()
        self._pings_out = 0
        self._pong = asyncio.Event()
        self._confirmations: dict[str, asyncio.Future[PublishResponse]] = {}
        self._response = ConnectResponse()
        self.client = make_login_client(login)
        prefix = f"{identity.options(login)['inbox_prefix']}.stan.{token_hex(8)}"
        self._heartbeat_inbox, self._ping_inbox, self._publish_inbox = (
            f"{prefix}.{name}" for name in ("heartbeat", "ping", "publish")
        )
        self._inbox_prefix = prefix

    # --- connecting --------------------------------------------------------------------------------------------------

    @classmethod
    async def connect(cls, login: NatsLogin, identity: StanIdentity, start_seconds: float = _START_SECONDS) -> Self:
        """Connect, and start a session. Blocks for at most `start_seconds` for NATS, and as long for STAN.

        Raises ClientIdTakenError while another live session has the client id, ConfigurationError where the credentials
        are rejected, else DependencyLostError.
        """
        session = cls(login, identity)
        try:
            await session._connect_to_nats(start_seconds)
            session._response = await session._start(start_seconds)
        except BaseException:
            await session._close_connection()
            raise
        return session

    async def _connect_to_nats(self, start_seconds: float) -> None:
        connecting = asyncio.create_task(self._open())
        waited: set[asyncio.Future[Any]] = {connecting, self._lost}
        try:
            async with asyncio.timeout(start_seconds):
                # Rejected credentials do not end the attempts of nats-py, but are reported meanwhile.
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if self._lost.done():
                    raise self._lost.result()
                await connecting
        except (nats.errors.Error, TimeoutError, OSError) as error:
            raise DependencyLostError(
                f"STAN at {self.server_names} cannot be reached: {summarize_error(self._last_error or error)}"
            ) from error
        finally:
            await cancel_and_wait(connecting)
        self._was_connected = True

    async def _open(self) -> None:
        await self.client.connect(
            **self._identity.options(self._login),
            connect_timeout=5,
            max_reconnect_attempts=-1,
            reconnect_time_wait=1,
            ping_interval=10,
            max_outstanding_pings=2,
            pending_size=0,
            error_cb=self._on_error,
            closed_cb=self._on_closed,
        )
        await self.client.subscribe(self._heartbeat_inbox, cb=self._on_heartbeat)
        await self.client.subscribe(self._ping_inbox, cb=self._on_pong)
        await self.client.subscribe(self._publish_inbox, cb=self._on_confirmation)
        await self.client.flush()

    async def _start(self, start_seconds: float) -> ConnectResponse:
        """Ask for the session until STAN responds: NATS listens before STAN has recovered its store."""
        request = ConnectRequest(
            self._identity.client_id,
            self._heartbeat_inbox,
            PROTOCOL,
            self._connection_id,
            PING_INTERVAL_SECONDS,
            PING_MAX_OUT,
        )
        subject = f"_STAN.discover.{self._identity.cluster_id}"
        deadline = time.monotonic() + start_seconds
        while True:
            try:
                response = await self._request(subject, request, ConnectResponse, timeout_seconds=start_seconds)
                break
            except DependencyLostError as error:
                if time.monotonic() >= deadline or self._lost.done():
                    raise DependencyLostError(
                        f"no STAN with the cluster id {self._identity.cluster_id} responds at {self.server_names}: "
                        "is it running, and is STAN_CLUSTER_ID right?"
                    ) from error
                await asyncio.sleep(_RETRY_BACKOFF_SECONDS)
        if _CLIENT_ID_TAKEN in response.error:
            raise ClientIdTakenError(f"another client of STAN has the id {self._identity.client_id}")
        _raise_error("the session", response.error)
        return response

    @property
    def server_names(self) -> str:
        """The hosts and ports, without credentials."""
        return self._login.address.redacted

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up, and STAN responded to one of the last pings."""
        return bool(self.client.is_connected) and self._pings_out <= 1

    @property
    def max_data_bytes(self) -> int:
        """The maximum size of a message's data: the server's `max_payload`, as announced, less its envelope."""
        return int(self.client.max_payload) - _ENVELOPE_BYTES

    # --- keeping it alive --------------------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep the session alive until cancelled. Raises DependencyLostError when it is lost."""
        await run_concurrently([self._ping_repeatedly(), self._raise_when_lost()])

    async def check(self) -> None:
        """Return once STAN has confirmed that it still has this session. Blocks while it does not respond."""
        self._pong.clear()
        while True:
            await self._ping()
            with suppress(TimeoutError):
                async with asyncio.timeout(_REQUEST_SECONDS):
                    await self._pong.wait()
            if self._lost.done():
                raise self._lost.result()
            if self._pong.is_set():
                return
            await asyncio.sleep(_RETRY_BACKOFF_SECONDS)

    async def _raise_when_lost(self) -> None:
        raise await asyncio.shield(self._lost)

    async def _ping_repeatedly(self) -> None:
        interval_seconds = self._response.ping_interval_seconds or PING_INTERVAL_SECONDS
        max_out = self._response.ping_max_out or PING_MAX_OUT
        while True:
            await asyncio.sleep(interval_seconds)
            if self._pings_out >= max_out:
                self._lose(f"{self._pings_out} pings were not replied to")
                return
            self._pings_out += 1
            await self._ping()

    async def _ping(self) -> None:
        with suppress(nats.errors.Error, OSError):  # while disconnected; the missing reply counts
            ping = Ping(self._connection_id)
            await self.client.publish(self._response.ping_subject, ping.encode(), self._ping_inbox)

    async def _on_pong(self, message: Msg) -> None:
        if (message.headers or {}).get("Status"):  # no responders: STAN is away, NATS is not
            return
        with suppress(MalformedMessageError):
            if error := PingResponse.decode(message.data).error:
                self._lose(error)
            self._pings_out = 0
            self._pong.set()

    async def _on_heartbeat(self, message: Msg) -> None:
        with suppress(nats.errors.Error, OSError):
            await self.client.publish(message.reply, b"")

    def _lose(self, reason: str) -> None:
        self._fail(DependencyLostError(f"the session with STAN at {self.server_names} is lost: {reason}"))

    def _fail(self, error: ProcessError) -> None:
        if not self._lost.done() and not self._closing:
            self._lost.set_result(error)
            self._pong.set()

    # --- requests ----------------------------------------------------------------------------------------------------

    async def _request(
        self, subject: str, request: StanMessage, kind: type[T], timeout_seconds: float = _REQUEST_SECONDS
    ) -> T:
        try:
            reply = await self.client.request(subject, request.encode(), timeout_seconds)
            return kind.decode(reply.data)
        except (nats.errors.Error, TimeoutError, OSError, MalformedMessageError) as error:
            raise DependencyLostError(f"STAN does not reply ({type(error).__name__})") from error

    async def publish(self, channel: str, data: bytes) -> None:
        """Publish, and return once STAN has stored the message; without a confirmation it is sent, and stored, again.

        Blocks while STAN does not respond; `run` ends that. Raises StanRejectedError where it responds with an error.
        """
        while True:
            guid = token_hex(11)
            request = PublishRequest(self._identity.client_id, guid, channel, "", data, self._connection_id)
            confirmation: asyncio.Future[PublishResponse] = asyncio.get_running_loop().create_future()
            self._confirmations[guid] = confirmation
            try:
                subject = f"{self._response.publish_prefix}.{channel}"
                await self.client.publish(subject, request.encode(), self._publish_inbox)
                async with asyncio.timeout(_PUBLISH_TIMEOUT_SECONDS):
                    response = await confirmation
            except (nats.errors.Error, TimeoutError, OSError) as error:
                if self._lost.done():
                    raise self._lost.result() from error
                log.warning(Event.STAN_PUBLISH_RETRIED, channel=channel, reason=summarize_error(error))
                await asyncio.sleep(_RETRY_BACKOFF_SECONDS)
            else:
                _raise_error(f"a message on {channel}", response.error)
                return
            finally:
                del self._confirmations[guid]

    async def _on_confirmation(self, message: Msg) -> None:
        with suppress(MalformedMessageError):
            response = PublishResponse.decode(message.data)
            waiting = self._confirmations.get(response.guid)
            if waiting and not waiting.done():
                waiting.set_result(response)

    # --- subscriptions -----------------------------------------------------------------------------------------------

    async def subscribe(
        self,
        channel: str,
        handle: Handler,
        *,
        queue_group: str = "",
        durable_name: str = "",
        start: StartPosition = StartPosition.NEW_ONLY,
        max_in_flight: int = 512,
        ack_wait_seconds: int = 60,
    ) -> Subscribed:
        """Subscribe: `handle` gets one message after another, in a task of the subscription, and acknowledges it.

        Plain without a name: it ends with the session. With `durable_name` its place is kept; with `queue_group`, too,
        all members share one place. Raises DependencyLostError.
        """
        inbox = f"{self._inbox_prefix}.{token_hex(6)}"
        request = SubscribeRequest(
            self._identity.client_id,
            channel,
            queue_group,
            inbox,
            max_in_flight,
            ack_wait_seconds,
            durable_name,
            int(start),
        )
        ack_inbox: asyncio.Future[str] = asyncio.get_running_loop().create_future()

        async def deliver(message: Msg) -> None:
            try:
                delivery = Delivery.decode(message.data)
            except MalformedMessageError:
                return
            acknowledgement = Acknowledgement(delivery.channel, delivery.sequence).encode()

            async def acknowledge() -> None:
                with suppress(nats.errors.Error, OSError):
                    await self.client.publish(await ack_inbox, acknowledgement)

            await handle(
                StanDelivery(delivery.channel, delivery.data, delivery.sequence, delivery.redelivered, acknowledge)
            )

        # The inbox first: STAN may deliver before its response arrives.
        subscription = await self.client.subscribe(inbox, cb=deliver)
        try:
            await self.client.flush()
            response = await self._request(self._response.subscribe_subject, request, SubscribeResponse)
            _raise_error(f"a subscription to {channel}", response.error)
        except BaseException:
            # STAN may have it all the same; a durable one would count as a duplicate later.
            await self._end_subscription(self._response.close_subscription_subject, request, inbox, subscription)
            raise
        ack_inbox.set_result(response.ack_inbox)
        return Subscribed(request, response.ack_inbox, subscription)

    async def close_subscription(self, subscribed: Subscribed) -> None:
        """End a subscription; a durable one keeps its place."""
        await self._end_subscription(
            self._response.close_subscription_subject,
            subscribed.request,
            subscribed.ack_inbox,
            subscribed.inbox_subscription,
        )

    async def unsubscribe(self, subscribed: Subscribed) -> None:
        """End a subscription, and its place if it is durable."""
        await self._end_subscription(
            self._response.unsubscribe_subject, subscribed.request, subscribed.ack_inbox, subscribed.inbox_subscription
        )

    async def _end_subscription(
        self, subject: str, request: SubscribeRequest, inbox: str, subscription: Subscription
    ) -> None:
        ending = UnsubscribeRequest(request.client_id, request.channel, inbox, request.durable_name)
        with suppress(nats.errors.Error, OSError, TimeoutError, DependencyLostError):
            await self._request(subject, ending, SubscribeResponse)
        with suppress(nats.errors.Error):
            await subscription.unsubscribe()

    # --- the end -----------------------------------------------------------------------------------------------------

    async def close(self) -> None:
        """End the session, so that another client may have the id at once, and close the connection."""
        self._closing = True
        if self.client.is_connected and not self._lost.done():
            with suppress(DependencyLostError):
                request = CloseRequest(self._identity.client_id)
                await self._request(self._response.close_subject, request, CloseResponse, _CLOSE_SECONDS)
        await self._close_connection()

    async def _close_connection(self) -> None:
        self._closing = True
        with suppress(nats.errors.Error, TimeoutError, OSError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self.client.close()

    async def _on_error(self, error: Exception) -> None:
        self._last_error = error
        log.warning(Event.STAN_ERROR, reason=summarize_error(error))
        if failure := self._connection_failure(error):
            self._fail(failure)

    def _connection_failure(self, error: Exception) -> ProcessError | None:
        """Return what `error` ends the process with; None: it may pass. See `connection_errors.connection_failure`."""
        if is_auth_error(error):
            message = (
                f"STAN at {self.server_names} rejected the credentials: check STAN_TOKEN, STAN_CREDS_PATH, STAN_URI"
            )
        elif reason := tls_errors.untrusted_server_reason(error):
            message = (
                f"the certificate of STAN at {self.server_names} cannot be trusted: {reason}; "
                "STAN_CA_PATH names a private authority"
            )
        elif reason := tls_errors.rejected_client_reason(error):
            message = (
                f"STAN at {self.server_names} rejected our certificate ({reason}): check STAN_CERT_PATH, STAN_KEY_PATH"
            )
        else:
            return None
        is_temporary = self._was_connected or self._login.has_files
        return (DependencyLostError if is_temporary else ConfigurationError)(message)

    async def _on_closed(self) -> None:
        error = self.client.last_error or self._last_error
        self._fail(
            DependencyLostError(f"STAN at {self.server_names} closed the connection for good: {summarize_error(error)}")
        )


def _raise_error(what: str, error: str) -> None:
    """Raise the error of a response, if it has one. STAN's own words name no content."""
    if error:
        raise StanRejectedError(f"STAN rejects {what}: {error}")

"""The connection of one command to NATS: made within seconds or not at all, and not restored when it is lost."""

import asyncio
from collections.abc import Sequence
from typing import Self

import nats.errors

from shared.broker import permission_probe
from shared.broker.client_options import client_options, make_client, redacted_server_names
from shared.broker.connection_errors import summarize_error
from shared.broker.dead_letters import DeadLetterStore
from shared.broker.jetstream_api import JetStreamApi
from shared.broker.permission_probe import DeniedPermissions
from shared.broker.streams import StreamStatus, read_stream_status, stream_configs
from shared.config.settings import CommonSettings
from shared.model.errors import DependencyLostError
from shared.model.messages import HEADERS_MAX_BYTES

_CONNECT_SECONDS = 5.0
_SERVER_CONNECT_SECONDS = 3
_API_SECONDS = 3.0


class OperatorConnection:
    """A connection named `operator`, whose credentials are those of the settings. Made by `connect`."""

    def __init__(self, settings: CommonSettings) -> None:
        self._client = make_client(settings)
        self._errors: list[Exception] = []
        self.api = JetStreamApi(self._client, _API_SECONDS)
        self.dead_letters = DeadLetterStore(self.api)

    @classmethod
    async def connect(cls, settings: CommonSettings) -> Self:
        """Connect to the servers of the settings. Blocks for at most five seconds. Raises DependencyLostError."""
        connection = cls(settings)

        async def keep(error: Exception) -> None:
            connection._errors.append(error)

        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                await connection._client.connect(
                    **client_options(settings, "operator"),
                    allow_reconnect=False,
                    connect_timeout=_SERVER_CONNECT_SECONDS,
                    error_cb=keep,
                )
        except (nats.errors.Error, TimeoutError, OSError) as error:
            await connection.close()
            reason = summarize_error(connection._errors[-1] if connection._errors else error)
            raise DependencyLostError(
                f"NATS at {redacted_server_names(settings)} cannot be reached: {reason}"
            ) from error
        return connection

    @property
    def server_version(self) -> str:
        """The server's version, like 2.15.1."""
        return str(self._client.connected_server_version).strip("<>").rpartition(" ")[2]

    @property
    def max_payload_bytes(self) -> int:
        """The server's `max_payload`, as announced."""
        return self.api.max_payload_bytes

    @property
    def max_message_bytes(self) -> int:
        """The maximum size of a message's body: `max_payload`, less room for headers."""
        return self.max_payload_bytes - HEADERS_MAX_BYTES

    async def read_stream_statuses(self, channels: Sequence[str], replicas: int) -> list[StreamStatus]:
        """Compare the three streams with their required configuration. Raises DependencyLostError."""
        return [await read_stream_status(self.api, wanted) for wanted in stream_configs(channels, replicas)]

    async def denied_permissions(self, subjects: Sequence[str], inbox: str) -> DeniedPermissions:
        """Find out what this user may not do, without doing it: see `permission_probe.probe`."""
        return await permission_probe.probe(self._client, self._errors, subjects, inbox)

    async def close(self) -> None:
        """Close the connection."""
        await self._client.close()

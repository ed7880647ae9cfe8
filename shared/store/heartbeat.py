"""Heartbeats: each process reports every few seconds, in Redis, that it is alive and what it does. A report expires."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from secrets import token_hex

from redis.asyncio import Redis

from shared.model import keys
from shared.model.errors import DependencyLostError
from shared.model.records import (
    CollectorState,
    ProcessKind,
    ProcessRecord,
    ProducerState,
    StanBridgeState,
    decode,
    encode,
    now,
)
from shared.runtime.shutdown import Stop
from shared.runtime.tasks import wait_for_event
from shared.runtime.version import BUILD, VERSION
from shared.store.redis_client import RedisClient
from shared.store.redis_errors import ForeignContentError
from shared.store.scripts import Scripts

INTERVAL_SECONDS = 2.0
_MIN_INTERVAL_SECONDS = 0.1
"""Between two heartbeats, however much changes."""
TTL_SECONDS = 15.0
"""Without a heartbeat for this long a process counts as dead: long enough for a pause or a reconnect."""


class Heartbeat:
    """The heartbeat of this process: `state` returns what it does; `changed` is set when that deserves one at once."""

    def __init__(
        self,
        scripts: Scripts,
        kind: ProcessKind,
        state: Callable[[], ProducerState | CollectorState | StanBridgeState],
        port: int | None,
        changed: asyncio.Event | None = None,
    ) -> None:
        self._scripts = scripts
        self._state = state
        self._changed = changed or asyncio.Event()
        host, pid = socket.gethostname(), os.getpid()
        self._record = ProcessRecord(
            process_id=f"{kind}:{host}:{pid}:{token_hex(3)}",
            kind=kind,
            host=host,
            pid=pid,
            version=VERSION,
            build=BUILD,
            started_at=now(),
            last_heartbeat_at=now(),
            port=port,
        )

    @asynccontextmanager
    async def running(self, stop: Stop) -> AsyncIterator[None]:
        """Record heartbeats during the body. An unavailable Redis is reported to `stop`."""
        async with stop.background(self._record_repeatedly()):
            yield
        with suppress(DependencyLostError):  # otherwise the record expires
            await self._scripts.client.run(
                "removing the heartbeat", lambda redis: redis.delete(keys.process(self._record.process_id))
            )

    async def _record_repeatedly(self) -> None:
        while True:
            self._changed.clear()
            await self.record()
            await wait_for_event(self._changed, INTERVAL_SECONDS)
            await asyncio.sleep(_MIN_INTERVAL_SECONDS)

    async def record(self) -> None:
        """Record one heartbeat. Raises DependencyLostError."""
        record, state = self._record, self._state()
        record.last_heartbeat_at = now()
        if isinstance(state, ProducerState):
            record.producer = state
        elif isinstance(state, StanBridgeState):
            record.stan_bridge = state
        else:
            record.collector = state
        try:
            await self._scripts.call(
                "record_heartbeat",
                [keys.process(record.process_id), keys.PROCESSES],
                [record.process_id, encode(record), int(TTL_SECONDS * 1000)],
            )
        except ForeignContentError as error:
            self._scripts.client.log_ignored(error)


async def read_processes(client: RedisClient) -> list[ProcessRecord]:
    """Return the processes whose heartbeat has not expired, in no order. Raises DependencyLostError."""

    async def read(redis: Redis) -> Sequence[str | bytes | None]:
        known = await redis.zrange(keys.PROCESSES, 0, -1)
        return await redis.mget([keys.process(str(process_id)) for process_id in known]) if known else []

    records = await client.run_ignoring("reading the heartbeats", read, keys.PROCESSES) or []
    return [record for text in records if (record := decode(ProcessRecord, text))]

"""Signs of life: each process says every few seconds, in Redis, that it is alive and what it does; silence expires."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from importlib.metadata import version
from secrets import token_hex
from typing import Literal

from redis.asyncio import Redis

from shared import keys
from shared.errors import DependencyLostError
from shared.records import Beat, CollectorState, ProducerState, decode, encode, now
from shared.redis_client import Scripts, redis_errors
from shared.stop import Stop

EVERY_SECONDS = 2.0
_AT_LEAST_SECONDS = 0.1
"""Between two beats, however much changes."""
LIFE_SECONDS = 15.0
"""Without a beat for so long a process counts as dead: long enough for a pause or a reconnect."""


class Heartbeat:
    """The beat of this process: `state` answers what it does; `changed` is set when that is worth a beat at once."""

    def __init__(
        self,
        scripts: Scripts,
        kind: Literal["producer", "ack_collector"],
        state: Callable[[], ProducerState | CollectorState],
        port: int | None,
        changed: asyncio.Event | None = None,
    ) -> None:
        self._scripts = scripts
        self._state = state
        self._changed = changed or asyncio.Event()
        host, pid = socket.gethostname(), os.getpid()
        self._beat = Beat(
            process_id=f"{kind}:{host}:{pid}:{token_hex(3)}",
            kind=kind,
            host=host,
            pid=pid,
            version=version("importer-api"),
            started_at=now(),
            beat_at=now(),
            port=port,
        )

    @asynccontextmanager
    async def beating(self, stop: Stop) -> AsyncIterator[None]:
        """Beat during the body. That Redis is lost is told to `stop`."""
        async with stop.background(self._keep()):
            yield
        with suppress(DependencyLostError), redis_errors("the end of the heartbeat"):  # else it expires
            await self._scripts.redis.delete(keys.process(self._beat.process_id))

    async def _keep(self) -> None:
        while True:
            self._changed.clear()
            await self.beat()
            with suppress(TimeoutError):
                async with asyncio.timeout(EVERY_SECONDS):
                    await self._changed.wait()
            await asyncio.sleep(_AT_LEAST_SECONDS)

    async def beat(self) -> None:
        """Say once that the process is alive. Raises DependencyLostError."""
        beat, state = self._beat, self._state()
        beat.beat_at = now()
        if isinstance(state, ProducerState):
            beat.producer = state
        else:
            beat.collector = state
        await self._scripts.call(
            "beat",
            [keys.process(beat.process_id), keys.PROCESSES],
            [beat.process_id, encode(beat), int(LIFE_SECONDS * 1000)],
        )


async def read_beats(redis: Redis) -> list[Beat]:
    """The processes that are alive, in no order. Raises DependencyLostError."""
    with redis_errors("the heartbeats"):
        known = await redis.zrange(keys.PROCESSES, 0, -1)
        said = await redis.mget([keys.process(str(process_id)) for process_id in known]) if known else []
    return [beat for text in said if (beat := decode(Beat, text))]

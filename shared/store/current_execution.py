"""CURRENT_EXECUTION_HASH as the stan_bridge uses it: read it, and start a wave of the current execution."""

from typing import Literal, cast

from shared.model import keys
from shared.store.scripts import Scripts

WaveReply = Literal["STARTED", "STALE"]


class CurrentExecution:
    """The execution that workers work on. Every method is one round trip, and raises as `RedisClient.run`."""

    def __init__(self, scripts: Scripts) -> None:
        self._scripts = scripts

    async def read(self) -> str:
        """Return the current execution, or the wave of one; empty where there is none."""
        operation = "reading the current execution"
        return str(
            await self._scripts.client.run(operation, lambda redis: redis.get(keys.CURRENT_EXECUTION_HASH)) or ""
        )

    async def start_wave(self, execution: str, wave: str) -> WaveReply:
        """Make `wave` current, if `execution` or a wave of it is, and tell the workers."""
        reply = await self._scripts.call("start_wave", [keys.CURRENT_EXECUTION_HASH], [execution, wave])
        return cast("WaveReply", reply)

"""Calls of the Lua scripts, which are in `lua/`, one file each.

Repeating a script is harmless by design, so `RedisClient.run` may repeat a call whose reply was lost.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis, RedisError
from redis.exceptions import NoScriptError

from shared.store.redis_client import RedisClient


@dataclass(frozen=True)
class Call:
    """One script with its keys and arguments."""

    name: str
    script_keys: Sequence[str]
    arguments: Sequence[str | int]


class Scripts:
    """The Lua scripts by name, on one client."""

    def __init__(self, client: RedisClient) -> None:
        self.client = client
        files = (resources.files("shared.store") / "lua").iterdir()
        self._scripts: Mapping[str, Any] = {
            file.name.removesuffix(".lua"): client.redis.register_script(file.read_text(encoding="utf-8"))
            for file in files
        }

    async def call(self, name: str, script_keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run one script and return its reply. The head of its file lists its keys, arguments and replies.

        One round trip. Raises as `RedisClient.run`.
        """
        # register_script loads a script that the server lost (NOSCRIPT), say after a restart.
        return await self.client.run(
            f"{name} for {script_keys[0]}", lambda _: self._scripts[name](keys=script_keys, args=arguments)
        )

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts, each by itself, in one round trip; return their replies in order. Raises as `call`.

        When it raises, some may have run; repeating all of them is harmless.
        """
        operation = f"{calls[0].name} for {calls[0].script_keys[0]} and others"
        return await self.client.run(operation, lambda redis: self._call_all(redis, calls))

    async def _call_all(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        replies = await self._pipeline(redis, calls)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            for name in {calls[number].name for number in unknown}:
                await redis.script_load(self._scripts[name].script)
            repeated = await self._pipeline(redis, [calls[number] for number in unknown])
            for number, reply in zip(unknown, repeated, strict=True):
                replies[number] = reply
        for reply in replies:
            if isinstance(reply, RedisError):
                raise reply
        return replies

    async def _pipeline(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        # Not register_script's own support for pipelines: it asks before each call whether the server has the script.
        async with redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                sha = self._scripts[call.name].sha
                pipeline.evalsha(sha, len(call.script_keys), *call.script_keys, *call.arguments)
            return list(await pipeline.execute(raise_on_error=False))

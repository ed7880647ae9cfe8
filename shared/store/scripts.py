"""Calls of the Lua scripts, which are in `lua/`, one file each.

Repeating a script is harmless by design, so `RedisClient.run` may repeat a call whose reply was lost.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

from redis.asyncio import Redis, RedisError
from redis.exceptions import NoScriptError

from shared.store.redis_client import RedisClient
from shared.store.redis_errors import UnusableKeyError, translate_error

_SCRIPT_LINE = re.compile(r"@user_script: ?(\d+)")
_KEY_NUMBER = re.compile(r"KEYS\[(\d+)\]")


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
        try:
            # register_script loads a script that the server lost (NOSCRIPT), say after a restart.
            reply = await self.client.run(
                f"{name} for {script_keys[0]}", lambda _: self._scripts[name](keys=script_keys, args=arguments)
            )
        except UnusableKeyError as error:
            raise self._naming_key(error, Call(name, script_keys, arguments)) from error
        self.client.is_established = True
        return reply

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts, each by itself, in one round trip; return their replies in order. Raises as `call`.

        The reply of a script whose keys cannot be used is the UnusableKeyError, so that it does not affect the others.
        When it raises, some may have run; repeating all of them is harmless.
        """
        operation = f"{calls[0].name} for {calls[0].script_keys[0]} and others"
        replies = await self.client.run(operation, lambda redis: self._call_all(redis, calls))
        self.client.is_established = True
        return replies

    async def _call_all(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        replies = await self._pipeline(redis, calls)
        unknown = [number for number, reply in enumerate(replies) if isinstance(reply, NoScriptError)]
        if unknown:
            for name in {calls[number].name for number in unknown}:
                await redis.script_load(self._scripts[name].script)
            repeated = await self._pipeline(redis, [calls[number] for number in unknown])
            for number, reply in zip(unknown, repeated, strict=True):
                replies[number] = reply
        return [self._checked(reply, call) for reply, call in zip(replies, calls, strict=True)]

    def _checked(self, reply: Any, call: Call) -> Any:
        """Return a reply, or the error that concerns this call alone. Raises any other one."""
        if not isinstance(reply, RedisError):
            return reply
        error = translate_error(reply, call.name, "a key", is_established=self.client.is_established)
        if isinstance(error, UnusableKeyError):
            return self._naming_key(error, call)
        raise reply

    def _naming_key(self, error: UnusableKeyError, call: Call) -> UnusableKeyError:
        """Return the error with the key that it is about: Redis names the line of the script, and not the key."""
        line = _SCRIPT_LINE.search(error.server_text)
        lines = str(self._scripts[call.name].script).splitlines()
        used = _KEY_NUMBER.findall(lines[int(line[1]) - 1]) if line and int(line[1]) <= len(lines) else []
        names = [call.script_keys[int(number) - 1] for number in used] or call.script_keys
        return error.about(" or ".join(dict.fromkeys(names)))

    async def _pipeline(self, redis: Redis, calls: Sequence[Call]) -> list[Any]:
        # Not register_script's own support for pipelines: it asks before each call whether the server has the script.
        async with redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                sha = self._scripts[call.name].sha
                pipeline.evalsha(sha, len(call.script_keys), *call.script_keys, *call.arguments)
            return list(await pipeline.execute(raise_on_error=False))

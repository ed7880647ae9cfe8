"""Find out which commands a user of Redis may not run, without running them.

Redis checks the permissions of a command when it is queued into a transaction, not when the transaction is executed.
So everything is queued in the form in which it is used, and the connection is closed: without EXEC nothing is run. `ACL
DRYRUN` would tell the same, but needs Redis 7 and the permission to administer users. Every denial is kept in the
server's ACL LOG.
"""

from collections.abc import Mapping, Sequence
from typing import Literal

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, NoPermissionError, ResponseError

from shared.store.redis_client import RedisClient

Words = tuple[str, ...]
Denial = Literal["command", "key", "channel"]
"""What the user lacks the permission for."""

_EXEC: Words = ("EXEC",)
_MULTI: Words = ("MULTI",)
"""Where it is denied, nothing else can be probed."""


async def probe(client: RedisClient, commands: Sequence[Words]) -> tuple[Mapping[Words, Denial], str | None]:
    """Return which of `commands` are denied, and the first other error that they would meet, such as READONLY or OOM.

    Raises ConfigurationError or DependencyLostError.
    """
    errors = await client.run("probing permissions", lambda redis: _errors(redis, commands))
    denials = {words: _denial(error) for words, error in errors.items() if isinstance(error, NoPermissionError)}
    other = next((str(error) for error in errors.values() if not isinstance(error, NoPermissionError)), None)
    return denials, other


async def _errors(redis: Redis, commands: Sequence[Words]) -> dict[Words, ResponseError]:
    """Return those of the commands that Redis does not even queue, with its error."""
    connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        # Outside a transaction EXEC fails, with another error for a user who may not call it.
        exec_error = await _send(connection, _EXEC)
        errors: dict[Words, ResponseError] = {}
        if isinstance(exec_error, ExecAbortError | NoPermissionError):
            errors[_EXEC] = NoPermissionError(str(exec_error))
        if multi_error := await _send(connection, _MULTI):
            return errors | {_MULTI: multi_error}
        # A lost connection would be made again by the next command, which would then really be run.
        if not connection.is_connected:
            raise RedisConnectionError("the connection was lost")
        queued = [words for words in commands if words not in (_EXEC, _MULTI)]
        packed = connection.pack_commands(list(queued))
        await connection.send_packed_command(packed, check_health=False)
        replies = [(words, await _reply(connection)) for words in queued]
        return errors | {words: error for words, error in replies if error}
    finally:
        await connection.disconnect()
        await redis.connection_pool.release(connection)


async def _send(connection: AbstractConnection, words: Words) -> ResponseError | None:
    await connection.send_command(*words)
    return await _reply(connection)


async def _reply(connection: AbstractConnection) -> ResponseError | None:
    try:
        await connection.read_response()
    except ResponseError as error:
        return error
    return None


def _denial(error: NoPermissionError) -> Denial:
    """Return what is denied. Redis 6.2 and 7 word it differently, and both name the kind."""
    text = str(error)
    if " command" in text:
        return "command"
    return "channel" if "channel" in text else "key"

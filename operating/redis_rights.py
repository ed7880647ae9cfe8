"""What the user of REDIS_URI may do, found out without doing it.

Redis judges a command's rights when it is queued into a transaction, not when that is executed. So everything is
queued in the form in which it is used, and the connection is closed: without EXEC nothing is done. `ACL DRYRUN` would
tell the same, and needs Redis 7 and the right to administer users. What is refused stands in the server's ACL LOG.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ExecAbortError, NoPermissionError, ResponseError

from operating.rights import Lack, Need, Right
from shared import keys
from shared.redis_client import redis_errors
from shared.services import Service


@dataclass(frozen=True)
class _Probe:
    need: Need
    name: str
    """Of the key or channel. For a pattern, the pattern: it is one of the names that it stands for."""
    command: str
    """`*` is the name."""

    @property
    def words(self) -> list[str]:
        return [self.name if word == "*" else word for word in self.command.split()]

    @property
    def command_rule(self) -> str:
        command, *arguments = self.command.lower().split()
        return f"+{command}|{arguments[0]}" if command == "script" else f"+{command}"

    def rule(self, refusal: NoPermissionError) -> str:
        """The right that is lacking. Redis 6.2 and 7 word it differently, and both say which kind it is."""
        text = str(refusal)
        if " command" in text:
            return self.command_rule
        return f"&{self.name}" if "channel" in text else f"~{self.name}"


_SCRIPT = f"EVALSHA {'0' * 40} 1 *"
"""Every script of ours names its keys, and Redis wants the right to read and to write for each of them."""

_EXEC = _Probe(Need.PRODUCER, "", "EXEC")
_MULTI = _Probe(Need.IMPORTER, "", "MULTI")
"""Without it nothing else can be found out."""

_ONCE: Sequence[tuple[Need, str, Sequence[str]]] = [
    (Need.IMPORTER, "", ("SCRIPT LOAD x",)),
    (Need.IMPORTER, keys.PAUSED, ("GET *", "SET * x", "DEL *")),
    (Need.IMPORTER, keys.RUN_REQUESTS, ("HSET * f x",)),
    (Need.IMPORTER, keys.RETRY_REQUESTS, ("HGETALL *", "HSET * f x", "PERSIST *")),
    (Need.IMPORTER, keys.RUNS, ("LRANGE * 0 -1",)),
    (Need.IMPORTER, keys.SERVICES, ("HGETALL *",)),
    (Need.IMPORTER, keys.REWINDS, ("LRANGE * 0 -1", _SCRIPT, "LPUSH * x", "LTRIM * 0 1")),
    (Need.IMPORTER, keys.PROCESSES, ("ZRANGE * 0 -1",)),
    (Need.IMPORTER, keys.process("*"), ("MGET *",)),
    (Need.IMPORTER, keys.PRODUCER_LOCK, ("EXISTS *",)),
    (Need.IMPORTER, keys.codebook_cache("*"), ("GET *", "SET * x")),
    (Need.PRODUCER, keys.RUN_REQUESTS, ("HKEYS *", "HDEL * f")),
    (Need.PRODUCER, keys.RETRY_REQUESTS, ("EXPIRE * 1",)),
    (Need.PRODUCER, keys.PRODUCER_LOCK, (_SCRIPT,)),
    (Need.PRODUCER, keys.RUN, ("GET *", "SET * x", "DEL *")),
    (Need.PRODUCER, keys.RUNS, ("LPUSH * x", "LTRIM * 0 1", "EXPIRE * 1")),
    (Need.PRODUCER, keys.SERVICES, ("HGET * f", "HSET * f x")),
    (Need.PRODUCER, keys.process("*"), (_SCRIPT, "DEL *")),
    (Need.PRODUCER, keys.PROCESSES, (_SCRIPT, "TIME", "ZADD * 1 x", "ZREMRANGEBYSCORE * 0 1", "PEXPIRE * 1")),
    (Need.PRODUCER_ALONE, keys.CURRENT_EXECUTION_HASH, (_SCRIPT, "PUBLISH * x")),
    (Need.PRODUCER_ALONE, keys.POST_UPDATE_RUNNING, (_SCRIPT, "DEL *")),
]


def _probes(services: Sequence[Service]) -> Iterator[_Probe]:
    for need, name, commands in _ONCE:
        yield from (_Probe(need, name, command) for command in commands)
    for service in services:
        of = keys.ServiceKeys(service.key)
        for key in (of.ordinal, of.scheduled, of.updated, of.failed, of.execution, of.chunks, of.errors):
            yield _Probe(Need.IMPORTER, key, _SCRIPT)
        yield _Probe(Need.IMPORTER, of.chunks, "HLEN *")
        yield _Probe(Need.PRODUCER_ALONE, of.progress, "SUBSCRIBE *")


def commands_looked_at(services: Sequence[Service]) -> set[str]:
    """As in a list of users."""
    return {probe.command_rule for probe in (_EXEC, _MULTI, *_probes(services))}


async def look_at_redis(redis: Redis, services: Sequence[Service]) -> tuple[Lack, str | None]:
    """What the user lacks for these services, and the first other reason not to work: read-only, out of memory.

    Raises ImporterError.
    """
    probes = list(_probes(services))
    with redis_errors("the look at the user's rights"):
        refusals = await _refusals(redis, probes)
    lacking = {probe: error for probe, error in refusals.items() if isinstance(error, NoPermissionError)}
    may_tell = [probe for probe in probes if probe.need is Need.PRODUCER_ALONE]
    is_producer = _MULTI not in lacking and any(probe not in lacking for probe in may_tell)
    other = next((str(error) for error in refusals.values() if not isinstance(error, NoPermissionError)), None)
    return Lack([Right(probe.need, probe.rule(error)) for probe, error in lacking.items()], is_producer), other


async def _refusals(redis: Redis, probes: Sequence[_Probe]) -> dict[_Probe, ResponseError]:
    """Those of the probes that Redis will not even queue, and what it says instead."""
    connection = await redis.connection_pool.get_connection()  # type: ignore[no-untyped-call]
    try:
        # Outside a transaction EXEC fails, and differently for those who may not.
        exec_refusal = await _ask(connection, _EXEC)
        refused: dict[_Probe, ResponseError] = {}
        if isinstance(exec_refusal, ExecAbortError | NoPermissionError):
            refused[_EXEC] = NoPermissionError(str(exec_refusal))
        if multi_refusal := await _ask(connection, _MULTI):
            return refused | {_MULTI: multi_refusal}
        # A lost connection would be made again by the next command, and that would be done for good.
        if not connection.is_connected:
            raise RedisConnectionError("the connection was lost")
        packed = connection.pack_commands([probe.words for probe in probes])
        await connection.send_packed_command(packed, check_health=False)
        answers = {probe: await _answer(connection) for probe in probes}
        return refused | {probe: error for probe, error in answers.items() if error}
    finally:
        await connection.disconnect()
        await redis.connection_pool.release(connection)


async def _ask(connection: AbstractConnection, probe: _Probe) -> ResponseError | None:
    await connection.send_command(*probe.words)
    return await _answer(connection)


async def _answer(connection: AbstractConnection) -> ResponseError | None:
    try:
        await connection.read_response()
    except ResponseError as error:
        return error
    return None

"""The connection to Redis: one level of retries, and one translation of errors (`redis_errors.py`).

redis-py's own retries are off. They nest (a command, its connect and its ping are each retried separately), so that
nine attempts at a server that accepts connections and never replies became 81, a quarter of an hour; and they treat
rejected credentials as a broken connection. Every command goes through `RedisClient.run` instead.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, TypeVar

import structlog
import tenacity
from redis.asyncio import ConnectionPool, Redis, RedisError
from redis.asyncio.client import Pipeline
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import ResponseError

from shared.config.redis_address import RedisAddress
from shared.config.tls_files import NO_TLS_FILES, TlsFiles
from shared.model.errors import ConfigurationError
from shared.runtime.events import Event
from shared.store.redis_connections import PlainConnection, SentinelConnection, SentinelTlsConnection, TlsConnection
from shared.store.redis_errors import (
    ForeignContentError,
    cluster_error,
    is_foreign_content,
    may_pass,
    translate_error,
)

log = structlog.get_logger()

_CONNECT_TIMEOUT_SECONDS = 5.0
_REPLY_TIMEOUT_SECONDS = 10.0
_PING_TIMEOUT_SECONDS = 2.0
_ATTEMPTS = 9
_MAX_BACKOFF_SECONDS = 2.0
"""With nine attempts an outage of some ten seconds is survived; a longer one ends the process."""
_ONE_ATTEMPT = {"retry": Retry(NoBackoff(), 0)}

T = TypeVar("T")


class RedisClient:
    """A client of Redis whose commands are retried for some ten seconds, or for `attempts` attempts."""

    def __init__(self, redis: Redis, attempts: int | None = None) -> None:
        self.redis = redis
        self.is_established = False
        """Whether this process has changed something in Redis, so that its settings are known to be right."""
        self._attempts = attempts or _ATTEMPTS
        self._ignored: set[str] = set()

    async def run(self, operation: str, command: Callable[[Redis], Awaitable[T]], key: str = "a key") -> T:
        """Run `command`, which must be harmless to repeat; `operation` says what it does, `key` names what it uses.

        Blocks for at most the attempts' time-outs and backoff. Raises ConfigurationError, UnusableKeyError or
        DependencyLostError (`redis_errors.py` says when).
        """

        async def attempt() -> T:
            return await command(self.redis)

        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(self._attempts),
            retry=tenacity.retry_if_exception(may_pass),
            wait=tenacity.wait_random_exponential(multiplier=0.1, max=_MAX_BACKOFF_SECONDS),
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except (RedisError, OSError) as error:
            raise translate_error(error, operation, key, is_established=self.is_established) from error

    # --- keys that serve only the status ------------------------------------------------------------------------------

    async def run_ignoring(self, operation: str, command: Callable[[Redis], Awaitable[T]], key: str) -> T | None:
        """Run a command on a key that the import does not depend on. Raises as `run`.

        Where the key holds something foreign, that is logged once, and None returned.
        """
        try:
            return await self.run(operation, command, key)
        except ForeignContentError as error:
            self.log_ignored(error)
            return None

    async def run_pipeline_ignoring(
        self, operation: str, queue: Callable[[Pipeline], object], keys: Sequence[str], *, transaction: bool = False
    ) -> list[Any]:
        """Run what `queue` queues, one command on each of `keys`, in one round trip; return the replies.

        Raises as `run`. The reply of a key that holds something foreign is None, which is logged once.
        """

        async def command(redis: Redis) -> list[Any]:
            async with redis.pipeline(transaction=transaction) as pipeline:
                queue(pipeline)
                replies = list(await pipeline.execute(raise_on_error=False))
            for reply in replies:
                if isinstance(reply, RedisError) and not is_foreign_content(reply):
                    raise reply
            return replies

        replies = await self.run(operation, command)
        for number, (key, reply) in enumerate(zip(keys, replies, strict=True)):
            if isinstance(reply, RedisError):
                error = translate_error(reply, operation, key, is_established=True)
                assert isinstance(error, ForeignContentError)
                self.log_ignored(error)
                replies[number] = None
        return replies

    def log_ignored(self, error: ForeignContentError) -> None:
        """Log once that a key is ignored, since it holds something foreign."""
        if error.key not in self._ignored:
            self._ignored.add(error.key)
            log.warning(Event.REDIS_KEY_IGNORED, key=error.key, reason=str(error))

    async def is_reachable(self) -> bool:
        """Return whether Redis replies within two seconds. Raises nothing."""
        with suppress(RedisError, OSError, TimeoutError):
            async with asyncio.timeout(_PING_TIMEOUT_SECONDS):
                return bool(await self.redis.ping())
        return False

    async def close(self) -> None:
        """Close all connections."""
        await self.redis.aclose()


def make_redis(uri: str, tls: TlsFiles = NO_TLS_FILES) -> Redis:
    """Return redis-py's client for `uri` (see `RedisAddress`), which connects when first used and retries nothing.

    The files of `tls` are used where the address asks for TLS. Raises ValueError for an address that cannot be parsed.
    """
    address = RedisAddress.parse(uri)
    # The parts, never the address itself: redis-py would read it in its own way.
    options: dict[str, Any] = {
        "username": address.username,
        "password": address.password,
        "db": address.database,
        "decode_responses": True,
        # Foreign bytes never equal anything that the importer writes: better than an error wherever they are read.
        "encoding_errors": "replace",
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _REPLY_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        # A connection that a firewall dropped looks alive: ping before using one that was idle for this long.
        "health_check_interval": 15,
        **_ONE_ATTEMPT,
    }
    options |= _tls_options(tls) if address.tls else {}
    if address.master is not None:
        kind = SentinelTlsConnection if address.tls else SentinelConnection
        return _sentinel(address).master_for(address.master, connection_class=kind, **options)  # type: ignore[no-any-return]
    (host, port), *_ = address.hosts
    pool = ConnectionPool(
        connection_class=TlsConnection if address.tls else PlainConnection, host=host, port=port, **options
    )
    return Redis.from_pool(pool)


def _sentinel(address: RedisAddress) -> Sentinel:
    """Return redis-py's client for the Sentinels of an address."""
    # One attempt at each Sentinel: where it fails, the next one is tried, and only the whole round is repeated.
    options: dict[str, Any] = {
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _CONNECT_TIMEOUT_SECONDS,
        **_ONE_ATTEMPT,
    }
    sentinel = Sentinel([], sentinel_kwargs=options)  # type: ignore[no-untyped-call]
    sentinel.sentinels = [
        Redis.from_pool(ConnectionPool(connection_class=PlainConnection, host=host, port=port, **options))
        for host, port in address.hosts
    ]
    return sentinel


async def connect_redis(uri: str, tls: TlsFiles = NO_TLS_FILES) -> RedisClient:
    """Return a client for `uri` whose server has replied. Blocks for as long as the client's attempts take.

    Raises ConfigurationError where the credentials are rejected or the server is of a kind that is not supported,
    DependencyLostError without a reply.
    """
    client = RedisClient(make_redis(uri, tls))
    await client.run(f"the first contact with {RedisAddress.parse(uri).redacted}", lambda redis: redis.ping())
    await require_single_server(client)
    return client


async def require_single_server(client: RedisClient) -> None:
    """Raise ConfigurationError in cluster mode and if it is a Sentinel, DependencyLostError without a reply."""
    match await client.run("reading the server's mode", _mode):
        case "cluster":
            raise cluster_error()
        case "sentinel":
            raise ConfigurationError("REDIS_URI leads to a Sentinel: write it as redis+sentinel://host:26379/mymaster")


async def _mode(redis: Redis) -> str | None:
    """Return standalone, cluster or sentinel; None where the server does not tell."""
    try:
        # HELLO tells it to every user, unlike INFO (server.c: ACLs do not apply to commands that need no login).
        hello = await redis.execute_command("HELLO")  # type: ignore[no-untyped-call]
    except ResponseError:
        return None
    fields = hello if isinstance(hello, dict) else dict(zip(hello[::2], hello[1::2], strict=False))
    return str(fields.get("mode"))


def _tls_options(tls: TlsFiles) -> dict[str, str]:
    files = {"ssl_ca_certs": tls.ca_path, "ssl_certfile": tls.cert_path, "ssl_keyfile": tls.key_path}
    return {name: str(path) for name, path in files.items() if path}

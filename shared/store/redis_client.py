"""The connection to Redis: one level of retries, and one translation of errors.

redis-py's own retries are off. They nest (a command, its connect and its ping are each retried separately), so that
nine attempts at a server that accepts connections and never replies became 81, a quarter of an hour; and they treat
rejected credentials as a broken connection. Every command goes through `RedisClient.run` instead. Errors of redis-py
go no further: rejected credentials and denied permissions become a ConfigurationError, everything else a
DependencyLostError.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import tenacity
from redis.asyncio import Redis, RedisError
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.config.redis_address import RedisAddress
from shared.config.tls_files import NO_TLS_FILES, TlsFiles
from shared.model.errors import ConfigurationError, DependencyLostError
from shared.runtime import tls_errors

_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)
_COMMAND = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_CONNECT_TIMEOUT_SECONDS = 5.0
_REPLY_TIMEOUT_SECONDS = 10.0
_PING_TIMEOUT_SECONDS = 2.0
_ATTEMPTS = 9
_MAX_BACKOFF_SECONDS = 2.0
"""With nine attempts an outage of some ten seconds is survived; a longer one ends the process."""

T = TypeVar("T")


class RedisClient:
    """A client of Redis whose commands are retried for some ten seconds, or for `attempts` attempts."""

    def __init__(self, redis: Redis, attempts: int | None = None) -> None:
        self.redis = redis
        self._attempts = attempts or _ATTEMPTS

    async def run(self, operation: str, command: Callable[[Redis], Awaitable[T]]) -> T:
        """Run `command`, which must be harmless to repeat, and return its result; `operation` says what it does.

        Blocks for at most the attempts' time-outs and backoff. Raises ConfigurationError where Redis denies it, else
        DependencyLostError.
        """

        async def attempt() -> T:
            return await command(self.redis)

        with translate_redis_errors(operation):
            retrying = tenacity.AsyncRetrying(
                stop=tenacity.stop_after_attempt(self._attempts),
                retry=tenacity.retry_if_exception(_may_pass),
                wait=tenacity.wait_random_exponential(multiplier=0.1, max=_MAX_BACKOFF_SECONDS),
                reraise=True,
            )
            return await retrying(attempt)

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
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _REPLY_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        # A connection that a firewall dropped looks alive: ping before using one that was idle for this long.
        "health_check_interval": 15,
        "retry": Retry(NoBackoff(), 0),
    }
    options |= _tls_options(tls) if address.tls else {}
    if address.master is None:
        client: Redis = Redis.from_url(uri, **options)
        return client
    options |= {"ssl": True} if address.tls else {}
    options |= {"username": address.username} if address.username else {}
    options |= {"password": address.password} if address.password else {}
    # One attempt at each Sentinel: where it fails, the next one is tried, and only the whole round is repeated.
    sentinel_options = {
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _CONNECT_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(list(address.hosts), sentinel_kwargs=sentinel_options)  # type: ignore[no-untyped-call]
    return sentinel.master_for(address.master, db=address.database, **options)  # type: ignore[no-any-return]


async def connect_redis(uri: str, tls: TlsFiles = NO_TLS_FILES) -> RedisClient:
    """Return a client for `uri` whose server has replied. Blocks for as long as the client's attempts take.

    Raises ConfigurationError where the credentials are rejected, DependencyLostError without a reply.
    """
    client = RedisClient(make_redis(uri, tls))
    await client.run(f"the first contact with {RedisAddress.parse(uri).redacted}", lambda redis: redis.ping())
    return client


@contextmanager
def translate_redis_errors(operation: str) -> Iterator[None]:
    """Translate what redis-py raises in the body into our own errors; `operation` says what was tried."""
    try:
        yield
    except (RedisError, OSError) as error:
        # A pipeline quotes the command with its arguments, which may be personal data.
        text = _COMMAND.sub("", str(error)) or type(error).__name__
        if setting := _setting_to_check(error):
            raise ConfigurationError(f"Redis denied {operation}: {text}; check {setting}") from error
        raise DependencyLostError(f"Redis is unavailable ({operation}): {text}") from error


def _may_pass(error: BaseException) -> bool:
    """Return whether another attempt may succeed. Rejected credentials are a ConnectionError in redis-py, too."""
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError) and not _setting_to_check(error)


def _tls_options(tls: TlsFiles) -> dict[str, str]:
    files = {"ssl_ca_certs": tls.ca_path, "ssl_certfile": tls.cert_path, "ssl_keyfile": tls.key_path}
    return {name: str(path) for name, path in files.items() if path}


def _setting_to_check(error: BaseException) -> str | None:
    """Return which setting to check where credentials, permissions or a certificate were rejected, else None."""
    if tls_errors.untrusted_server_reason(error):
        return "REDIS_CA_PATH"
    if tls_errors.rejected_client_reason(error):
        return "REDIS_CERT_PATH and REDIS_KEY_PATH"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _DENIED):
            return "REDIS_URI and the user's permissions"
        cause = cause.__cause__ or cause.__context__
    return None

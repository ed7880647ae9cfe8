"""The connection to Redis, and how the Lua scripts are called.

Errors of redis-py are translated here and go no further: a refused credential is a ConfigurationError, all else,
after the client's own retries, a DependencyLostError.
"""

import re
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from redis.asyncio import Redis, RedisError
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import ExponentialWithJitterBackoff, NoBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, NoScriptError

from shared import tls_errors
from shared.errors import ConfigurationError, DependencyLostError

SENTINEL_SCHEMES = ("redis+sentinel", "rediss+sentinel")
SCHEMES = ("redis", "rediss", *SENTINEL_SCHEMES)

_REFUSED = (AuthenticationError, AuthorizationError, NoPermissionError)
_COMMAND = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_SENTINEL_PORT = 26379
_CONNECT_TIMEOUT_SECONDS = 5.0
_REPLY_TIMEOUT_SECONDS = 10.0
_ATTEMPTS = 8
"""With pauses up to 2 s: an outage of some ten seconds is ridden out, a longer one ends the process."""


_repeating: ContextVar[bool] = ContextVar("repeating", default=False)


class _Retry(Retry):
    """Repeats what may pass, and not what only a person can mend: to redis-py, refused credentials are a broken line.

    And it repeats at one level only. What redis-py repeats may connect and ping, which it repeats by itself again:
    with a server that takes connections and says nothing, nine attempts became 81, a quarter of an hour.
    """

    async def call_with_retry(
        self,
        do: Callable[[], Awaitable[Any]],
        fail: Callable[..., Any],
        is_retryable: Callable[[Exception], bool] | None = None,
        with_failure_count: bool = False,
    ) -> Any:
        def may_pass(error: Exception) -> bool:
            return not _what_to_check(error) and (is_retryable is None or is_retryable(error))

        if _repeating.get():
            return await do()
        token = _repeating.set(True)
        try:
            return await super().call_with_retry(do, fail, may_pass, with_failure_count)
        finally:
            _repeating.reset(token)


@dataclass(frozen=True)
class RedisTls:
    """Files for TLS, PEM: the authority to trust instead of the public ones, and the client's certificate and key."""

    ca_path: Path | None = None
    cert_path: Path | None = None
    key_path: Path | None = None

    def options(self) -> dict[str, str]:
        """As redis-py wants them."""
        files = {"ssl_ca_certs": self.ca_path, "ssl_certfile": self.cert_path, "ssl_keyfile": self.key_path}
        return {name: str(path) for name, path in files.items() if path}


NO_TLS_FILES = RedisTls()


def make_redis(uri: str, tls: RedisTls = NO_TLS_FILES, attempts: int | None = None) -> Redis:
    """A client for `uri`; connects when first used. The files of `tls` are used where the address asks for TLS.

    What fails is repeated so many times; by default for some ten seconds.

    ``redis://[user:password@]host:port/db``, ``rediss://…`` for TLS, and for Sentinel
    ``redis+sentinel://[user:password@]host:port,host:port/<name of the master>[/db]`` (``rediss+sentinel`` for TLS).
    """
    options: dict[str, Any] = {
        "decode_responses": True,
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _REPLY_TIMEOUT_SECONDS,
        "socket_keepalive": True,
        # A connection that a firewall forgot looks alive: ping before use after this long.
        "health_check_interval": 15,
        "retry": _Retry(ExponentialWithJitterBackoff(base=0.1, cap=2.0), _ATTEMPTS if attempts is None else attempts),
    }
    parts = urlsplit(uri)
    options |= tls.options() if parts.scheme.startswith("rediss") else {}
    if parts.scheme not in SENTINEL_SCHEMES:
        client: Redis = Redis.from_url(uri, **options)
        return client
    options |= {"ssl": True} if parts.scheme.startswith("rediss") else {}
    options |= {"username": unquote(parts.username)} if parts.username else {}
    options |= {"password": unquote(parts.password)} if parts.password else {}
    master, _, database = parts.path.strip("/").partition("/")
    hosts = [_host_and_port(host) for host in parts.netloc.rpartition("@")[2].split(",")]
    # One attempt at each Sentinel: the next one is asked instead, and asking all of them is what gets repeated.
    asking = {
        "socket_connect_timeout": _CONNECT_TIMEOUT_SECONDS,
        "socket_timeout": _CONNECT_TIMEOUT_SECONDS,
        "retry": Retry(NoBackoff(), 0),
    }
    sentinel = Sentinel(hosts, sentinel_kwargs=asking)  # type: ignore[no-untyped-call]
    return sentinel.master_for(master, db=int(database or 0), **options)  # type: ignore[no-any-return]


def _host_and_port(address: str) -> tuple[str, int]:
    host, _, port = address.partition(":")
    return host, int(port or _SENTINEL_PORT)


def _what_to_check(error: BaseException) -> str | None:
    """Which variables to check where credentials, rights or a certificate were refused; None for all else."""
    if tls_errors.distrust(error):
        return "REDIS_CA_PATH"
    if tls_errors.refusal(error):
        return "REDIS_CERT_PATH and REDIS_KEY_PATH"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _REFUSED):
            return "REDIS_URI and the user's rights"
        cause = cause.__cause__ or cause.__context__
    return None


@contextmanager
def redis_errors(doing: str) -> Iterator[None]:
    """Translate what redis-py raises within into our own errors; `doing` says what was tried."""
    try:
        yield
    except (RedisError, OSError) as error:
        # A pipeline names the command with its arguments, which may be anything.
        text = _COMMAND.sub("", str(error)) or type(error).__name__
        if variables := _what_to_check(error):
            raise ConfigurationError(f"Redis refused {doing}: {text}; check {variables}") from error
        raise DependencyLostError(f"Redis is lost ({doing}): {text}") from error


@dataclass(frozen=True)
class Call:
    """A script with its keys and arguments."""

    name: str
    script_keys: Sequence[str]
    arguments: Sequence[str | int]


class Scripts:
    """The Lua scripts of `shared/lua`, one file each, by name."""

    def __init__(self, redis: Redis) -> None:
        self.redis = redis
        files = (resources.files("shared") / "lua").iterdir()
        self._scripts: Mapping[str, Any] = {
            file.name.removesuffix(".lua"): redis.register_script(file.read_text(encoding="utf-8")) for file in files
        }

    async def call(self, name: str, script_keys: Sequence[str], arguments: Sequence[str | int]) -> Any:
        """Run one script and answer what it returns. Its keys and arguments are listed in the file's head."""
        with redis_errors(f"{name} for {script_keys[0]}"):
            # register_script loads a script that the server lost (NOSCRIPT), say after a restart.
            return await self._scripts[name](keys=script_keys, args=arguments)

    async def call_all(self, calls: Sequence[Call]) -> list[Any]:
        """Run several scripts, each by itself, in one round trip; answer what each returns. Raises as `call`.

        When it raises, some may have run: they are all repeated, or given up, which is harmless to repeat.
        """
        with redis_errors(f"{calls[0].name} for {calls[0].script_keys[0]} and others"):
            answers = await self._in_one_round_trip(calls)
            unknown = [number for number, answer in enumerate(answers) if isinstance(answer, NoScriptError)]
            if unknown:
                for name in {calls[number].name for number in unknown}:
                    await self.redis.script_load(self._scripts[name].script)
                again = await self._in_one_round_trip([calls[number] for number in unknown])
                for number, answer in zip(unknown, again, strict=True):
                    answers[number] = answer
            for answer in answers:
                if isinstance(answer, RedisError):
                    raise answer
            return answers

    async def _in_one_round_trip(self, calls: Sequence[Call]) -> list[Any]:
        # Not the scripts' own way into a pipeline: that asks before each one whether the server has them.
        async with self.redis.pipeline(transaction=False) as pipeline:
            for call in calls:
                sha = self._scripts[call.name].sha
                pipeline.evalsha(sha, len(call.script_keys), *call.script_keys, *call.arguments)
            return list(await pipeline.execute(raise_on_error=False))


async def connect_redis(uri: str, tls: RedisTls = NO_TLS_FILES) -> Redis:
    """A client for `uri` whose server has answered. Blocks for as long as the client's attempts take.

    Raises ConfigurationError where the credentials are refused, DependencyLostError without an answer.
    """
    redis = make_redis(uri, tls)
    with redis_errors(f"the first contact with {urlsplit(uri).netloc.rpartition('@')[2]}"):
        await redis.ping()
    return redis

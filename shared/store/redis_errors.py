"""The translation of redis-py's errors into our own, by who is affected. Errors of redis-py go no further.

* Foreign contents of one key, or one key that the user may not access: `UnusableKeyError`. It ends a process only where
  nothing works without that key, such as the lock's; a service's key fails that service, and one that serves only the
  status is ignored.
* Rejected credentials, permissions or certificates: a ConfigurationError as long as this process has changed nothing
  in Redis yet, since its settings are wrong then. Afterwards they were right once, and may be again: a
  DependencyLostError, after which supervisord starts the process again.
* Cluster mode, in which scripts of several keys are rejected: a ConfigurationError.
* Everything else: a DependencyLostError.
"""

import re
from typing import Self

from redis.exceptions import (
    AskError,
    AuthenticationError,
    AuthorizationError,
    ClusterCrossSlotError,
    ClusterDownError,
    MovedError,
    NoPermissionError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.model.errors import ConfigurationError, DependencyLostError, ProcessError
from shared.runtime import tls_errors

_DENIED = (AuthenticationError, AuthorizationError, NoPermissionError)
_CLUSTER = (MovedError, AskError, ClusterDownError, ClusterCrossSlotError)
_WRONG_TYPE = "WRONGTYPE"
_NOT_WRITTEN_BY_US = ("is not an integer", "would overflow", ": attempt to ")
"""A counter that is no number, and what a script says that fails on one (from the sources of Redis and of Lua)."""
_DENIED_IN_SCRIPT = "The user executing the script can't"
_DENIED_KEY = re.compile(r"permissions to access one of the keys|can't access at least one of the keys", re.IGNORECASE)
_COMMAND = re.compile(r"Command # \d+ \(.*\) of pipeline caused error: ", re.DOTALL)
_USER = "REDIS_URI and the user's permissions"


class UnusableKeyError(DependencyLostError):
    """One key cannot be used; everything that does not need it goes on."""

    def __init__(self, key: str, problem: str, server_text: str) -> None:
        super().__init__(f"{key} in Redis {problem}")
        self.key = key
        self.problem = problem
        self.server_text = server_text
        """What the server said, which may name the line of a script."""

    def about(self, key: str) -> Self:
        """Return the same error about another key."""
        return type(self)(key, self.problem, self.server_text)


class ForeignContentError(UnusableKeyError):
    """The key has another type, or other contents, than the importer writes."""


def translate_error(error: Exception, operation: str, key: str, *, is_established: bool) -> ProcessError:
    """Return our own error for what redis-py raised in `operation`, which used `key`.

    `is_established` says whether this process has changed anything in Redis before.
    """
    # A pipeline quotes the command with its arguments, which may be personal data.
    text = _COMMAND.sub("", str(error)) or type(error).__name__
    if isinstance(error, _CLUSTER):
        return cluster_error()
    if is_foreign_content(error):
        return ForeignContentError(key, _foreign_problem(text), text)
    if setting := setting_to_check(error):
        if not is_established:
            return ConfigurationError(f"Redis denied {operation}: {text}; check {setting}")
        if _DENIED_KEY.search(text):
            return UnusableKeyError(key, "is denied to this user: `importer check` names the permission", text)
        return DependencyLostError(f"Redis denied {operation}: {text}; check {setting}")
    return DependencyLostError(f"Redis is unavailable ({operation}): {text}")


def cluster_error() -> ConfigurationError:
    """Return the error for a Redis in cluster mode."""
    return ConfigurationError(
        "Redis is in cluster mode, which is not supported: one script changes several keys, which would be in several "
        "slots. Use a single Redis, with replicas and Sentinel for failover; check REDIS_URI"
    )


def is_foreign_content(error: BaseException) -> bool:
    """Return whether an error concerns what one key holds, and nothing else."""
    text = str(error)
    return isinstance(error, ResponseError) and (
        _WRONG_TYPE in text or any(sign in text for sign in _NOT_WRITTEN_BY_US)
    )


def may_pass(error: BaseException) -> bool:
    """Return whether another attempt may succeed. Rejected credentials are a ConnectionError in redis-py, too."""
    return isinstance(error, RedisConnectionError | RedisTimeoutError | OSError) and not setting_to_check(error)


def setting_to_check(error: BaseException) -> str | None:
    """Return which setting to check where credentials, permissions or a certificate were rejected, else None."""
    if tls_errors.untrusted_server_reason(error):
        return "REDIS_CA_PATH"
    if tls_errors.rejected_client_reason(error):
        return "REDIS_CERT_PATH and REDIS_KEY_PATH"
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, _DENIED) or _DENIED_IN_SCRIPT in str(cause):
            return _USER
        cause = cause.__cause__ or cause.__context__
    return None


def _foreign_problem(text: str) -> str:
    if _WRONG_TYPE in text:
        return "has another type: delete or rename it"
    return "holds something that the importer did not write: delete it"

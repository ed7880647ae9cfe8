"""All errors of the project, as classes named by the reaction to them.

One root, and a branch for each reaction: the process ends with the branch's exit code, or the service has failed for
this run, or the batch is discarded. A loop decides by type, never by the message. Exceptions of client libraries are
translated where they occur (`raise … from`) and never travel further. Errors that only one module raises and catches
are defined there, below the same root.

No message of an error contains a secret or the content of an entity.
"""

from typing import ClassVar


class ImporterError(Exception):
    """The root of all errors of this project."""


class ProcessError(ImporterError):
    """Ends the process with `exit_code`; the message is its last log line, without a traceback."""

    exit_code: ClassVar[int]


class ConfigurationError(ProcessError):
    """A setting is wrong, or NATS or Redis rejected a credential: only a person can fix it, so no restart helps."""

    exit_code = 2


class DependencyLostError(ProcessError):
    """Redis, NATS or the producer's lock is lost: supervisord starts the process again."""

    exit_code = 3


class StuckError(ProcessError):
    """The event loop was stuck, so nothing in this process can be relied on: supervisord starts it again."""

    exit_code = 4


class ServiceFailedError(ImporterError):
    """A service cannot continue in this run. Its ordinal stays; the run continues with the next service."""


class FetchError(ServiceFailedError):
    """SISU returned no usable response, after all attempts that could help."""

    timed_out = False
    """Whether the last attempt took all the time that it may."""


class SisuNoResponseError(FetchError):
    """A request got no response in time, or the connection broke: it says nothing about other services."""


class SisuConnectionError(SisuNoResponseError):
    """No connection to SISU could be made, so the failure has nothing to do with what was requested."""


class SisuUnavailableError(FetchError):
    """SISU requests a longer pause than a run waits: in this run its address gets no further request."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service}: {reason}")
        self.reason = reason
        """The message without the service: it is true of all services at this address."""


class SisuUnauthorizedError(ServiceFailedError):
    """SISU rejected the credentials: in this run no service is requested with them again. The next run tries again."""

    def __init__(self, service: str, reason: str) -> None:
        super().__init__(f"{service}: {reason}")
        self.reason = reason
        """The message without the service: it is true of all services with these credentials."""


class ServiceForbiddenError(ServiceFailedError):
    """SISU returned 403 for a service. The next run requests it again."""


class ExecutionFailedError(ServiceFailedError):
    """A batch was published but could not be settled."""


class SupersededError(ServiceFailedError):
    """The ledger or the ordinal is no longer what this execution started with: it must not change anything."""


class BrokerRejectedError(ServiceFailedError):
    """The broker responds, and rejects a message: its stream or its disk is full, for example."""


class RequestConflictError(ImporterError):
    """An operator's request conflicts with the present state; the message says how, and what would help."""


class ShutdownRequested(Exception):  # noqa: N818 - not an error: a shutdown was requested, and this wait ended for it
    """Raised out of a wait that a shutdown interrupted. Nothing is wrong, and nothing was half done."""

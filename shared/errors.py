"""Everything that can go wrong here, as classes named by the reaction to it.

One root, and a branch for each reaction: the process ends with the branch's exit code, or the service has failed
for this run, or the batch is thrown away. A loop decides by type; nobody reads messages. Exceptions of client
libraries are translated where they are met (`raise … from`) and never travel further.

No message of an error contains a secret or the content of an entity.
"""

from typing import ClassVar


class ImporterError(Exception):
    """The root of all errors of this project."""


class ProcessError(ImporterError):
    """Ends the process with `exit_code`; the message is its last word, in one line, without a traceback."""

    exit_code: ClassVar[int]


class ConfigurationError(ProcessError):
    """A setting is wrong, or a credential was refused: only a person can mend it, so no restart is of use."""

    exit_code = 2


class DependencyLostError(ProcessError):
    """Redis, NATS or the producer's lock is lost: a fresh start, by supervisord, is the way back."""

    exit_code = 3


class StuckError(ProcessError):
    """The event loop stood still, so nothing in this process can be relied on: a fresh start is the way back."""

    exit_code = 4


class ServiceFailedError(ImporterError):
    """A service cannot go on in this run. Its ordinal stays; the run goes on with the next service."""


class FetchError(ServiceFailedError):
    """SISU gave no usable answer, after all attempts that were worth it."""


class SisuUnreachableError(FetchError):
    """Nobody answers at an address of SISU: in this run there is no use in asking it for other services either."""


class SisuAbsentError(SisuUnreachableError):
    """Not even a connection is to be had: what was asked for, and how much of it, has nothing to do with that."""


class ServiceForbiddenError(ServiceFailedError):
    """SISU answered 403: the service is skipped until the process restarts."""


class ExecutionFailedError(ServiceFailedError):
    """A batch was published but could not be settled."""


class SupersededError(ServiceFailedError):
    """The ledger or the ordinal is no longer what this execution began with: it must change nothing any more."""


class Stopped(Exception):  # noqa: N818 - no error: the process was asked to stop, and this wait ended for it
    """Raised out of a wait that the stop flag interrupted. Nothing is wrong, and nothing was half done."""

"""A process from its settings to its exit code.

0: stopped by a signal, or one run fully settled. 1: the run is incomplete, or the process crashed. 2: bad
configuration. 3: a dependency is unavailable. 4: the event loop was stuck.
"""

import asyncio
import os
import resource
import traceback
from collections.abc import Callable, Coroutine

import structlog

from shared.config.settings import SettingsT, read_log_settings, read_settings
from shared.model.errors import ProcessError
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.logging_setup import configure_logging, process_identity
from shared.runtime.shutdown import Stop
from shared.runtime.watchdog import exits_within, watched_loop

log = structlog.get_logger()

CRASHED = 1
LAST_LINE_SECONDS = 10.0
"""For the last line of the log: a full pipe must not keep a process from ending, and so from being started again."""


def run_process(
    name: str,
    kind: type[SettingsT],
    work: Callable[[SettingsT, Stop], Coroutine[None, None, int]],
    grace_seconds: float,
) -> int:
    """Read the settings, run `work` with them to its end, and return its exit code.

    `name` is the kind of process, on each line of the log.

    A ProcessError is logged as one event that says what is wrong, without a traceback. Any other error is a defect: one
    event says where it came from; its text may quote personal data, and is left out. `grace_seconds` is how long the
    work may take to finish once a shutdown is requested.
    """

    async def process(settings: SettingsT) -> int:
        stop = Stop()
        with watched_loop():
            return await stop.run_to_completion(work(settings, stop), grace_seconds)

    # A core file would have the secrets, and personal data.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        log_level, log_format, instance = read_log_settings()  # for errors in the settings themselves
        configure_logging(log_level, log_format, process_identity(name, instance))
        settings = read_settings(kind)
        configure_logging(settings.log_level, settings.log_format, process_identity(name, settings.instance))
        metrics.describe_build(settings.instance)
        return asyncio.run(process(settings))
    except ProcessError as error:
        with exits_within(LAST_LINE_SECONDS, error.exit_code):
            log.error(Event.PROCESS_FAILED, reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the last handler of the process
        places = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        reason = type(error).__name__
        if isinstance(error, OSError) and error.errno:  # of the machine, such as a full disk
            reason += f": {os.strerror(error.errno)}"
        with exits_within(LAST_LINE_SECONDS, CRASHED):
            log.critical(Event.CRASHED, reason=reason, places=places, exit_code=CRASHED)
        return CRASHED

"""A process from its settings to its exit code.

0: asked to stop, or one run fully settled. 1: the run is incomplete, or the process crashed. 2: bad configuration. 3: a
dependency is lost. 4: the event loop was stuck.
"""

import asyncio
import os
import traceback
from collections.abc import Callable, Coroutine

import structlog

from shared.errors import ProcessError
from shared.events import Event
from shared.log import configure_logging
from shared.settings import AnySettings, read_settings
from shared.stop import Stop
from shared.watchdog import watched_loop

log = structlog.get_logger()

CRASHED = 1


def run_process(
    kind: type[AnySettings], work: Callable[[AnySettings, Stop], Coroutine[None, None, int]], grace_seconds: float
) -> int:
    """Read the settings, run `work` with them to its end, and answer its exit code.

    A ProcessError is the last word of a process: one event that says what is wrong, and no traceback. Of any other
    error, a defect, one event says where it came from; what it says may quote personal data, and is left out.
    `grace_seconds` is what the work may take to finish once it is asked to stop.
    """

    async def process(settings: AnySettings) -> int:
        stop = Stop()
        with watched_loop():
            return await stop.finish(work(settings, stop), grace_seconds)

    try:
        settings = read_settings(kind)
        configure_logging(settings.log_level, settings.log_format)
        return asyncio.run(process(settings))
    except ProcessError as error:
        log.error(Event.FAILED, reason=str(error), exit_code=error.exit_code)
        return error.exit_code
    except Exception as error:  # noqa: BLE001 - the end of the process
        places = [
            f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(error.__traceback__)
        ]
        reason = type(error).__name__
        if isinstance(error, OSError) and error.errno:  # of the machine, which may be all that is wrong
            reason += f": {os.strerror(error.errno)}"
        log.critical(Event.CRASHED, reason=reason, places=places, exit_code=CRASHED)
        return CRASHED

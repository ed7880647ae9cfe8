"""Logging: one event per line, on stdout, JSON for machines or text for a terminal.

Events are named in `events.py`. What identifies the process is on every line, and what is bound by
`structlog.contextvars` (run, service, execution) on those written while it is bound. No event carries the content of an
entity, the error text of a mankeli, or a secret: callers pass identities, counts and reasons.
"""

import logging
import os
import socket
import sys
from collections.abc import Mapping
from typing import Any

import structlog

from shared.config.settings import LogFormat, LogLevel
from shared.runtime.printable import escape_unprintable
from shared.runtime.version import VERSION


def process_identity(process: str, instance: str) -> dict[str, str | int]:
    """Return the fields that tell apart the processes whose lines end up in one place."""
    named = {"instance": instance} if instance else {}
    return {"process": process, "host": socket.gethostname(), "pid": os.getpid(), "version": VERSION, **named}


def configure_logging(
    level: LogLevel, log_format: LogFormat | None, identity: Mapping[str, str | int] | None = None
) -> None:
    """Set up logging for the process. Without a format: text on a terminal, JSON otherwise.

    The fields of `identity` are on every line; an event's own fields of the same name have precedence.
    """
    fields = dict(identity or {})

    def add_identity(_: Any, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        return {**fields, **event}

    as_json = log_format == "json" or (log_format is None and not sys.stdout.isatty())
    renderers: list[structlog.typing.Processor] = (
        [structlog.processors.JSONRenderer(ensure_ascii=False), _escape_line]
        if as_json
        else [_escape_values, structlog.dev.ConsoleRenderer()]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            add_identity,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # A file that flushes by line, so that a crash loses no line even where PYTHONUNBUFFERED is not set.
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    # Client libraries log through the standard library; nats-py would print tracebacks there, urllib3 whole addresses.
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stdout, force=True)


def _escape_line(_: object, __: str, line: Any) -> str:
    return escape_unprintable(str(line))


def _escape_values(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    return {name: escape_unprintable(value) if isinstance(value, str) else value for name, value in event.items()}

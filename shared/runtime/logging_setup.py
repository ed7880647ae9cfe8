"""Logging: one event per line, on stdout, JSON for machines or text for a terminal.

Events are named in `events.py`. What is bound by `structlog.contextvars` (run, service, execution) is on every line
written while it is bound. No event carries the content of an entity, the error text of a mankeli, or a secret:
callers pass identities, counts and reasons.
"""

import logging
import sys

import structlog

from shared.config.settings import LogFormat, LogLevel


def configure_logging(level: LogLevel, log_format: LogFormat | None) -> None:
    """Set up logging for the process. Without a format: text on a terminal, JSON otherwise."""
    as_json = log_format == "json" or (log_format is None and not sys.stdout.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer(ensure_ascii=False) if as_json else structlog.dev.ConsoleRenderer()
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level]),
        # A file that flushes by line, so that a crash loses no line even where PYTHONUNBUFFERED is not set.
        logger_factory=structlog.WriteLoggerFactory(sys.stdout),
        cache_logger_on_first_use=True,
    )
    # Client libraries log through the standard library; nats-py would print tracebacks there, urllib3 whole addresses.
    logging.basicConfig(level=logging.CRITICAL, stream=sys.stdout, force=True)

"""Everything that Redis knows of an installation, read for the status in a few round trips."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from redis.asyncio.client import Pipeline

from shared.model import keys
from shared.model.records import AuditNote, ProcessRecord, RunRecord, ServiceHistory, decode, decode_all, decode_pause
from shared.model.services import Service
from shared.store.heartbeat import read_processes
from shared.store.redis_client import RedisClient

_NUMBER = re.compile(r"[0-9]{1,19}", re.ASCII)
"""Python does not convert a text of thousands of digits, which could be in a key that was set by hand."""


@dataclass(frozen=True)
class LedgerCounts:
    """The counters of one service. None where the key is missing or not a number."""

    outstanding_chunks: int
    ordinal: int | None
    scheduled: int | None
    updated: int | None
    failed: int | None


@dataclass(frozen=True)
class ImportState:
    """What Redis has of an installation at one moment."""

    processes: Sequence[ProcessRecord]
    is_locked: bool
    """Whether a producer holds the lock."""
    paused: AuditNote | None
    runs: Sequence[RunRecord]
    """Ended runs, newest first, one of each id."""
    histories: Mapping[str, ServiceHistory]
    ledgers: Mapping[str, LedgerCounts]
    """By the service's name."""


async def read_import_state(client: RedisClient, services: Sequence[Service]) -> ImportState:
    """Read the state of an installation with these services. Raises DependencyLostError or ConfigurationError."""
    processes = await read_processes(client)

    def queue(pipeline: Pipeline) -> None:
        pipeline.exists(keys.PRODUCER_LOCK)
        pipeline.get(keys.PAUSED)
        pipeline.lrange(keys.RUNS, 0, -1)
        pipeline.hgetall(keys.SERVICES)
        for service in services:
            key = keys.ServiceKeys(service.key)
            pipeline.mget(key.ordinal, key.scheduled, key.updated, key.failed)
            pipeline.hlen(key.chunks)

    used = [keys.PRODUCER_LOCK, keys.PAUSED, keys.RUNS, keys.SERVICES]
    for service in services:
        used += [service.key, keys.ServiceKeys(service.key).chunks]
    replies = await client.run_pipeline_ignoring("reading the state of the import", queue, used)
    locked, paused, runs, histories, *ledgers = replies
    decoded = [run for text in runs or [] if (run := decode(RunRecord, text))]
    counters, outstanding = ledgers[::2], ledgers[1::2]
    return ImportState(
        processes=processes,
        is_locked=bool(locked),
        paused=decode_pause(paused),
        runs=list({run.run_id: run for run in decoded}.values()),
        histories=decode_all(ServiceHistory, histories),
        ledgers={
            service.name: LedgerCounts(chunks or 0, *map(_number, numbers))
            for service, numbers, chunks in zip(services, counters, outstanding, strict=True)
        },
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and _NUMBER.fullmatch(text) else None

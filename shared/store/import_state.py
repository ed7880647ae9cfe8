"""Everything that Redis knows of an installation, read for the status in a few round trips."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis

from shared.model import keys
from shared.model.records import AuditNote, ProcessRecord, RunRecord, ServiceHistory, decode, decode_all, decode_pause
from shared.model.services import Service
from shared.store.heartbeat import read_processes
from shared.store.redis_client import RedisClient


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

    async def read(redis: Redis) -> list[Any]:
        async with redis.pipeline(transaction=False) as pipeline:
            pipeline.exists(keys.PRODUCER_LOCK)
            pipeline.get(keys.PAUSED)
            pipeline.lrange(keys.RUNS, 0, -1)
            pipeline.hgetall(keys.SERVICES)
            for service in services:
                key = keys.ServiceKeys(service.key)
                pipeline.mget(key.ordinal, key.scheduled, key.updated, key.failed)
                pipeline.hlen(key.chunks)
            return list(await pipeline.execute())

    locked, paused, runs, histories, *ledgers = await client.run("reading the state of the import", read)
    decoded = [run for text in runs if (run := decode(RunRecord, text))]
    counters, outstanding = ledgers[::2], ledgers[1::2]
    return ImportState(
        processes=processes,
        is_locked=bool(locked),
        paused=decode_pause(paused),
        runs=list({run.run_id: run for run in decoded}.values()),
        histories=decode_all(ServiceHistory, histories),
        ledgers={
            service.name: LedgerCounts(chunks, *map(_number, numbers))
            for service, numbers, chunks in zip(services, counters, outstanding, strict=True)
        },
    )


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None

"""One measurement each: a run of the producer, the bare loop, a pile of feedback, a start. Seconds and entities out."""

import asyncio
import os
import signal
import time
from dataclasses import dataclass, field

import nats
import orjson
import requests
from redis.asyncio import Redis

from benchmarks.pages import FULL_PATH
from benchmarks.world import PagesProgram, Program, World, at, memory_mb, processor_seconds
from shared import keys
from shared.ledger import Ledger
from shared.redis_client import Scripts
from shared.services import load_services

SERVICE = "PERSON"
_SAMPLE_SECONDS = 0.25


@dataclass(frozen=True)
class Import:
    """One whole import, from its first request to SISU to its last ordinal. Start-up is not in it."""

    entities: int
    seconds: float
    producer_peak_mb: float
    collector_peak_mb: float
    processor_seconds: dict[str, float]
    """By process. That of the producer has its start-up in it."""
    memory_mb: list[tuple[float, float, float]] = field(default_factory=list)
    """(seconds since the start, of the producer, of the collector), as it went."""

    @property
    def rate(self) -> float:
        """Entities a second."""
        return self.entities / self.seconds


def run_import(
    world: World, pages: PagesProgram, collectors: list[Program], mankeli: Program, **variables: object
) -> Import:
    """One import of everything that `pages` has, by a producer of its own."""
    world.clean()
    pages.asked()
    pids = {
        "nats-server": world.nats.pid,
        "redis-server": world.redis_server.pid,
        "ack_collector": collectors[0].process.pid,
        "null mankeli": mankeli.process.pid,
        "pages": pages.program.process.pid,
    }
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    samples = []
    with world.program("producer", "--once", SERVICES=SERVICE, **pages.variables | variables) as producer:
        started = time.monotonic()
        while not producer.has('"run_finished"'):
            producer.still_runs()
            samples.append(
                (
                    time.monotonic() - started,
                    memory_mb(producer.process.pid, "VmRSS"),
                    memory_mb(collectors[0].process.pid, "VmRSS"),
                )
            )
            producer.wait_a_little('"run_finished"', _SAMPLE_SECONDS)
        used = {"producer": processor_seconds(producer.process.pid)}
    [finished] = producer.events("service_finished")
    used |= {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
    first_asked = pages.asked()[0][1]
    return Import(
        finished["entities"],
        at(finished) - first_asked,
        producer.peak_mb,
        memory_mb(collectors[0].process.pid),
        used,
        samples,
    )


def run_bare(world: World, pages: PagesProgram, mode: str, **variables: object) -> float:
    """Entities a second of the bare loop."""
    world.clean()
    with world.program("benchmarks.bare", "--mode", mode, SERVICES=SERVICE, **pages.variables | variables) as bare:
        figures = orjson.loads(bare.wait_for('"entities"'))
    return float(figures["entities"] / figures["seconds"])


def settle_pile(world: World, collectors: list[Program], chunks: int) -> float:
    """Feedback a second: a pile of it waits when the collectors are let loose."""
    world.clean()
    for collector in collectors:
        os.kill(collector.process.pid, signal.SIGSTOP)
    expected = asyncio.run(_pile_up(world, chunks))
    services = load_services()
    updated = [f"{service.key}_UPDATED" for service in services]
    started = time.monotonic()
    for collector in collectors:
        os.kill(collector.process.pid, signal.SIGCONT)
    while sum(int(value or 0) for value in world.redis.mget(updated)) < expected:
        collectors[0].still_runs()
        time.sleep(0.005)
    return expected / (time.monotonic() - started)


async def _pile_up(world: World, chunks: int) -> int:
    """Begin an execution of so many chunks in each service, and report them all."""
    execution = "a" * 24
    redis: Redis = Redis.from_url(world.redis_server.uri, decode_responses=True)
    scripts = Scripts(redis)
    client = await nats.connect(world.nats.uri)
    services = load_services()
    for service in services:
        await Ledger(scripts, service.key).begin(execution, 0, {str(number): 1 for number in range(chunks)})
    for number in range(chunks):
        for service in services:
            feedback = {"status": "OK", "executionHash": execution, "chunkId": str(number), "amount": 1}
            await client.publish(keys.FEEDBACK_SUBJECT, orjson.dumps(feedback | {"channel": service.channel}))
        await client.flush()
    expected = chunks * len(services)
    while (await client.jetstream().stream_info(keys.FEEDBACK_STREAM)).state.messages < expected:
        await client.flush()
    await client.close()
    await redis.aclose()
    return expected


def seconds_to_first_publish(world: World, pages: PagesProgram) -> float:
    """From the start of the process `python -m producer` to its first chunk at the broker."""
    world.clean()
    return asyncio.run(_first_publish(world, pages))


async def _first_publish(world: World, pages: PagesProgram) -> float:
    client = await nats.connect(world.nats.uri)
    subscription = await client.subscribe("ORI_PERSON_CHANNEL")
    await client.flush()
    started = time.monotonic()
    with world.program("producer", "--once", SERVICES=SERVICE, **pages.variables):
        await subscription.next_msg(timeout=30)
        seconds = time.monotonic() - started
    await client.close()
    return seconds


@dataclass(frozen=True)
class EmptyRun:
    """A run over all services that finds nothing new."""

    seconds: float
    requests: int


def empty_runs(world: World, pages: PagesProgram, number: int) -> list[EmptyRun]:
    """The first run of a producer, which has one-time services in it, and `number` hourly ones."""
    world.clean()
    pages.asked()
    with world.program("producer", CRON="* * * * * *", **pages.variables) as producer:
        while len(producer.events("run_finished")) <= number:
            producer.still_runs()
            time.sleep(0.1)
        asked = pages.asked()
    runs = zip(producer.events("run_started"), producer.events("run_finished"), strict=False)
    spans = [(at(started), at(finished)) for started, finished in runs]
    return [EmptyRun(end - start, sum(start <= when <= end for _, when in asked)) for start, end in spans]


def seconds_per_request(pages: PagesProgram, number: int = 20) -> float:
    """What one request for an empty page takes, one after another on one connection."""
    with requests.Session() as session:
        address = pages.uri + FULL_PATH.replace("persons", "nobody")
        session.get(address, params={"since": 0, "limit": 1000}, timeout=30)
        started = time.monotonic()
        for _ in range(number):
            session.get(address, params={"since": 0, "limit": 1000}, timeout=30)
        return (time.monotonic() - started) / number

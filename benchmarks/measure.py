"""Single measurements: a run of the producer, the baseline loop, a backlog of feedback, a start."""

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
from benchmarks.rig import BenchmarkProcess, BenchmarkRig, PagesProcess, memory_mb, parse_timestamp, processor_seconds
from shared.model import keys
from shared.model.services import load_services
from shared.store.ledger import Ledger
from shared.store.redis_client import RedisClient
from shared.store.scripts import Scripts

SERVICE = "PERSON"
_SAMPLE_SECONDS = 0.25
_RUN_FINISHED = '"run_finished"'


@dataclass(frozen=True)
class Import:
    """One whole import, from its first request to SISU to its last ordinal, without the start-up."""

    entities: int
    seconds: float
    producer_peak_mb: float
    collector_peak_mb: float
    processor_seconds: dict[str, float]
    """By process. The producer's includes its start-up."""
    memory_mb: list[tuple[float, float, float]] = field(default_factory=list)
    """Samples over time: (seconds since the start, of the producer, of the collector)."""

    @property
    def rate(self) -> float:
        """Entities per second."""
        return self.entities / self.seconds


def run_import(
    rig: BenchmarkRig,
    pages: PagesProcess,
    collectors: list[BenchmarkProcess],
    mankeli: BenchmarkProcess,
    **variables: object,
) -> Import:
    """Import everything that `pages` has, with a producer of its own."""
    rig.clean()
    pages.take_requests()
    pids = {
        "nats-server": rig.nats.pid,
        "redis-server": rig.redis_server.pid,
        "ack_collector": collectors[0].pid,
        "null mankeli": mankeli.pid,
        "pages": pages.process.pid,
    }
    before = {name: processor_seconds(pid) for name, pid in pids.items()}
    with rig.run_module("producer", "--once", SERVICES=SERVICE, **pages.variables | variables) as producer:
        samples = _sample_memory(producer, collectors[0])
        used = {"producer": processor_seconds(producer.pid)}
    [finished] = producer.events("service_finished")
    used |= {name: processor_seconds(pid) - before[name] for name, pid in pids.items()}
    _, first_request_at = pages.take_requests()[0]
    return Import(
        finished["entities"],
        parse_timestamp(finished) - first_request_at,
        producer.peak_mb,
        memory_mb(collectors[0].pid),
        used,
        samples,
    )


def _sample_memory(producer: BenchmarkProcess, collector: BenchmarkProcess) -> list[tuple[float, float, float]]:
    """Sample the resident memory of both processes until the run is finished, and return the samples."""
    samples = []
    started = time.monotonic()
    while not producer.has(_RUN_FINISHED):
        producer.require_running()
        seconds = time.monotonic() - started
        samples.append((seconds, memory_mb(producer.pid, "VmRSS"), memory_mb(collector.pid, "VmRSS")))
        producer.wait_up_to(_SAMPLE_SECONDS, _RUN_FINISHED)
    return samples


def run_baseline(rig: BenchmarkRig, pages: PagesProcess, mode: str, **variables: object) -> float:
    """Return the entities per second of the baseline loop."""
    rig.clean()
    with rig.run_module(
        "benchmarks.baseline", "--mode", mode, SERVICES=SERVICE, **pages.variables | variables
    ) as baseline:
        figures = orjson.loads(baseline.wait_for('"entities"'))
    return float(figures["entities"] / figures["seconds"])


def settle_backlog(rig: BenchmarkRig, collectors: list[BenchmarkProcess], chunks: int) -> float:
    """Return the feedback per second with which collectors settle a backlog."""
    rig.clean()
    for collector in collectors:
        os.kill(collector.pid, signal.SIGSTOP)
    expected = asyncio.run(_build_backlog(rig, chunks))
    services = load_services()
    updated = [f"{service.key}_UPDATED" for service in services]
    started = time.monotonic()
    for collector in collectors:
        os.kill(collector.pid, signal.SIGCONT)
    while sum(int(value or 0) for value in rig.redis.mget(updated)) < expected:
        collectors[0].require_running()
        time.sleep(0.005)
    return expected / (time.monotonic() - started)


async def _build_backlog(rig: BenchmarkRig, chunks: int) -> int:
    """Begin an execution of `chunks` chunks in each service, report them all, and return the number of reports."""
    execution = "a" * 24
    redis: Redis = Redis.from_url(rig.redis_server.uri, decode_responses=True)
    scripts = Scripts(RedisClient(redis))
    client = await nats.connect(rig.nats.uri)
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


def seconds_to_first_publish(rig: BenchmarkRig, pages: PagesProcess) -> float:
    """Return the time from the start of `python -m producer` to its first chunk at the broker."""
    rig.clean()
    return asyncio.run(_first_publish(rig, pages))


async def _first_publish(rig: BenchmarkRig, pages: PagesProcess) -> float:
    client = await nats.connect(rig.nats.uri)
    subscription = await client.subscribe("ORI_PERSON_CHANNEL")
    await client.flush()
    started = time.monotonic()
    with rig.run_module("producer", "--once", SERVICES=SERVICE, **pages.variables):
        await subscription.next_msg(timeout=30)
        seconds = time.monotonic() - started
    await client.close()
    return seconds


@dataclass(frozen=True)
class EmptyRun:
    """A run over all services that finds nothing new."""

    seconds: float
    requests: int


def empty_runs(rig: BenchmarkRig, pages: PagesProcess, number: int) -> list[EmptyRun]:
    """Return the first run of a producer, which includes one-time services, and `number` later ones."""
    rig.clean()
    pages.take_requests()
    with rig.run_module("producer", CRON="* * * * * *", **pages.variables) as producer:
        while len(producer.events("run_finished")) <= number:
            producer.require_running()
            time.sleep(0.1)
        logged = pages.take_requests()
    runs = zip(producer.events("run_started"), producer.events("run_finished"), strict=False)
    spans = [(parse_timestamp(started), parse_timestamp(finished)) for started, finished in runs]
    return [EmptyRun(end - start, sum(start <= at <= end for _, at in logged)) for start, end in spans]


def seconds_per_request(pages: PagesProcess, number: int = 20) -> float:
    """Return the time of a request for an empty page, measured over `number` requests on one connection."""
    with requests.Session() as session:
        url = pages.uri + FULL_PATH.replace("persons", "others")
        session.get(url, params={"since": 0, "limit": 1000}, timeout=30)
        started = time.monotonic()
        for _ in range(number):
            session.get(url, params={"since": 0, "limit": 1000}, timeout=30)
        return (time.monotonic() - started) / number

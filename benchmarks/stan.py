"""What the second hop costs: the importer over STAN, against a bare publisher of STAN, with the same workers.

The bare publisher does what any importer for these workers must: it announces a batch in Redis, publishes its chunks to
STAN, and waits for the reports. It has its pages in memory, and keeps no ledger.
"""

import asyncio
import contextlib
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from secrets import token_hex
from typing import Any

import msgspec
import requests
from redis.asyncio import Redis

from benchmarks.measure import SERVICE, run_import
from benchmarks.pages import FULL_PATH
from benchmarks.rig import BenchmarkProcess, BenchmarkRig, PagesProcess
from demo.servers.processes import StanServer
from demo.servers.specs import ServerError
from shared.broker.stan.session import StanDelivery, StanIdentity, StanSession
from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from shared.model import keys
from shared.model.messages import Entity, encode_chunk
from shared.model.services import find_service, load_services
from stan_bridge.messages import parse_report

ENTITIES = 20_000
WORKERS = 2
_BATCH, _CHUNK = 1000, 100


class _Page(msgspec.Struct):
    entities: list[Entity]
    hasMore: bool  # noqa: N815 - SISU's names
    greatestOrdinal: int  # noqa: N815


def measure(rig: BenchmarkRig, repetitions: int) -> dict[str, Any]:
    """Return entities per second of both, in turns; empty where there is no nats-streaming-server."""
    try:
        server = StanServer()
    except ServerError:
        return {}
    bare, importer = [], []
    with server as stan, rig.without_mankelis(), rig.pages("--entities", ENTITIES) as pages:
        variables = {"STAN_URI": stan.uri, "STAN_BRIDGE_PORT": 0}
        with rig.collectors(1) as collectors, _workers(rig, variables) as workers:
            batches = _read_batches(pages)
            for _ in range(repetitions):
                bare.append(ENTITIES / asyncio.run(_publish_bare(rig, stan.uri, batches)))
                with rig.run_module("stan_bridge", **variables) as bridge:
                    bridge.wait_for('"started"')
                    importer.append(run_import(rig, pages, collectors, workers[0]).rate)
    return {"bare": bare, "importer": importer}


@contextlib.contextmanager
def _workers(rig: BenchmarkRig, variables: dict[str, object]) -> Iterator[list[BenchmarkProcess]]:
    """Run workers that store into SQLite, subscribed, during the body."""
    rig.redis.set(keys.CURRENT_EXECUTION_HASH, "none")
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="importer-bench-")))
        workers = []
        for number in range(WORKERS):
            arguments = ("--db", folder / "store.sqlite", "--client-id", f"worker-{number}")
            workers.append(stack.enter_context(rig.run_module("demo.stan_mankeli", *arguments, **variables)))
            workers[-1].wait_for("subscribed")
        yield workers


def _read_batches(pages: PagesProcess) -> list[list[Entity]]:
    batches: list[list[Entity]] = []
    since = 0
    while True:
        response = requests.get(f"{pages.uri}{FULL_PATH}", {"since": since, "limit": _BATCH}, timeout=30)
        page = msgspec.json.decode(response.content, type=_Page)
        batches.append(page.entities)
        since = page.greatestOrdinal
        if not page.hasMore:
            return batches


async def _publish_bare(rig: BenchmarkRig, stan_uri: str, batches: Sequence[Sequence[Entity]]) -> float:
    """Send all batches, one in flight, and return the seconds that took."""
    service = find_service(load_services(), SERVICE)
    assert service
    login = NatsLogin(NatsAddress.parse(stan_uri))
    session = await StanSession.connect(login, StanIdentity("importer-nats", "bare", "stan_bridge"))
    redis: Redis = Redis.from_url(rig.redis_server.uri)
    stored, done, size = 0, asyncio.Event(), 0

    async def count(delivery: StanDelivery) -> None:
        nonlocal stored
        await delivery.acknowledge()
        stored += parse_report(delivery.data).amount
        if stored >= size:
            done.set()

    await session.subscribe(keys.FEEDBACK_SUBJECT, count)
    started = time.monotonic()
    for entities in batches:
        execution, stored, size = token_hex(12), 0, len(entities)
        done.clear()
        await redis.set(keys.CURRENT_EXECUTION_HASH, execution)
        await redis.publish(keys.CURRENT_EXECUTION_HASH, execution)
        chunks = [entities[start : start + _CHUNK] for start in range(0, len(entities), _CHUNK)]
        await asyncio.gather(
            *(
                session.publish(service.channel, encode_chunk(execution, str(number), chunk))
                for number, chunk in enumerate(chunks)
            )
        )
        await done.wait()
    seconds = time.monotonic() - started
    await session.close()
    await redis.aclose()
    return seconds

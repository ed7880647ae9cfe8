"""The composition root of the producer: builds its parts, makes runs, and takes the parts down in order.

Order of shutting down: the batch in flight is settled first, or given up after the grace; then the lock is given
back, so that a stand-by takes over at once; then the connections are closed.
"""

from argparse import ArgumentParser
from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from datetime import datetime
from functools import partial

import structlog

from operating.web import Explorer
from producer.batch import BatchImporter
from producer.control import Control
from producer.execution import Patience, Why
from producer.feed import Feed
from producer.journal import Journal
from producer.lock import LIFE_SECONDS, ProducerLock
from producer.page_size import PageSize
from producer.post_update import PostUpdate
from producer.publisher import Publisher
from producer.retry import DeadLetterRetrier
from producer.runner import Runner
from producer.schedule import Woken, next_due, wait_until_due
from producer.sisu import CodebookCache, SisuClient
from producer.wakeup import Wakeup
from shared import metrics
from shared.broker import Broker
from shared.errors import DependencyLostError, Stopped
from shared.events import Event
from shared.heartbeat import Heartbeat
from shared.http_server import Health, listen, make_app, port_of, serving
from shared.keys import ServiceKeys
from shared.ledger import Ledger
from shared.messages import DeadLetterReason
from shared.process import run_process
from shared.redis_client import Scripts, connect_redis
from shared.settings import ProducerSettings
from shared.stop import Stop

log = structlog.get_logger()

STOP_GRACE_SECONDS = 30.0
"""For the batch in flight; one that is not settled by then is fetched again at the next start."""

_SETTLED = _ASKED_TO_STOP = 0
_INCOMPLETE = 1


async def produce(settings: ProducerSettings, stop: Stop, *, once: bool) -> int:
    """Make one run, or runs until asked to stop. Answers the exit code, raises ProcessError."""
    services = settings.chosen_services()
    channels = [service.channel for service in settings.service_table()]
    async with AsyncExitStack() as stack:
        redis = await connect_redis(settings.redis_uri.get_secret_value(), settings.redis_tls())
        stack.push_async_callback(redis.aclose)
        broker = await Broker.connect(settings, channels, "producer", stop)
        stack.push_async_callback(broker.close)
        scripts = Scripts(redis)
        publisher = Publisher(broker)
        wakeup = Wakeup(redis, [ServiceKeys(service.key).progress for service in services])
        patience = Patience(settings.panic_timeout_seconds, settings.update_retry_limit, settings.dead_letter_limit)
        importer = BatchImporter(publisher, wakeup, patience, settings.max_chunk_size)
        metrics.STILL_SECONDS.set_function(importer.still_seconds)
        _begin_metrics([service.name for service in services])
        sisu = SisuClient(settings, CodebookCache(redis))
        control = Control(redis)
        journal = Journal(redis, importer, sisu, settings.panic_timeout_seconds)
        ledgers = {service: Ledger(scripts, service.key) for service in services}
        lock = ProducerLock(scripts)
        feed = Feed(sisu, PageSize(settings.fetch_amount, settings.fetch_amount_max or settings.fetch_amount))
        runner = Runner(ledgers, sisu, feed, importer, PostUpdate(scripts, publisher), lock, control, journal, stop)
        retrier = DeadLetterRetrier(ledgers, sisu, importer, broker, control, stop)
        listener = listen(settings.http_host, [settings.port])
        explorer = Explorer.over(scripts, broker, settings)
        app = make_app(Health(redis, broker, lambda: importer.is_progressing), explorer.routes())
        await stack.enter_async_context(stop.background(explorer.live.run()))
        await stack.enter_async_context(serving(app, listener, stop))
        heartbeat = Heartbeat(scripts, "producer", journal.state, port_of(listener), journal.changed)
        await stack.enter_async_context(heartbeat.beating(stop))
        log.info(Event.STARTED, process="producer", services=len(services))
        # With --once: long enough for the lock of a producer that died to expire.
        if not await lock.acquire(stop, 2 * LIFE_SECONDS if once else None):
            return _never_active(stop)
        stack.push_async_callback(_release, lock)
        journal.phase("fetching")
        metrics.ACTIVE.set(1)
        await journal.recall(services)
        await control.look()
        async with stop.background(lock.keep(), wakeup.listen(), control.listen()):
            await runner.forget_one_time_services()
            with suppress(Stopped):
                if once:
                    return _SETTLED if await runner.run("start") else _INCOMPLETE
                await _make_runs(runner, retrier, control, journal, settings, stop)
    log.info(Event.STOPPED, process="producer")
    return _ASKED_TO_STOP


async def _make_runs(
    runner: Runner,
    retrier: DeadLetterRetrier,
    control: Control,
    journal: Journal,
    settings: ProducerSettings,
    stop: Stop,
) -> None:
    """Make a run now, and then whenever one is due or an operator wishes for one, until asked to stop."""
    await runner.run("start")
    due = _next_due(settings)
    while True:
        journal.phase("idle", next_run_at=due)
        woken = await wait_until_due(due, settings.cron, settings.timezone, stop, lambda: control.wishes)
        if woken is Woken.STOPPED:
            return
        journal.phase("retrying")
        await retrier.work_off()
        names = await control.take_run()
        if woken is Woken.DUE:
            await runner.run("cron")
        elif names and (ours := runner.known(names)):
            await runner.run("request", ours)
        else:
            continue
        due = _next_due(settings)


def _next_due(settings: ProducerSettings) -> datetime:
    due = next_due(settings.cron, datetime.now(settings.timezone))
    log.info(Event.WAITING_FOR_CRON, due=due.astimezone(settings.timezone).isoformat())
    return due


def _never_active(stop: Stop) -> int:
    if stop.requested:
        return _ASKED_TO_STOP
    log.error(Event.FAILED, reason="another producer is active: it holds the lock", exit_code=_INCOMPLETE)
    return _INCOMPLETE


def _begin_metrics(services: Sequence[str]) -> None:
    """Show what matters the first time it happens, before it does."""
    metrics.begin_at_zero(metrics.ENTITIES, services)
    metrics.begin_at_zero(metrics.BATCHES, services, ["advanced", "superseded"])
    metrics.begin_at_zero(metrics.CHUNKS, services, Why)
    metrics.begin_at_zero(metrics.DEAD_LETTERS, services, DeadLetterReason)
    metrics.begin_at_zero(metrics.SERVICE_FAILURES, services)
    metrics.begin_at_zero(metrics.RUNS, ["complete", "incomplete"])


async def _release(lock: ProducerLock) -> None:
    with suppress(DependencyLostError):  # then it expires
        await lock.release()


def main() -> int:
    """Run the producer; answers the exit code."""
    parser = ArgumentParser(
        prog="python -m producer", description="Import what changed in SISU. Settings: environment."
    )
    parser.add_argument("--once", action="store_true", help="make one run, then exit: 0 fully settled, 1 incomplete")
    arguments = parser.parse_args()
    return run_process(ProducerSettings, partial(produce, once=arguments.once), STOP_GRACE_SECONDS)

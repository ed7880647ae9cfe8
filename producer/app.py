"""The composition root of the producer: build its parts, then run them in three phases, and take them down in order.

Order of shutting down: the current batch is settled first, or given up after the grace period; then the lock is
released, so that a stand-by takes over at once; then the connections are closed.
"""

from collections.abc import Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime

import structlog
from starlette.applications import Starlette

from admin.web.app import EXCEPTION_HANDLERS, Dashboard
from producer.batch.execution import ExecutionLimits, PublishReason
from producer.batch.importer import BatchImporter
from producer.batch.progress_listener import ProgressListener
from producer.batch.publisher import Publisher
from producer.control.checkpoint import Checkpoint
from producer.control.dead_letter_retrier import DeadLetterRetrier
from producer.control.lock import TTL_SECONDS, ProducerLock
from producer.control.schedule import WakeReason, next_due, wait_until_due
from producer.run.adaptive_page_size import AdaptivePageSize
from producer.run.history import RunHistory
from producer.run.observer import RunObserver
from producer.run.post_update import PostUpdate
from producer.run.prefetcher import Prefetcher
from producer.run.runner import Runner
from producer.run.service_importer import ServiceImporter
from shared.broker.connection import Broker
from shared.config.settings import ProducerSettings
from shared.model.dead_letter import DeadLetterReason
from shared.model.errors import DependencyLostError, ShutdownRequested
from shared.model.keys import ServiceKeys
from shared.model.services import Service
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.http_server import Health, health_routes, http_app, listen, port_of, serving
from shared.runtime.shutdown import Stop
from shared.sisu.client import SisuClient
from shared.store.bounded_client import BoundedRedisClient
from shared.store.codebook_cache import CodebookCache
from shared.store.heartbeat import Heartbeat
from shared.store.ledger import Ledger
from shared.store.operator_requests import OperatorRequests
from shared.store.post_update_flag import PostUpdateFlag
from shared.store.progress_channel import ProgressChannels
from shared.store.redis_client import RedisClient, connect_redis, make_redis
from shared.store.run_history import RunHistoryStore
from shared.store.scripts import Scripts

log = structlog.get_logger()

STOP_GRACE_SECONDS = 30.0
"""For the current batch; one that is not settled by then is fetched again at the next start."""

_OK = 0
"""Stopped by a signal, or one run fully settled."""
_INCOMPLETE = 1


async def produce(settings: ProducerSettings, stop: Stop, *, once: bool) -> int:
    """Make one run, or runs until shutdown; return the exit code. Raises ProcessError."""
    async with AsyncExitStack() as stack:
        producer = await build(settings, stop, stack)
        return await producer.run(once=once)


async def build(settings: ProducerSettings, stop: Stop, stack: AsyncExitStack) -> "Producer":
    """Connect to Redis and NATS, and build the producer; `stack` closes the connections.

    Blocks for as long as the first attempts take. Raises ProcessError.
    """
    services = settings.chosen_services()
    redis, broker = await _connect(settings, stop, stack)
    scripts = Scripts(redis)
    ledgers = {service: Ledger(scripts, service.key) for service in services}
    sisu = SisuClient(settings, CodebookCache(redis))
    lock = ProducerLock(scripts)
    requests = OperatorRequests(redis)
    publisher = Publisher(broker)
    listener = ProgressListener(ProgressChannels(redis, [ServiceKeys(service.key).progress for service in services]))
    limits = ExecutionLimits(settings.panic_timeout_seconds, settings.update_retry_limit, settings.dead_letter_limit)
    batch_importer = BatchImporter(publisher, listener, limits, settings.max_chunk_size)
    history = RunHistory(
        RunHistoryStore(redis), batch_importer.in_flight, lambda: sisu.backoff, settings.panic_timeout_seconds
    )
    observer = RunObserver(history, redis)
    checkpoint = Checkpoint(requests, stop, history.enter_phase)
    page_size = AdaptivePageSize(settings.fetch_amount, settings.fetch_amount_max or settings.fetch_amount)
    service_importer = ServiceImporter(
        ledgers, sisu, Prefetcher(sisu, page_size), batch_importer, lock, checkpoint, observer
    )
    runner = Runner(services, service_importer, PostUpdate(PostUpdateFlag(scripts), publisher), observer)
    retrier = DeadLetterRetrier(ledgers, sisu, batch_importer, broker.dead_letters, requests, checkpoint)
    web_redis = _connect_for_web(settings, stack)
    dashboard = Dashboard.create(Scripts(web_redis), broker, settings)
    _init_metrics([service.name for service in services], batch_importer)
    return Producer(
        settings=settings,
        services=services,
        stop=stop,
        scripts=scripts,
        lock=lock,
        requests=requests,
        listener=listener,
        history=history,
        service_importer=service_importer,
        runner=runner,
        retrier=retrier,
        dashboard=dashboard,
        web=_web_app(web_redis, broker, batch_importer, dashboard),
    )


async def _connect(settings: ProducerSettings, stop: Stop, stack: AsyncExitStack) -> tuple[RedisClient, Broker]:
    redis = await connect_redis(settings.redis_uri.get_secret_value(), settings.redis_tls())
    stack.push_async_callback(redis.close)
    channels = [service.channel for service in settings.service_table()]
    broker = await Broker.connect(settings, channels, "producer", stop)
    stack.push_async_callback(broker.close)
    return redis, broker


def _connect_for_web(settings: ProducerSettings, stack: AsyncExitStack) -> RedisClient:
    """Return a client for what is requested over HTTP: no number of requests takes a connection from the import."""
    redis = BoundedRedisClient(make_redis(settings.redis_uri.get_secret_value(), settings.redis_tls()))
    stack.push_async_callback(redis.close)
    return redis


def _web_app(redis: RedisClient, broker: Broker, batch_importer: BatchImporter, dashboard: Dashboard) -> Starlette:
    async def is_ready() -> bool:
        return await redis.is_reachable() and broker.is_connected

    health = Health(is_ready, batch_importer.is_progressing)
    return http_app([*health_routes(health), *dashboard.routes()], EXCEPTION_HANDLERS)


@dataclass(frozen=True)
class Producer:
    """A producer whose parts are built and connected."""

    settings: ProducerSettings
    services: Sequence[Service]
    stop: Stop
    scripts: Scripts
    lock: ProducerLock
    requests: OperatorRequests
    listener: ProgressListener
    history: RunHistory
    service_importer: ServiceImporter
    runner: Runner
    retrier: DeadLetterRetrier
    dashboard: Dashboard
    web: Starlette

    async def run(self, *, once: bool) -> int:
        """Serve HTTP, wait for the lock, then import until shutdown or, with `once`, for one run; return the exit code.

        Raises ProcessError.
        """
        async with AsyncExitStack() as stack:
            await self._serve(stack)
            if not await self._become_active(stack, once=once):
                return self._exit_without_lock()
            exit_code = await self._import(once=once)
        if self.stop.requested:
            log.info(Event.STOPPED)
        return exit_code

    async def _serve(self, stack: AsyncExitStack) -> None:
        """Phase 1: serve health, metrics and the dashboard, and report heartbeats, until `stack` ends."""
        listener = listen(self.settings.http_host, [self.settings.port])
        await stack.enter_async_context(self.stop.background(self.dashboard.broadcaster.run()))
        await stack.enter_async_context(serving(self.web, listener, self.stop, self.dashboard.hosts))
        heartbeat = Heartbeat(self.scripts, "producer", self.history.state, port_of(listener), self.history.changed)
        await stack.enter_async_context(heartbeat.running(self.stop))
        log.info(Event.STARTED, services=len(self.services))

    async def _become_active(self, stack: AsyncExitStack, *, once: bool) -> bool:
        """Phase 2: wait for the lock, which `stack` releases; return whether this producer is the active one."""
        # With --once: long enough for the lock of a producer that died to expire.
        if not await self.lock.acquire(self.stop, 2 * TTL_SECONDS if once else None):
            return False
        stack.push_async_callback(self._release_lock)
        self.history.enter_phase("fetching")
        metrics.ACTIVE.set(1)
        return True

    async def _import(self, *, once: bool) -> int:
        """Phase 3: make runs; return the exit code."""
        await self.history.restore_metrics(self.services)
        await self.requests.refresh()
        async with self.stop.background(self.lock.keep_renewing(), self.listener.listen(), self.requests.poll()):
            await self.service_importer.reset_one_time_services()
            with suppress(ShutdownRequested):
                if once:
                    return _OK if await self.runner.run("start") else _INCOMPLETE
                await self._run_forever()
        return _OK

    async def _run_forever(self) -> None:
        """Make a run now, and then whenever one is due or an operator requests one, until shutdown."""
        await self.runner.run("start")
        due = self._next_due()
        while True:
            self.history.enter_phase("idle", next_run_at=due)
            reason = await wait_until_due(
                due, self.settings.cron, self.settings.timezone, self.stop, lambda: self.requests.has_pending
            )
            if reason is WakeReason.STOPPED:
                return
            self.history.enter_phase("retrying")
            await self.retrier.process_requests()
            names = await self.requests.take_run_request()
            if reason is WakeReason.DUE:
                await self.runner.run("cron")
            elif names and (known := self.runner.select_known(names)):
                await self.runner.run("request", known)
            else:
                continue
            due = self._next_due()

    def _next_due(self) -> datetime:
        timezone = self.settings.timezone
        due = next_due(self.settings.cron, datetime.now(timezone))
        log.info(Event.NEXT_RUN_SCHEDULED, due=due.astimezone(timezone).isoformat())
        return due

    def _exit_without_lock(self) -> int:
        """Return the exit code of a producer that did not become active; log why, unless it was stopped."""
        if self.stop.requested:
            return _OK
        reason = "another producer is active: it holds the lock"
        log.error(Event.PROCESS_FAILED, reason=reason, exit_code=_INCOMPLETE)
        return _INCOMPLETE

    async def _release_lock(self) -> None:
        with suppress(DependencyLostError):  # then it expires
            await self.lock.release()


def _init_metrics(services: list[str], batch_importer: BatchImporter) -> None:
    """Start the series at 0, so that an alert sees their first increase."""
    metrics.STALLED_SECONDS.set_function(batch_importer.stalled_seconds)
    metrics.init_series(metrics.ENTITIES, services)
    metrics.init_series(metrics.BATCHES, services, ["advanced", "superseded"])
    metrics.init_series(metrics.CHUNKS, services, PublishReason)
    metrics.init_series(metrics.DEAD_LETTERS, services, DeadLetterReason)
    metrics.init_series(metrics.SERVICE_FAILURES, services)
    metrics.init_series(metrics.RUNS, ["complete", "incomplete"])

"""The composition root of the producer: builds its parts, makes runs, and takes the parts down in order.

Order of shutting down: the batch in flight is settled first, or given up after the grace; then the lock is given
back, so that a stand-by takes over at once; then the connections are closed.
"""

from argparse import ArgumentParser
from contextlib import AsyncExitStack, suppress
from functools import partial

import structlog

from producer.batch import BatchImporter
from producer.execution import Patience
from producer.lock import LIFE_SECONDS, ProducerLock
from producer.post_update import PostUpdate
from producer.publisher import Publisher
from producer.runner import Runner
from producer.schedule import wait_until_due
from producer.sisu import CodebookCache, SisuClient
from producer.wakeup import Wakeup
from shared.broker import Broker
from shared.errors import DependencyLostError, Stopped
from shared.events import Event
from shared.http_server import Health, listen, make_app, serving
from shared.keys import ServiceKeys
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
        sisu = SisuClient(settings, CodebookCache(redis))
        lock = ProducerLock(scripts)
        runner = Runner(services, sisu, importer, PostUpdate(scripts, publisher), lock, scripts, stop)
        app = make_app(Health(redis, broker, lambda: importer.is_progressing))
        await stack.enter_async_context(serving(app, listen(settings.http_host, [settings.port]), stop))
        log.info(Event.STARTED, process="producer", services=len(services))
        # With --once: long enough for the lock of a producer that died to expire.
        if not await lock.acquire(stop, 2 * LIFE_SECONDS if once else None):
            return _never_active(stop)
        stack.push_async_callback(_release, lock)
        async with stop.background(lock.keep(), wakeup.listen()):
            return await _make_runs(runner, settings, stop, once=once)


async def _make_runs(runner: Runner, settings: ProducerSettings, stop: Stop, *, once: bool) -> int:
    """Make a run now, and then, unless `once`, whenever one is due. Answers the exit code."""
    await runner.forget_one_time_services()
    try:
        while True:
            complete = await runner.run()
            if once:
                return _SETTLED if complete else _INCOMPLETE
            if not await wait_until_due(settings.cron, settings.timezone, stop):
                break
    except Stopped:
        pass
    log.info(Event.STOPPED, process="producer")
    return _ASKED_TO_STOP


def _never_active(stop: Stop) -> int:
    if stop.requested:
        return _ASKED_TO_STOP
    log.error(Event.FAILED, reason="another producer is active: it holds the lock", exit_code=_INCOMPLETE)
    return _INCOMPLETE


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

"""The composition root of the ack_collector: build its parts, run, and take them down in order.

Order of shutting down: the subscription first, so that nothing new arrives and what arrived but was not processed goes
to another collector at once; then the connection that the acknowledgements travel on; Redis last.
"""

from argparse import ArgumentParser
from contextlib import AsyncExitStack

import structlog

from ack_collector.collector import Collector
from shared.broker.connection import Broker
from shared.broker.feedback_subscription import FeedbackSubscription
from shared.config.settings import CollectorSettings
from shared.model.records import CollectorState
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_server import Health, health_routes, http_app, listen, port_of, serving
from shared.runtime.process import run_process
from shared.runtime.shutdown import Stop
from shared.runtime.version import BUILD, VERSION
from shared.store.heartbeat import Heartbeat
from shared.store.ledger import Ledger
from shared.store.redis_client import connect_redis
from shared.store.scripts import Scripts

log = structlog.get_logger()

STOP_GRACE_SECONDS = 10.0
"""For the messages in hand; those that are not processed by then are delivered again."""

_PORTS = 100
"""Collectors on one machine share this many ports from COLLECTOR_PORT on; each takes the first that is free."""
_GREATEST_PORT = 65535


async def collect(settings: CollectorSettings, stop: Stop) -> int:
    """Collect until shutdown; return the exit code. Raises ProcessError."""
    services = settings.service_table()
    async with AsyncExitStack() as stack:
        redis = await connect_redis(settings.redis_uri.get_secret_value(), settings.redis_tls())
        stack.push_async_callback(redis.close)
        channels = [service.channel for service in services]
        # Its user may not change streams, and feedback does not depend on a channel that the producer will add.
        broker = await Broker.connect(settings, channels, "ack_collector", stop, add_subjects=False)
        stack.push_async_callback(broker.close)
        subscription = FeedbackSubscription(broker)
        metrics.FEEDBACK_CONSUMER_UP.set_function(lambda: subscription.is_alive)
        stack.push_async_callback(subscription.close)
        scripts = Scripts(redis)
        ledgers = {service.channel: Ledger(scripts, service.key) for service in services}
        collector = Collector(subscription, ledgers, scripts, stop)

        async def is_ready() -> bool:
            return await redis.is_reachable() and broker.is_connected

        def state() -> CollectorState:
            return CollectorState(consumer_alive=subscription.is_alive, feedback=collector.processed)

        app = http_app(health_routes(Health(is_ready, lambda: subscription.is_alive)))
        listener = listen(settings.http_host, ports_from(settings.collector_port))
        await stack.enter_async_context(serving(app, listener, stop, AllowedHosts(settings.own_hosts())))
        await stack.enter_async_context(Heartbeat(scripts, "ack_collector", state, port_of(listener)).running(stop))
        log.info(Event.STARTED, channels=len(ledgers))
        await collector.run()
    log.info(Event.STOPPED)
    return 0


def ports_from(first: int) -> range:
    """Return the ports to try, in order; 0 alone, which takes any free port, where that is the first."""
    return range(first, min(first + _PORTS, _GREATEST_PORT + 1)) if first else range(1)


def main() -> int:
    """Run the ack_collector; return the exit code."""
    parser = ArgumentParser(
        prog="python -m ack_collector", description="Count the feedback of mankelis. Settings: environment variables."
    )
    parser.add_argument("--version", action="version", version=f"importer-api {VERSION} ({BUILD})")
    parser.parse_args()
    return run_process("ack_collector", CollectorSettings, collect, STOP_GRACE_SECONDS)

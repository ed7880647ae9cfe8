"""The composition root of the ack_collector: builds its parts, and takes them down in order.

Order of shutting down: the subscription first, so that nothing new arrives and what came but was not handled goes to
another collector at once; then the connection that the acknowledgements travel on; Redis last.
"""

from contextlib import AsyncExitStack

import structlog

from ack_collector.collector import Collector
from shared import metrics
from shared.broker import Broker
from shared.events import Event
from shared.feedback_subscription import FeedbackSubscription
from shared.heartbeat import Heartbeat
from shared.http_server import Health, listen, make_app, port_of, serving
from shared.ledger import Ledger
from shared.process import run_process
from shared.records import CollectorState
from shared.redis_client import Scripts, connect_redis
from shared.settings import CollectorSettings
from shared.stop import Stop

log = structlog.get_logger()

STOP_GRACE_SECONDS = 10.0
"""For the messages in hand; those that are not done by then are delivered again."""

_PORTS = 100
"""Collectors of one machine take one port after another."""


async def collect(settings: CollectorSettings, stop: Stop) -> int:
    """Collect until asked to stop. Answers the exit code, raises ProcessError."""
    services = settings.service_table()
    async with AsyncExitStack() as stack:
        redis = await connect_redis(settings.redis_uri.get_secret_value(), settings.redis_tls())
        stack.push_async_callback(redis.aclose)
        broker = await Broker.connect(settings, [service.channel for service in services], "ack_collector", stop)
        stack.push_async_callback(broker.close)
        subscription = FeedbackSubscription(broker)
        metrics.HEARD.set_function(lambda: subscription.is_heard)
        stack.push_async_callback(subscription.close)
        scripts = Scripts(redis)
        ledgers = {service.channel: Ledger(scripts, service.key) for service in services}
        app = make_app(Health(redis, broker, lambda: subscription.is_heard))
        ports = range(settings.collector_port, settings.collector_port + (_PORTS if settings.collector_port else 1))
        listener = listen(settings.http_host, ports)
        await stack.enter_async_context(serving(app, listener, stop))
        collector = Collector(subscription, ledgers, scripts, stop)

        def state() -> CollectorState:
            return CollectorState(heard=subscription.is_heard, feedback=collector.handled)

        await stack.enter_async_context(Heartbeat(scripts, "ack_collector", state, port_of(listener)).beating(stop))
        log.info(Event.STARTED, process="ack_collector", channels=len(ledgers))
        await collector.run()
    log.info(Event.STOPPED, process="ack_collector")
    return 0


def main() -> int:
    """Run the ack_collector; answers the exit code."""
    return run_process(CollectorSettings, collect, STOP_GRACE_SECONDS)

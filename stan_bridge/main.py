"""The composition root of the stan_bridge: build its parts, run, and take them down in order.

Its STAN client id is its lock: a second bridge stands by until the id is free. A session that is lost ends the process
with exit code 3.

Order of shutting down: the subscriptions to JetStream first, so that another bridge gets what was not settled; then the
session, which frees the client id; then NATS, and Redis last.
"""

import time
from argparse import ArgumentParser
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Final

import structlog

from shared.broker.chunk_subscription import ChunkSubscription, SubjectTakenError, remove_chunk_consumer
from shared.broker.connection import Broker
from shared.broker.stan.session import ClientIdTakenError, StanIdentity, StanSession
from shared.config.settings import StanBridgeSettings
from shared.model import keys
from shared.model.records import StanBridgeState, now
from shared.runtime import metrics
from shared.runtime.events import Event
from shared.runtime.http_hosts import AllowedHosts
from shared.runtime.http_server import Health, health_routes, http_app, listen, port_of, serving
from shared.runtime.process import run_process
from shared.runtime.shutdown import Stop
from shared.runtime.version import BUILD, VERSION
from shared.store.current_execution import CurrentExecution
from shared.store.heartbeat import Heartbeat
from shared.store.redis_client import RedisClient, connect_redis
from shared.store.scripts import Scripts
from stan_bridge.bridge import Bridge
from stan_bridge.post_update import PostUpdateForwarder

log = structlog.get_logger()

STOP_GRACE_SECONDS = 12.0
"""For the reports on what workers have in hand; what is not reported by then is delivered again."""
_PORTS = 10
_RETRY_SECONDS = 2.0
_NAME: Final = "stan_bridge"
_FEEDBACK_IN_FLIGHT = 512


class StanBridge:
    """The process, of which `state` is what it reports."""

    def __init__(self, settings: StanBridgeSettings, stop: Stop) -> None:
        self._settings = settings
        self._stop = stop
        self._state = StanBridgeState(phase="connecting")
        self._bridge: Bridge | None = None
        self._session: StanSession | None = None

    def state(self) -> StanBridgeState:
        """Return what it is doing now."""
        state, bridge = self._state, self._bridge
        state.connected = self._session is not None and self._session.is_connected
        if bridge:
            state.pieces_out, state.reports = bridge.pieces_out, bridge.report_count
            waiting = bridge.waiting_since_seconds
            state.waiting_since = None if waiting is None else now() - timedelta(seconds=time.monotonic() - waiting)
        return state

    async def run(self) -> int:
        """Bridge until shutdown; return the exit code. Raises ProcessError."""
        settings, stop = self._settings, self._stop
        async with AsyncExitStack() as stack:
            redis = await connect_redis(settings.redis_uri.get_secret_value(), settings.redis_tls())
            stack.push_async_callback(redis.close)
            scripts = Scripts(redis)
            await self._serve(stack, redis, scripts)
            channels = [service.channel for service in settings.service_table()]
            broker = await Broker.connect(settings, channels, _NAME, stop, add_subjects=False)
            stack.push_async_callback(broker.close)
            session = self._session = await self._connect_to_stan()
            if session is None:
                return 0
            stack.push_async_callback(session.close)
            # First of all: it replies to pings, and ends the process when the session is lost.
            await stack.enter_async_context(stop.background(session.run()))
            await self._work(stack, broker, session, CurrentExecution(scripts))
        log.info(Event.STOPPED, process=_NAME)
        return 0

    async def _serve(self, stack: AsyncExitStack, redis: RedisClient, scripts: Scripts) -> None:
        async def is_ready() -> bool:
            return await redis.is_reachable() and self.state().connected

        app = http_app(health_routes(Health(is_ready, lambda: self.state().connected)))
        port = self._settings.stan_bridge_port
        listener = listen(self._settings.http_host, range(port, port + (_PORTS if port else 1)))
        await stack.enter_async_context(serving(app, listener, self._stop, AllowedHosts(self._settings.own_hosts())))
        heartbeat = Heartbeat(scripts, _NAME, self.state, port_of(listener))
        await stack.enter_async_context(heartbeat.running(self._stop))

    async def _connect_to_stan(self) -> StanSession | None:
        """Return a session as soon as the client id is free; None on shutdown."""
        settings = self._settings
        identity = StanIdentity(settings.stan_cluster_id, settings.stan_client_id, _NAME)
        while not self._stop.requested:
            try:
                session = await StanSession.connect(settings.stan_login(), identity)
            except ClientIdTakenError as error:
                if self._state.phase != "standing_by":
                    log.info(Event.STAN_STANDING_BY, reason=str(error))
                self._state.phase = "standing_by"
                await self._stop.wait(_RETRY_SECONDS)
            else:
                log.info(Event.STAN_SESSION_STARTED, client_id=settings.stan_client_id)
                return session
        return None

    async def _work(
        self, stack: AsyncExitStack, broker: Broker, session: StanSession, current: CurrentExecution
    ) -> None:
        subjects = [service.channel for service in self._settings.chosen_stan_services()]
        chunks = ChunkSubscription(broker, keys.STAN_CONSUMER, subjects)
        await chunks.prepare()
        bridge = self._bridge = Bridge(chunks, broker, session, current, self._stop)
        stack.push_async_callback(chunks.close)
        metrics.STAN_PIECES_OUT.set_function(lambda: bridge.pieces_out)
        await session.subscribe(keys.FEEDBACK_SUBJECT, bridge.receive, max_in_flight=_FEEDBACK_IN_FLIGHT)
        await self._forward_post_updates(stack, broker, session)
        self._state.phase = "active"
        log.info(Event.STARTED, process=_NAME, channels=len(subjects))
        await bridge.run()

    async def _forward_post_updates(self, stack: AsyncExitStack, broker: Broker, session: StanSession) -> None:
        if not self._settings.stan_post_update:
            await remove_chunk_consumer(broker.api, keys.STAN_POST_UPDATE_CONSUMER)
            return
        subscription = ChunkSubscription(broker, keys.STAN_POST_UPDATE_CONSUMER, [keys.POST_UPDATE_SUBJECT])
        try:
            await subscription.prepare()
        except SubjectTakenError as error:
            log.warning(Event.STAN_POST_UPDATE_KEPT, reason=str(error))
            return
        stack.push_async_callback(subscription.close)
        forwarder = PostUpdateForwarder(subscription, broker, session, self._stop)
        # Durable: a report must not be lost while no bridge runs, or POST_UPDATE would wait for an hour.
        await session.subscribe(keys.POST_UPDATE_FINISH_SUBJECT, forwarder.receive, durable_name=keys.STAN_CONSUMER)
        await stack.enter_async_context(self._stop.background(forwarder.run()))


async def bridge(settings: StanBridgeSettings, stop: Stop) -> int:
    """Bridge until shutdown; return the exit code. Raises ProcessError."""
    return await StanBridge(settings, stop).run()


def main() -> int:
    """Run the stan_bridge; return the exit code."""
    parser = ArgumentParser(
        prog="python -m stan_bridge", description="Serve workers on STAN. Settings: environment variables."
    )
    parser.add_argument("--version", action="version", version=f"importer-api {VERSION} ({BUILD})")
    parser.parse_args()
    return run_process(_NAME, StanBridgeSettings, bridge, STOP_GRACE_SECONDS)

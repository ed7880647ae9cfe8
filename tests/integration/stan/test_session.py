"""Sessions with a real nats-streaming-server: publishing, subscriptions, and what a lost or taken session does."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress

import nats
import pytest
from pydantic import SecretStr

from demo.servers.processes import Server
from shared.broker.stan import session as session_module
from shared.broker.stan.messages import PublishRequest, StartPosition
from shared.broker.stan.session import (
    ClientIdTakenError,
    StanDelivery,
    StanIdentity,
    StanRejectedError,
    StanSession,
)
from shared.config.nats_address import NatsAddress
from shared.config.nats_login import NatsLogin
from shared.model.errors import ConfigurationError, DependencyLostError
from tests.conftest import MakeServer
from tests.support.waiting import wait_until_async

CHANNEL = "ORI_PERSON_CHANNEL"


def login(server: Server, token: str | None = None) -> NatsLogin:
    """Return how to log in to a server."""
    return NatsLogin(NatsAddress.parse(server.uri), SecretStr(token) if token else None)


def identity(client_id: str = "importer-api") -> StanIdentity:
    """Return an identity in the cluster of the tests."""
    return StanIdentity("importer-nats", client_id, "stan_bridge")


@asynccontextmanager
async def session_with(server: Server, client_id: str = "importer-api") -> AsyncIterator[StanSession]:
    """Open a session, keep it alive, and close it at the end."""
    session = await StanSession.connect(login(server), identity(client_id))
    keeping = asyncio.create_task(session.run())
    try:
        yield session
    finally:
        keeping.cancel()
        with suppress(asyncio.CancelledError, DependencyLostError):
            await keeping
        await session.close()


def collect(into: list[StanDelivery], *, acknowledge: bool = True) -> Callable[[StanDelivery], object]:
    """Return a handler that keeps deliveries."""

    async def handle(delivery: StanDelivery) -> None:
        into.append(delivery)
        if acknowledge:
            await delivery.acknowledge()

    return handle


@pytest.fixture
def stan(make_stan: MakeServer) -> Server:
    """Start a STAN of the test's own."""
    return make_stan()


async def test_what_is_published_is_delivered(stan: Server) -> None:
    """Messages arrive as they were published, in order, and acknowledged ones do not come again."""
    async with session_with(stan) as session:
        received: list[StanDelivery] = []
        await session.subscribe(CHANNEL, collect(received))
        payloads = [f"{number}".encode() for number in range(20)]
        for payload in payloads:
            await session.publish(CHANNEL, payload)
        await wait_until_async(lambda: len(received) == 20, "all messages are received")
        assert [delivery.data for delivery in received] == payloads
        assert [delivery.sequence for delivery in received] == list(range(1, 21))
        assert not any(delivery.redelivered for delivery in received)


async def test_a_durable_group_keeps_its_place(stan: Server) -> None:
    """Messages that arrive while no member of a durable group lives are delivered to its next one."""
    options = {"queue_group": "g", "durable_name": "g", "start": StartPosition.FIRST, "max_in_flight": 1}
    async with session_with(stan, "publisher") as publisher:
        received: list[StanDelivery] = []
        async with session_with(stan, "one") as member:
            await member.subscribe(CHANNEL, collect(received), **options)
            await publisher.publish(CHANNEL, b"1")
            await wait_until_async(lambda: len(received) == 1, "the first message is received")
        await publisher.publish(CHANNEL, b"2")
        async with session_with(stan, "two") as member:
            await member.subscribe(CHANNEL, collect(received), **options)
            await wait_until_async(lambda: len(received) == 2, "the second message is received")
        assert [delivery.data for delivery in received] == [b"1", b"2"]


async def test_members_of_a_group_share_the_messages(stan: Server) -> None:
    """Each message goes to one member, and one that is not acknowledged goes to another after its ack wait."""
    options = {"queue_group": "g", "durable_name": "g", "max_in_flight": 1, "ack_wait_seconds": 1}
    async with AsyncExitStack() as stack:
        silent: list[StanDelivery] = []
        working: list[StanDelivery] = []
        first = await stack.enter_async_context(session_with(stan, "one"))
        second = await stack.enter_async_context(session_with(stan, "two"))
        await first.subscribe(CHANNEL, collect(silent, acknowledge=False), **options)
        await second.subscribe(CHANNEL, collect(working), **options)
        for number in range(4):
            await second.publish(CHANNEL, b"%d" % number)
        await wait_until_async(
            lambda: {delivery.data for delivery in working} >= {b"1", b"2", b"3"}, "the other member gets the rest"
        )
        await wait_until_async(lambda: any(delivery.redelivered for delivery in silent + working), "a redelivery")


async def test_unsubscribing_forgets_the_place_and_closing_keeps_it(stan: Server) -> None:
    """A durable subscription that was closed continues; one that was unsubscribed starts again."""
    async with session_with(stan) as session:
        first: list[StanDelivery] = []
        options = {"durable_name": "d", "start": StartPosition.FIRST}
        subscribed = await session.subscribe(CHANNEL, collect(first), **options)
        await session.publish(CHANNEL, b"1")
        await wait_until_async(lambda: len(first) == 1, "the message is received")
        await session.close_subscription(subscribed)
        second: list[StanDelivery] = []
        subscribed = await session.subscribe(CHANNEL, collect(second), **options)
        await session.publish(CHANNEL, b"2")
        await wait_until_async(lambda: len(second) == 1, "only the new message is received")
        assert second[0].data == b"2"
        await session.unsubscribe(subscribed)
        third: list[StanDelivery] = []
        await session.subscribe(CHANNEL, collect(third), **options)
        await wait_until_async(lambda: len(third) == 2, "both are received from the start")


async def test_a_second_durable_subscription_is_rejected(stan: Server) -> None:
    """A durable name that is in use is rejected with the server's reason."""
    async with session_with(stan) as session:
        await session.subscribe(CHANNEL, collect([]), durable_name="d")
        with pytest.raises(StanRejectedError, match="duplicate durable"):
            await session.subscribe(CHANNEL, collect([]), durable_name="d")


async def test_a_client_id_is_a_lock(stan: Server) -> None:
    """While a session lives a second one with its id is rejected; once it is closed, the id is free at once."""
    async with session_with(stan):
        with pytest.raises(ClientIdTakenError):
            await StanSession.connect(login(stan), identity())
    async with session_with(stan):
        pass


async def test_a_replaced_session_is_fenced_and_notices(stan: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session that does not reply to heartbeats is replaced: its messages are rejected, and its ping tells it."""
    old = await StanSession.connect(login(stan), identity())

    async def no_reply(_: object) -> None:
        return

    monkeypatch.setattr(old, "_on_heartbeat", no_reply)
    subscription = next(each for each in old.client._subs.values() if each.subject == old._heartbeat_inbox)
    await subscription.unsubscribe()
    async with session_with(stan):
        with pytest.raises(StanRejectedError, match="invalid publish request"):
            await old.publish(CHANNEL, b"late")
        with pytest.raises(DependencyLostError, match="replaced or is no longer registered"):
            await old.check()
        await old.close()


async def test_a_short_restart_is_survived(stan: Server) -> None:
    """After a kill -9 and a restart the session continues: nothing confirmed is missing."""
    async with session_with(stan) as session:
        received: list[StanDelivery] = []
        await session.subscribe(CHANNEL, collect(received))
        await session.publish(CHANNEL, b"before")
        await asyncio.to_thread(stan.kill)
        publishing = asyncio.create_task(session.publish(CHANNEL, b"meanwhile"))
        await asyncio.to_thread(stan.start)
        await publishing
        await session.publish(CHANNEL, b"after")
        await wait_until_async(
            lambda: {delivery.data for delivery in received} == {b"before", b"meanwhile", b"after"}, "all are received"
        )
        await session.check()


@pytest.mark.slow
async def test_a_long_absence_ends_the_session(stan: Server) -> None:
    """Where STAN is away for 25 s the session is lost, and a new one with the same id is accepted at once."""
    session = await StanSession.connect(login(stan), identity())
    keeping = asyncio.create_task(session.run())
    await asyncio.to_thread(stan.pause)
    with pytest.raises(DependencyLostError, match="pings were not replied to"):
        async with asyncio.timeout(40):
            await keeping
    await asyncio.to_thread(stan.resume)
    await session.close()
    async with session_with(stan):
        pass


async def test_a_wiped_store_ends_the_session(make_stan: MakeServer) -> None:
    """A server that lost its store does not know the session: the next ping tells."""
    stan = make_stan(streaming="store: memory")
    session = await StanSession.connect(login(stan), identity())
    await asyncio.to_thread(stan.restart)
    with pytest.raises(DependencyLostError, match="replaced or is no longer registered"):
        await session.check()
    await session.close()


async def test_no_stan_with_this_cluster_id(stan: Server) -> None:
    """A wrong cluster id is named as a possible cause, within the limit."""
    with pytest.raises(DependencyLostError, match="no STAN with the cluster id other"):
        await StanSession.connect(login(stan), StanIdentity("other", "importer-api", "stan_bridge"), 1.0)


async def test_nats_is_up_before_stan(make_nats: MakeServer, make_stan: MakeServer) -> None:
    """Connecting waits for a STAN that is started after its NATS."""
    nats_server = make_nats()
    connecting = asyncio.create_task(StanSession.connect(login(nats_server), identity()))
    await asyncio.sleep(0)
    stan = await asyncio.to_thread(lambda: make_stan(streaming=f'ns: "{nats_server.uri}"', attached_to=nats_server))
    session = await connecting
    await session.publish(CHANNEL, b"x")
    assert stan.uri == nats_server.uri
    await session.close()


@pytest.mark.parametrize("token", [None, "wrong"])
async def test_rejected_credentials(make_stan: MakeServer, token: str | None) -> None:
    """Rejected credentials are bad configuration, and the message has no secret."""
    stan = make_stan(config="authorization { token: right }")
    with pytest.raises(ConfigurationError, match="STAN_TOKEN") as caught:
        await StanSession.connect(login(stan, token), identity())
    assert "wrong" not in str(caught.value)


async def test_a_token(make_stan: MakeServer) -> None:
    """STAN_TOKEN is accepted."""
    stan = make_stan(config="authorization { token: right }")
    session = await StanSession.connect(login(stan, "right"), identity())
    await session.close()


async def test_a_lost_confirmation_leads_to_a_duplicate(stan: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """A message whose confirmation is lost is sent again, and stored twice: STAN deduplicates nothing."""
    monkeypatch.setattr(session_module, "_PUBLISH_TIMEOUT_SECONDS", 0.2)
    async with session_with(stan) as session:
        received: list[StanDelivery] = []
        await session.subscribe(CHANNEL, collect(received))
        real, lost = session._confirmations, {"first": True}

        class Losing(dict[str, object]):
            def get(self, key: str, default: object = None) -> object:
                if lost.pop("first", False):
                    return None
                return super().get(key, default)

        session._confirmations = Losing(real)  # type: ignore[assignment]
        await session.publish(CHANNEL, b"x")
        await wait_until_async(lambda: len(received) == 2, "it is received twice")


async def test_an_unfamiliar_message_disturbs_nothing(stan: Server) -> None:
    """Bytes that are no STAN message, on any inbox of a session, are ignored."""
    async with session_with(stan) as session:
        received: list[StanDelivery] = []
        subscribed = await session.subscribe(CHANNEL, collect(received))
        stranger = await nats.connect(stan.uri)
        for inbox in (session._ping_inbox, session._publish_inbox, subscribed.request.inbox):
            await stranger.publish(inbox, b"\xff\xff")
        await stranger.publish(f"_STAN.pub.importer-nats.{CHANNEL}", PublishRequest().encode())
        await stranger.close()
        await session.publish(CHANNEL, b"x")
        await wait_until_async(lambda: [delivery.data for delivery in received] == [b"x"], "the message is received")
        await session.check()

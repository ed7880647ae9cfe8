"""NATS or Redis cannot be reached: at the start, or for a while in the middle, in every way a network can fail."""

import itertools
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from shared import redis_client
from shared.errors import DependencyLostError
from tests.faults.conftest import MakeWorld, slow
from tests.faults.world import World
from tests.support.tcp_proxy import Mode, TcpProxy
from tests.support.waiting import wait_until

BOTH = ["nats", "redis"]
WAYS = [Mode.REFUSE, Mode.RESET, Mode.HALF_OPEN]
AT_THE_START = [("nats", Mode.REFUSE), ("redis", Mode.HALF_OPEN)]
IN_THE_MIDDLE = [("nats", Mode.HALF_OPEN, 1.0), ("redis", Mode.REFUSE, 1.0)]
NAMES = {"nats": "NATS", "redis": "Redis"}


def _cases(kept: Sequence[tuple[object, ...]], *choices: Sequence[object]) -> list[Any]:
    """All combinations, slow but for those that are kept."""
    return [case if case in kept else slow(*case) for case in itertools.product(*choices)]


def proxy(world: World, server: str) -> TcpProxy:
    """The network before a server."""
    return world.nats_proxy if server == "nats" else world.redis_proxy


@pytest.mark.parametrize(("server", "mode"), _cases(AT_THE_START, BOTH, WAYS), ids=str)
def test_a_server_that_cannot_be_reached_at_the_start(make_world: MakeWorld, server: str, mode: Mode) -> None:
    """Both programs wait a bounded time, say who is missing, and end with 3; when it is back, all is imported."""
    world = make_world(size=60, proxied=True)
    proxy(world, server).switch(mode)
    collector = world.start_collector(wait=False)
    producer = world.start_producer()
    for program in (collector, producer):
        wait_until(lambda program=program: program.outcomes, "it has ended")
        assert program.outcomes[0].code == 3, program.output
        last = program.outcomes[0].events[-1]
        assert NAMES[server] in last["reason"], last
    proxy(world, server).switch(Mode.PASS)
    collector.wait_for('"started"')
    world.start_mankeli()
    world.check(producer)


@pytest.mark.parametrize(("server", "mode", "seconds"), _cases(IN_THE_MIDDLE, BOTH, WAYS, [1.0, 12.0]), ids=str)
def test_a_server_that_is_cut_off_in_the_middle(make_world: MakeWorld, server: str, mode: Mode, seconds: float) -> None:
    """For less, or for longer, than anybody waits: the import goes on when the network does."""
    world = make_world(size=150, proxied=True)
    collector = world.start_collector()
    world.start_mankeli("--delay-seconds", "0.03")
    producer = world.start_producer()
    world.wait_for_chunks(8)
    proxy(world, server).switch(mode)
    world.hold(seconds)
    proxy(world, server).switch(Mode.PASS)
    world.check(producer)
    assert not collector.done
    assert '"feedback_deaf"' not in collector.output or seconds > 1, "it asks for feedback again on a new connection"


@pytest.mark.slow
@pytest.mark.parametrize("server", BOTH)
def test_a_slow_network(make_world: MakeWorld, server: str) -> None:
    """Every piece is late, and still all is imported."""
    world = make_world(services=("PERSON",), size=30, proxied=True, MAX_CHUNK_SIZE="2")
    world.start()
    proxy(world, server).switch(Mode.SLOW, delay_seconds=0.005)
    world.check()


async def test_attempts_at_a_silent_redis_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """As many connections as attempts: not that often again for each step of a connection."""
    monkeypatch.setattr(redis_client, "_REPLY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(redis_client, "_ATTEMPTS", 3)
    with socket.create_server(("127.0.0.1", 0)) as nobody, TcpProxy(nobody.getsockname()[1]) as silent:
        silent.switch(Mode.HALF_OPEN)
        with pytest.raises(DependencyLostError, match="Redis is lost"):
            await redis_client.connect_redis(f"redis://127.0.0.1:{silent.port}/0")
        assert silent.taken == 1 + 3

"""NATS or Redis is unreachable, at the start or temporarily during a batch, in every way a network can fail."""

import itertools
import socket
from collections.abc import Sequence
from typing import Any

import pytest

from shared.model.errors import DependencyLostError
from shared.store import redis_client
from tests.faults.conftest import MakeRig, slow
from tests.faults.harness.rig import FaultRig
from tests.support.tcp_proxy import Mode, TcpProxy
from tests.support.waiting import wait_until

BOTH = ["nats", "redis"]
MODES = [Mode.REFUSE, Mode.RESET, Mode.HALF_OPEN]
AT_START = [("nats", Mode.REFUSE), ("redis", Mode.HALF_OPEN)]
DURING_A_BATCH = [("nats", Mode.HALF_OPEN, 1.0), ("redis", Mode.REFUSE, 1.0)]
NAMES = {"nats": "NATS", "redis": "Redis"}


def _cases(quick_cases: Sequence[tuple[object, ...]], *choices: Sequence[object]) -> list[Any]:
    """Return all combinations, with the marker `slow` except for `quick_cases`."""
    return [case if case in quick_cases else slow(*case) for case in itertools.product(*choices)]


def proxy(rig: FaultRig, server: str) -> TcpProxy:
    """Return the proxy in front of a server."""
    return rig.nats_proxy if server == "nats" else rig.redis_proxy


@pytest.mark.parametrize(("server", "mode"), _cases(AT_START, BOTH, MODES), ids=str)
def test_a_server_that_is_unreachable_at_the_start(make_rig: MakeRig, server: str, mode: Mode) -> None:
    """Both programs wait a bounded time, name the server and exit with 3; when it is back, all is imported."""
    rig = make_rig(size=60, proxied=True)
    proxy(rig, server).switch(mode)
    collector = rig.start_collector(wait=False)
    producer = rig.start_producer()
    for program in (collector, producer):
        wait_until(lambda program=program: program.outcomes, "the program has ended")
        assert program.outcomes[0].code == 3, program.output
        last = program.outcomes[0].events[-1]
        assert NAMES[server] in last["reason"], last
    proxy(rig, server).switch(Mode.PASS)
    collector.wait_for('"started"')
    rig.start_mankeli()
    rig.check(producer)


@pytest.mark.parametrize(("server", "mode", "seconds"), _cases(DURING_A_BATCH, BOTH, MODES, [1.0, 12.0]), ids=str)
def test_a_server_that_is_cut_off_during_a_batch(make_rig: MakeRig, server: str, mode: Mode, seconds: float) -> None:
    """Cut off for less or for longer than the time-outs: the import continues when the network is back."""
    rig = make_rig(size=150, proxied=True)
    collector = rig.start_collector()
    rig.start_mankeli("--delay-seconds", "0.03")
    producer = rig.start_producer()
    rig.wait_for_chunks(8)
    proxy(rig, server).switch(mode)
    rig.sleep_during_fault(seconds)
    proxy(rig, server).switch(Mode.PASS)
    rig.check(producer)
    assert not collector.done
    assert '"feedback_consumer_unresponsive"' not in collector.output or seconds > 1, (
        "after a reconnect the pull request is sent again"
    )


@pytest.mark.slow
@pytest.mark.parametrize("server", BOTH)
def test_a_slow_network(make_rig: MakeRig, server: str) -> None:
    """All data is late, and still all is imported."""
    rig = make_rig(services=("PERSON",), size=30, proxied=True, MAX_CHUNK_SIZE="2")
    rig.start()
    proxy(rig, server).switch(Mode.SLOW, delay_seconds=0.005)
    rig.check()


async def test_attempts_at_a_silent_redis_are_not_multiplied(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is one connection for each attempt: the steps of connecting do not repeat the attempts."""
    monkeypatch.setattr(redis_client, "_REPLY_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(redis_client, "_ATTEMPTS", 4)
    with socket.create_server(("127.0.0.1", 0)) as listener, TcpProxy(listener.getsockname()[1]) as silent:
        silent.switch(Mode.HALF_OPEN)
        with pytest.raises(DependencyLostError, match="Redis is unavailable"):
            await redis_client.connect_redis(f"redis://127.0.0.1:{silent.port}/0")
        assert silent.accepted == 4

"""Entities and messages that are too large, streams and disks that are full."""

import contextlib
import os
import subprocess
from collections.abc import Iterator

import orjson
import pytest

from demo.servers import Server
from tests.conftest import MakeServer
from tests.faults.conftest import MakeWorld, slow
from tests.faults.world import World


def _large(world: World, name: str, size_bytes: int) -> None:
    entity = {"id": name, "documentState": "ACTIVE", "metadata": {"modificationOrdinal": 0}, "text": "x" * size_bytes}
    world.sisu.put("PERSON", orjson.dumps(entity))


@pytest.mark.parametrize("max_payload_bytes", [64 * 1024, 1024 * 1024])
def test_an_entity_that_no_message_can_hold(make_world: MakeWorld, max_payload_bytes: int) -> None:
    """I8, I9: it becomes a dead letter that says so, one just below the limit travels, and the connection lives."""
    world = make_world(nats_config=f"max_payload: {max_payload_bytes}\n", size=60, MAX_CHUNK_SIZE="1000")
    world.history.max_payload_bytes = max_payload_bytes
    _large(world, "too-large", max_payload_bytes + 1)
    _large(world, "just-too-large", max_payload_bytes - 4096 - 200)
    _large(world, "just-fits", max_payload_bytes - 4096 - 500)
    world.history.too_large = frozenset({"too-large", "just-too-large"})
    collector = world.start_collector()
    world.start_mankeli()
    producer = world.start_producer()
    history = world.check(producer)
    assert {letter.reason for letter in history.kept_dead_letters} == {"too large"}
    assert len(producer.outcomes) == 1
    assert not collector.outcomes
    assert max(message.total_bytes for message in history.messages) > max_payload_bytes * 0.9


def test_a_small_max_payload(make_world: MakeWorld) -> None:
    """I9: with 64 KiB for a message, large entities travel by few, and all arrive."""
    world = make_world(
        nats_config="max_payload: 65536\n", services=("MODULE",), size=60, MAX_CHUNK_SIZE="1000", FETCH_AMOUNT="1000"
    )
    world.history.max_payload_bytes = 64 * 1024
    world.start()
    history = world.check()
    assert len(history.messages) > 2


def _fails_and_says_so(world: World) -> None:
    """No mankeli takes anything away, so that it gets full."""
    outcome = world.produce(deadline_seconds=30)
    assert outcome.code in (1, 3), outcome.output
    assert '"publish_retried"' in outcome.output
    reasons = [event["reason"] for event in outcome.events if event["event"] in ("service_failed", "failed")]
    assert any("NATS" in reason for reason in reasons), reasons
    assert (world.ordinal("PERSON"), world.ordinal("PLAN")) == (0, 0)


@pytest.mark.parametrize("limit", [{"max_bytes": 20_000}, slow({"max_msgs": 3})], ids=str)
def test_a_full_stream(make_world: MakeWorld, limit: dict[str, int]) -> None:
    """The broker refuses: the services fail, no ordinal moves; when there is room, all is imported."""
    world = make_world(size=120)
    world.start_collector()
    world.limit_stream("IMPORTER", **limit)
    _fails_and_says_so(world)
    world.limit_stream("IMPORTER", max_bytes=-1, max_msgs=-1)
    world.start_mankeli()
    world.check()


@pytest.mark.slow
def test_a_full_store(make_world: MakeWorld) -> None:
    """The broker has no room, for others fill its store: as with a full stream, until they make room."""
    world = make_world(nats_config="jetstream { max_file_store: 2MB }\n", size=120)
    world.start_collector()
    world.fill_store()
    _fails_and_says_so(world)
    world.empty_store()
    world.start_mankeli()
    world.check()


@contextlib.contextmanager
def _tiny_disk(server: Server, size_bytes: int) -> Iterator[None]:
    """A file system of its own for a server's data. Skips the test where we may not mount one."""
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size_bytes},mode=777", "tmpfs", str(server.data)],
            check=False,
            capture_output=True,
        ).returncode
    ):
        pytest.skip("only root may mount a small file system")
    try:
        yield
    finally:
        server.kill()
        subprocess.run(["umount", str(server.data)], check=True)


@pytest.mark.slow
def test_a_full_disk(make_nats: MakeServer, make_world: MakeWorld) -> None:
    """The disk of the broker is full: nothing is passed that was not delivered; on a larger one, all is imported."""
    nats = make_nats(start=False)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_tiny_disk(nats, 300_000))
        nats.start()
        world = make_world(nats=nats, size=600, FETCH_AMOUNT="400", MAX_CHUNK_SIZE="50")
        world.start_collector()
        outcome = world.produce(deadline_seconds=40)
        assert outcome.code in (1, 3), outcome.output
        assert world.ordinal("PERSON") == 0
        nats.kill()
        stack.close()
        world.nats.start()
        world.start_mankeli()
        world.check()
